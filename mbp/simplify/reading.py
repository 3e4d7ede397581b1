"""From the normal form to what a textbook prints: factored, collected, the shortest form wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import lru_cache, partial, reduce
from typing import Any

from mbp.expr import build, scalar
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    Inner,
    Inverse,
    Kernel,
    Map,
    Named,
    Number,
    Ones,
    Output,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Var,
    Variation,
    Vec,
    topological,
    variables,
)
from mbp.invariants.infer import is_
from mbp.simplify import entrywise, products, rules
from mbp.simplify.length import length, shortest
from mbp.simplify.transposition import flip, flip_word, transpose
from mbp.simplify.words import (
    HALF,
    UNIT,
    Exponent,
    Form,
    Key,
    Powers,
    Word,
    add,
    as_fraction,
    content,
    form,
    key_order,
    of_word,
    plus,
    powered,
    times_number,
)

MOST_TERMS = 24
"""A longer sum is only grouped greedily, not searched for the shortest form."""

LONGEST_SPLIT = 12
"""A longer word is not searched for a place where the sum falls into two factors."""

# --- forms ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 15)
def read(e: Expr) -> Expr:
    """A normal form as a reader writes it."""
    return spread_sign(read_form(form(e)))


@lru_cache(maxsize=1 << 15)
def read_form(total: Form) -> Expr:
    """The shortest print of a form."""
    if not total.terms:
        return build.zeros(total.rows, total.cols)
    key = (total.rows, total.cols, frozenset(total.terms.items()))
    if key in _being_read:  # collecting factors has led back here: it is as short as it gets
        return total.expression()
    _being_read.add(key)
    try:
        c, powers = common_scalars(total)
        body = products.without(total, c, powers)
        halved = c.denominator % 2 == 0
        read_body = _read_scalar(body) if total.is_scalar else _read_matrix(body, halved)
        return _scaled(c, powers, read_body)
    finally:
        _being_read.discard(key)


_being_read: set[Any] = set()


def common_scalars(total: Form) -> tuple[Fraction, Powers]:
    """The number and the scalar powers that all terms share, most terms positive without them."""
    c = abs(content(total))
    negative = sum(1 for value in total.terms.values() if value < 0)
    if 2 * negative > len(total.terms) or (
        2 * negative == len(total.terms) and _leads_negative(total)
    ):
        c = -c
    return c, products.common_powers(total)


def _leads_negative(total: Form) -> bool:
    """Which of A − B and B − A to print: I − P, 1 − t², the later letter first as in x − a."""
    identities = [
        c
        for (powers, word), c in total.terms.items()
        if not powers and all(isinstance(x, Ones) for x in word)
    ]
    if len(identities) == 1:
        return identities[0] < 0
    if len(total.terms) == 2 and not total.is_scalar:
        (one, c), (other, _) = total.terms.items()
        names, others = _names(one[1]), _names(other[1])
        if names ^ others:
            return (c < 0) is (max(names ^ others, key=str.lower) in names)
    return content(total) < 0


def _names(word: Word) -> set[str]:
    return {variable.name for variable in variables(*word)}


def collect(*terms: Expr) -> Expr:
    """The sum, a number that all terms share in front, a positive term first."""
    terms = tuple(piece for term in terms for piece in _flattened(term))
    if terms and _is_negative(terms[0]):
        terms = tuple(sorted(terms, key=_is_negative))
    numbers = [build.scalar_factors(_front(term))[0] for term in terms]
    if len(terms) < 2 or not all(number.is_Rational for number in numbers):
        return build.add(*terms)
    c = content(
        Form(ONE, ONE, {((), (build.number(k),)): as_fraction(n) for k, n in enumerate(numbers)})
    )
    c = -abs(c) if all(number < 0 for number in numbers) else abs(c)
    if c == 1:
        return build.add(*terms)
    front = build.number(1 / c)
    return build.scale(build.number(c), build.add(*(build.scale(front, term) for term in terms)))


def _flattened(term: Expr) -> tuple[Expr, ...]:
    c, body = build.coefficient(term)
    if isinstance(body, Sum) and isinstance(c, Number) and c.value == -1:
        return tuple(build.negate(piece) for piece in body.args)
    return body.args if isinstance(body, Sum) and build.is_one(c) else (term,)


def _front(term: Expr) -> Expr:
    return term if term.is_scalar else build.coefficient(term)[0]


def _scaled(c: Fraction, powers: Powers, body: Expr) -> Expr:
    for base, p in sorted(powers, key=lambda power: _is_below(power[1])):
        body = build.scale(read_power(base, p), body)
    return build.scale(build.number(c), body)


def spread_sign(e: Expr) -> Expr:
    """B − A for −(A − B) and (B − A) C for −(A − B) C, where it stands alone."""
    c, body = build.coefficient(e)
    value, factors = build.scalar_factors(c)
    if value > 0 or (turned := _negated(body)) is None:
        return e
    for factor in reversed(factors):
        turned = build.scale(factor, turned)
    return build.scale(build.number(-value), turned)


def _negated(e: Expr) -> Expr | None:
    """−e by the signs of a sum with a negative term, itself or a factor; None where none is."""
    match e:
        case Sum() if any(map(_is_negative, e.args)):
            return build.add(*sorted(map(build.negate, e.args), key=_is_negative))
        case Product():
            for k, factor in enumerate(e.args):
                if isinstance(factor, Sum) and (turned := _negated(factor)) is not None:
                    return build.matmul(*e.args[:k], turned, *e.args[k + 1 :])
    return None


def _is_negative(term: Expr) -> bool:
    return bool(build.scalar_factors(_front(term))[0] < 0)


def _is_below(p: Exponent) -> bool:
    return isinstance(p, Fraction) and p < 0


# --- scalars --------------------------------------------------------------------------------------


def read_power(base: Expr, p: Exponent) -> Expr:
    """A scalar power; half powers of a sum of squares are powers of the norm."""
    if isinstance(p, Expr):
        return build.power(_read_base(base), read(p))
    X = _read_base(base)
    if p.denominator == 2 and ((isinstance(X, Inner) and X.args[0] is X.args[1]) or abs(p) == HALF):
        return powered(build.apply("sqrt", X), 2 * p)
    return powered(X, p)


def _read_scalar(total: Form) -> Expr:
    if len(total.terms) > 1:
        square = _square(total)
        if square is not None:
            return build.inner(square, square)
    terms = []
    for key in sorted(total.terms, key=lambda key: (total.terms[key] < 0, key_order(key))):
        terms.append(_scaled(total.terms[key], key[0], build.number(1)))
    plain = build.add(*terms)
    if not 2 < len(total.terms) <= MOST_TERMS:
        return plain
    return shortest([plain, *_grouped_scalars(total)])


def _grouped_scalars(total: Form) -> Iterator[Expr]:
    count = Counter(power for powers, _ in total.terms for power in powers)
    for power, n in count.most_common(1):
        if n > 1:
            inside = {k: c for k, c in total.terms.items() if power in k[0]}
            rest = {k: c for k, c in total.terms.items() if power not in k[0]}
            if rest:
                yield collect(read_form(Form(ONE, ONE, inside)), read_form(Form(ONE, ONE, rest)))


def _square(total: Form) -> Expr | None:
    """S when the scalar is S : S for a sum S of as many terms as there are squares."""
    roots: list[tuple[Fraction, Form]] = []
    for (powers, _), c in total.terms.items():
        if len(powers) == 1 and powers[0][1] == 1:
            root = _root(powers[0][0])
            size = _rational_root(c)
            if root is not None and size is not None:
                roots.append((size, root))
    if len(roots) < 2 or len(total.terms) != len(roots) * (len(roots) + 1) // 2:
        return None
    whole = times_number(*roots[0])
    for size, root in roots[1:]:
        if (root.rows, root.cols) != (whole.rows, whole.cols):
            if (root.cols, root.rows) != (whole.rows, whole.cols):
                return None
            root = transpose(root)
        for candidate in (root, transpose(root)) if root.rows == root.cols else (root,):
            both = 2 * size * _product_coefficient(total, whole, candidate)
            if both:
                whole = plus(whole, times_number(size if both > 0 else -size, candidate))
                break
        else:
            return None
    found = products.trace(products.multiply(transpose(whole), whole))
    if found != total:
        return None
    return read_form(whole if common_scalars(whole)[0] > 0 else times_number(-1, whole))


def _product_coefficient(total: Form, A: Form, B: Form) -> Fraction:
    """The sign with which A : B occurs in the sum."""
    cross = products.trace(products.multiply(transpose(A), B))
    for key, c in cross.terms.items():
        if key in total.terms:
            return total.terms[key] * c
    return Fraction(0)


def _rational_root(c: Fraction) -> Fraction | None:
    root = form(build.apply("sqrt", build.number(c))) if c > 0 else None
    match root.single if root is not None else None:
        case (value, (), ()):
            return value
    return None


def _root(base: Expr) -> Form | None:
    """W when a closed word or trace is Wᵀ : Wᵀ."""
    word = _cycle(base)
    if word is None or len(word) % 2:
        return None
    half = len(word) // 2
    turns = range(len(word)) if isinstance(base, Trace) else (0,)
    for k in turns:
        turn = word[k:] + word[:k]
        if flip_word(turn[half:]) == (1, turn[:half]):
            right = turn[half:]
            return of_word(right, right[0].rows, right[-1].cols)
    return None


def _cycle(base: Expr) -> Word | None:
    match base:
        case Trace(args=(Product(args=word),)):
            return word
        case Product(args=word):
            return word
    return None


@lru_cache(maxsize=1 << 14)
def _read_base(base: Expr) -> Expr:
    """A scalar that is no product: a closed word, a trace, a function of one."""
    match base:
        case Product(args=word):
            return _read_closed(base, word)
        case Trace(args=(X,)):
            root = _root(base)
            if root is not None:
                S = read_form(root)
                return build.inner(S, S)
            return build.tr(read(X))
        case Sum():
            return read(base)
        case Map(data=("pow",)) | Scale():
            return read(base)
    return build.rebuild(base, tuple(read(arg) for arg in base.args)) if _descends(base) else base


def _read_closed(base: Expr, word: Word) -> Expr:
    root = _root(base)
    if root is not None and not isinstance(word[0], Ones):
        S = read_form(root)
        return build.inner(S, S)
    match word:
        case (Ones(), DiagVec(args=(D,))):
            return build.tr(read(D))
        case (Transpose(args=(DiagVec(args=(A,)),)), DiagVec(args=(B,))) if is_(A, "diagonal"):
            return build.tr(build.matmul(read_letter(A), read(B)))
    if isinstance(word[0], Ones):
        inside = word[1:-1] if isinstance(word[-1], Ones) and len(word) > 2 else word[1:]
        return build.sum_of(_read_word(inside))
    if isinstance(word[-1], Ones):
        sign, turned = flip_word(word[:-1])
        return build.scale(build.number(sign), build.sum_of(_read_word(turned)))
    return build.matmul(_read_word(word[:1]), _read_word(word[1:]))


# --- matrices -------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 15)
def _read_matrix(total: Form, halved: bool) -> Expr:
    """A sum without common scalars; `halved` when half of it is to be printed."""
    single = total.single
    if single is not None:
        c, powers, word = single
        return _scaled(c, powers, _read_word(word) if word else build.eye(total.rows))
    if not halved and _differ_in_a_transpose(total):
        return _plain(total)
    mirrored = list(_mirrored(total, halved))
    if mirrored and _is_sym_of_a_letter(mirrored[0]):
        return mirrored[0]
    candidates = mirrored
    few = len(total.terms) <= MOST_TERMS
    strategies: tuple[Callable[[Form], Iterator[Expr]], ...] = (
        _blocks, _factored, _merged_operators, _diagonal_sum, _with_common_entries,
        partial(_grouped, left=True), partial(_grouped, left=False), _grouped_by_scalar, _turned,
    )  # fmt: skip
    for strategy in strategies:
        for candidate in strategy(total):
            candidates.append(candidate)
            if not few:
                return candidate
    return shortest([*candidates, _plain(total)])


def _is_sym_of_a_letter(e: Expr) -> bool:
    part = build.coefficient(e)[1]
    return isinstance(part, Part) and isinstance(part.args[0], Var | Variation)


def _differ_in_a_transpose(total: Form) -> bool:
    """B X + Bᵀ X, which a book leaves as it is unless X is a column."""
    if len(total.terms) != 2:
        return False
    (p, u), (q, v) = total.terms
    if p != q or len(u) != len(v) or len(u) < 2:
        return False
    different = [k for k, (x, y) in enumerate(zip(u, v, strict=True)) if x is not y]
    if len(different) != 1:
        return False
    x, y = u[different[0]], v[different[0]]
    columns = any(letter.rows is ONE or letter.cols is ONE for letter in u)
    return flip(x) == (1, y) and not columns and not _is_arbitrary(x)


@lru_cache(maxsize=1 << 14)
def _is_arbitrary(e: Expr) -> bool:
    """Whether a cotangent or a variation occurs, whose (·)_sym the paper writes."""
    return any(
        isinstance(node, Variation)
        or (isinstance(node, Var) and (node.name == "G" or node.name.startswith("G_")))
        for node in topological(e)
    )


def _turned(total: Form) -> Iterator[Expr]:
    """(A B + B A)ᵀ where most letters are transposed."""
    turned = sum(isinstance(x, Transpose) for _, word in total.terms for x in word)
    plain = sum(not isinstance(x, Transpose) for _, word in total.terms for x in word)
    if turned > plain and all(word for _, word in total.terms):
        yield build.transpose(read_form(transpose(total)))


def _plain(total: Form) -> Expr:
    terms = []
    for key in sorted(total.terms, key=lambda key: (total.terms[key] < 0, key_order(key))):
        powers, word = key
        X = _read_word(word) if word else build.eye(total.rows)
        terms.append(_scaled(total.terms[key], powers, X))
    return collect(*terms)


def _part_of(total: Form, keys: Iterable[Key]) -> Form:
    return Form(total.rows, total.cols, {key: total.terms[key] for key in keys})


def _factored(total: Form) -> Iterator[Expr]:
    """L R with both factors sums, such as (I − P)(G + Gᵀ)."""
    if len(total.terms) > MOST_TERMS:
        return
    reference = min(total.terms, key=lambda key: (len(key[0]), -len(key[1]), key_order(key)))
    powers, word = reference
    c = total.terms[reference]
    if len(word) > LONGEST_SPLIT:
        return
    for k in range(1, len(word)):
        u, v = word[:k], word[k:]
        cut = v[0].rows
        left = {(p, w[: len(w) - len(v)]): x for (p, w), x in total.terms.items()
                if len(w) >= len(v) and w[len(w) - len(v) :] == v}  # fmt: skip
        if len(left) < 2 or (total.rows != cut and any(not w for _, w in left)):
            continue
        right = {(p, w[len(u) :]): x / c for (p, w), x in total.terms.items() if w[: len(u)] == u}
        if len(left) * len(right) < len(total.terms):
            continue
        if len(right) < 2 or (total.cols != cut and any(not w for _, w in right)):
            continue
        L, R = Form(total.rows, cut, left), Form(cut, total.cols, right)
        # What would bring a pole that the sum has not is divided out only where all terms have it.
        held = {(base, p) for base, p in powers if not (isinstance(p, Fraction) and p < 0)}
        if held <= set(products.common_powers(L)):
            L = products.without(L, UNIT, powers)
        elif held <= set(products.common_powers(R)):
            R = products.without(R, UNIT, powers)
        else:
            continue
        if products.multiply(L, R) == total:
            yield build.matmul(read_form(L), read_form(R))


def _grouped(total: Form, left: bool) -> Iterator[Expr]:
    """The terms that share an end letter, with that letter pulled out."""
    end = 0 if left else -1
    count = Counter(word[end] for _, word in total.terms if len(word) > 1 or word)
    for letter, n in count.most_common(1):
        if n < 2:
            return
        rest, inside = {}, {}
        for (powers, word), c in total.terms.items():
            if word and word[end] is letter:
                inside[powers, word[1:] if left else word[:-1]] = c
            else:
                rest[powers, word] = c
        if any(not word for _, word in inside) and (
            (letter.cols != total.cols) if left else (letter.rows != total.rows)
        ):
            return
        X = _read_word((letter,))
        if left:
            grouped = build.matmul(X, read_form(Form(letter.cols, total.cols, inside)))
        else:
            grouped = build.matmul(read_form(Form(total.rows, letter.rows, inside)), X)
        if rest:
            yield collect(grouped, read_form(Form(total.rows, total.cols, rest)))
        else:
            yield grouped


def _grouped_by_scalar(total: Form) -> Iterator[Expr]:
    count = Counter(power for powers, _ in total.terms for power in powers)
    for power, n in count.most_common(1):
        if 1 < n < len(total.terms):
            inside = _part_of(total, [key for key in total.terms if power in key[0]])
            rest = _part_of(total, [key for key in total.terms if power not in key[0]])
            yield collect(read_form(inside), read_form(rest))


def _mirrored(total: Form, halved: bool) -> Iterator[Expr]:
    """A + Aᵀ as 2 A_sym, A − Aᵀ as twice the antisymmetric part.

    A textbook writes A + Aᵀ for a letter or an outer product, unless half of it is wanted.
    """
    if total.rows != total.cols:
        return
    for kind, sign in (("sym", 1), ("skew", -1)):
        half: dict[Key, Fraction] = {}
        rest: dict[Key, Fraction] = {}
        used: set[Key] = set()
        for key in total.ordered():
            if key in used:
                continue
            powers, word = key
            s, turned = flip_word(word)
            mirror = (powers, turned)
            if turned != word and total.terms.get(mirror) == sign * s * total.terms[key]:
                used |= {key, mirror}
                chosen = _nearer(half, key, mirror)
                half[chosen] = total.terms[chosen]
            else:
                rest[key] = total.terms[key]
        if not half:
            continue
        part = Form(total.rows, total.cols, half)
        inside = _better_turn(part) if kind == "sym" else read_form(part)
        if not halved and len(half) == 1 and _is_simple(next(iter(half))[1]):
            continue
        whole = build.scale(build.number(2), build.part(kind, inside))
        if rest:
            whole = collect(whole, read_form(Form(total.rows, total.cols, rest)))
        yield whole


def _is_simple(word: Word) -> bool:
    outer = len(word) == 2 and word[1].rows is ONE
    return (len(word) == 1 or outer) and not any(map(_is_arbitrary, word))


def _better_turn(half: Form) -> Expr:
    """A or Aᵀ, whose symmetric parts agree: the shorter, a sum such as I − P in front."""
    choices = (read_form(half), read_form(transpose(half)))
    return min(choices, key=lambda e: (length(e), not _starts_with_sum(e)))


def _starts_with_sum(e: Expr) -> bool:
    body = build.coefficient(e)[1]
    return isinstance(body, Product) and isinstance(body.args[0], Sum)


def _nearer(half: dict[Key, Fraction], key: Key, mirror: Key) -> Key:
    """Of a term and its transpose the one that shares more letters with the terms chosen so far."""
    if not half:
        return min(key, mirror, key=lambda k: (_transposes(k[1]), key_order(k)))
    first = next(iter(half))[1]

    def shared(k: Key) -> int:
        word = k[1]
        return max(_overlap(word, first), _overlap(word[::-1], first[::-1]))

    return max((key, mirror), key=shared)


def _transposes(word: Word) -> int:
    return sum(isinstance(letter, Transpose) for letter in word)


def _overlap(a: Word, b: Word) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x is not y:
            break
        n += 1
    return n


def _with_common_entries(total: Form) -> Iterator[Expr]:
    """K ∘ (A + B) for terms that share a factor of their elementwise products."""
    monomials = [
        (key, entrywise.monomial(c, key[0], key[1], total.cols is ONE))
        for key, c in total.terms.items()
    ]
    if total.rows is ONE:
        return
    powers: dict[Expr, list[Exponent]] = {}
    for _, m in monomials:
        if (m.left or m.right) and len(m.entries) < 2:
            continue  # diag(u) A stays a product
        for base, p in m.entries:
            powers.setdefault(base, []).append(p)
    if not powers:
        return
    base = max(powers, key=lambda base: len(powers[base]))
    p = reduce(products.common_exponent, powers[base])
    if len(powers[base]) < 2 or p == 0:
        return
    inside, rest = [], []
    for key, m in monomials:
        if base in dict(m.entries) and not ((m.left or m.right) and len(m.entries) < 2):
            inside.append(entrywise.divided(m, (base, p), total.rows, total.cols))
        else:
            rest.append(key)
    quotient = read_form(add(inside, total.rows, total.cols))
    entry = _read_entry(base, p)
    factors = (quotient, entry) if build.is_reciprocal(entry) else (entry, quotient)
    whole = build.hadamard(*factors)
    if rest:
        whole = collect(whole, read_form(_part_of(total, rest)))
    yield whole


def _blocks(total: Form) -> Iterator[Expr]:
    """Σ A_k (0 I 0) as the blocks side by side, Σ (0; I; 0) A_k as blocks on top of each other."""
    for axis in (0, 1):
        units: dict[Expr, dict[Key, Fraction]] = {}
        for (powers, word), c in total.terms.items():
            unit = _block_of(word, axis)
            if unit is None:
                break
            units.setdefault(unit, {})[powers, word[1:] if axis == 0 else word[:-1]] = c
        else:
            first = next(iter(units))
            sizes = [block.rows for block in first.args]
            if any([block.rows for block in unit.args] != sizes for unit in units):
                continue
            by_place = {_place(unit): (unit, terms) for unit, terms in units.items()}
            blocks = []
            for k, size in enumerate(sizes):
                rows, cols = (size, total.cols) if axis == 0 else (total.rows, size)
                terms = by_place[k][1] if k in by_place else {}
                blocks.append(read_form(Form(rows, cols, terms)))
            yield build.stack(axis, *blocks)


def _block_of(word: Word, axis: int) -> Expr | None:
    """The embedding (0; I; 0) in front of a word, or the transposed one at its end."""
    if axis == 0:
        unit = word[0] if word else None
    else:
        unit = word[-1].args[0] if word and isinstance(word[-1], Transpose) else None
    return unit if isinstance(unit, Stack) and _is_unit(unit) else None


def _is_unit(unit: Expr) -> bool:
    return sum(not build.is_zero(block) for block in unit.args) == 1


def _place(unit: Expr) -> int:
    return next(k for k, block in enumerate(unit.args) if not build.is_zero(block))


def _merged_operators(total: Form) -> Iterator[Expr]:
    """f(A) + f(B) as f(A + B) for the linear operations that are letters."""
    groups: dict[object, list[tuple[Fraction, Powers, Expr]]] = {}
    rest: dict[Key, Fraction] = {}
    for key, c in total.terms.items():
        powers, word = key
        operator = _operator(word[0]) if len(word) == 1 else None
        if operator is None:
            rest[key] = c
        else:
            groups.setdefault(operator[0], []).append((c, powers, operator[1]))
    triangles = [k for k in groups if k in ("strictly_lower", "strictly_upper")]
    merged = any(len(members) > 1 for members in groups.values())
    if not merged and not (triangles and "diag" in groups):
        return
    inside = {operator: _argument(members) for operator, members in groups.items()}
    terms: list[Expr] = []
    if "diag" in inside:
        for kind in triangles:
            if inside.get("diag") == inside[kind]:
                whole = "lower" if kind == "strictly_lower" else "upper"
                terms.append(_apply_operator(whole, inside.pop(kind), total))
                inside.pop("diag")
    terms += [_apply_operator(operator, X, total) for operator, X in inside.items()]
    if rest:
        terms.append(read_form(Form(total.rows, total.cols, rest)))
    yield collect(*terms)


def _argument(members: list[tuple[Fraction, Powers, Expr]]) -> Form:
    forms = [
        products.multiply(Form(ONE, ONE, {(powers, ()): c}), form(X)) for c, powers, X in members
    ]
    return plus(*forms)


def _operator(letter: Expr) -> tuple[object, Expr] | None:
    """A linear operation as (which, operand)."""
    match letter:
        case Part(data=(kind,), args=(X,)):
            return kind, X
        case Diag(args=(DiagVec(args=(X,)),)) if not is_(X, "diagonal"):
            return "diag", X
        case DiagVec(args=(X,)) if not is_(X, "diagonal"):
            return DiagVec, X
        case Vec(args=(X,)):
            return Vec, X
        case Unvec(args=(X,)):
            return Unvec, X
        case Frechet() if letter.order == 1:
            return (Frechet, letter.data, letter.args[:-1]), letter.args[-1]
    return None


def _apply_operator(operator: object, argument: Form, total: Form) -> Expr:
    X = read_form(argument)
    if isinstance(operator, str):
        return build.part(operator, X)
    if operator is DiagVec:
        return build.diag_vector(X)
    if operator is Vec:
        return build.vec(X)
    if operator is Unvec:
        return build.unvec(X, total.rows, total.cols)
    assert isinstance(operator, tuple)
    _, (g, *_), (A, *parameters) = operator
    return build.frechet(g, read(A), tuple(read(c) for c in parameters), X)


def _diagonal_sum(total: Form) -> Iterator[Expr]:
    """A sum of diagonal matrices as one, in the diagonal matrices it is made of if it can be."""
    inside = {key: c for key, c in total.terms.items()
              if not key[1] or (len(key[1]) == 1 and isinstance(key[1][0], Diag))}  # fmt: skip
    if sum(1 for _, word in inside if word) == 0 or len(inside) < 2:
        return
    column = entrywise.diagonal_column(Form(total.rows, total.cols, inside))
    v = read_form(column)
    whole = _lifted(v)
    if whole is None:
        whole = Diag(v)
    rest = {key: c for key, c in total.terms.items() if key not in inside}
    yield collect(whole, read_form(Form(total.rows, total.cols, rest))) if rest else whole


# --- words ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 15)
def _read_word(word: Word) -> Expr:
    """A product of letters."""
    found = rules.folded(word)
    if found is not None:
        start, stop, X = found
        pieces = [_read_word(piece) for piece in (word[:start], word[stop:]) if piece]
        middle = read_letter(X)
        left = [pieces.pop(0)] if start else []
        return build.matmul(*left, middle, *pieces)
    for k in range(1, len(word)):
        if word[k].rows is ONE:
            if isinstance(word[k - 1], Ones) and isinstance(word[k], Ones):
                J = build.ones(word[k - 1].rows, word[k].cols)
                pieces = [_read_word(piece) for piece in (word[: k - 1],) if piece]
                after = [_read_word(piece) for piece in (word[k + 1 :],) if piece]
                return build.matmul(*pieces, J, *after)
            return build.matmul(_read_word(word[:k]), _read_word(word[k:]))
    if word[-1].cols is ONE:
        for k, letter in enumerate(word[:-1]):
            if isinstance(letter, Diag):
                v = build.hadamard(read_letter(letter.args[0]) if not isinstance(
                    letter.args[0], Product) else _read_word(letter.args[0].args),
                    _read_word(word[k + 1 :]))  # fmt: skip
                return build.matmul(*(read_letter(x) for x in word[:k]), v)
    elif word[0].rows is ONE and any(isinstance(letter, Diag) for letter in word):
        sign, turned = flip_word(word)
        return build.scale(build.number(sign), build.transpose(_read_word(turned)))
    if len(word) > 1 and isinstance(word[0], Transpose) and word == (word[0],) * len(word):
        return build.transpose(_read_word((word[0].args[0],) * len(word)))
    return build.matmul(*(read_letter(letter) for letter in word))


@lru_cache(maxsize=1 << 15)
def read_letter(letter: Expr) -> Expr:
    """One letter with its operands in readable form."""
    match letter:
        case Transpose(args=(Hadamard() as X,)):
            sign, pairs = entrywise.turned_pairs(entrywise.pairs_of(X)[1])
            pushed = build.hadamard(*(_read_entry(base, p) for base, p in pairs))
            pushed = build.scale(build.number(sign), pushed)
            return shortest((pushed, build.transpose(read_letter(X))))
        case Transpose(args=(X,)):
            return build.transpose(read_letter(X))
        case Diag(args=(v,)):
            return _read_diagonal(v)
        case Hadamard(args=args):
            factors = [read_letter(arg) for arg in args]
            return build.hadamard(*sorted(factors, key=build.is_reciprocal))
        case Map(data=("pow",), args=(X, p)):
            return build.power(read(X), read(p))
        case Map(data=(name,), args=(X,)):
            return build.apply(name, read(X))
        case Inverse(args=(X,)):
            return build.inv(read(X))
        case DiagVec(args=(X,)) if is_(X, "diagonal"):
            return build.diag_vector(read_letter(X))
        case Product(args=word):
            return _read_word(word)
        case Sum() | Scale():
            return read(letter)
    if _descends(letter):
        return build.rebuild(letter, tuple(read(arg) for arg in letter.args))
    return letter


def _descends(letter: Expr) -> bool:
    if isinstance(letter, Variation | Named | Kernel) or (
        isinstance(letter, Output) and letter.data[-1] > 1
    ):
        return False
    return bool(letter.args)


def _read_entry(base: Expr, p: Exponent) -> Expr:
    return powered(read_letter(base), read(p) if isinstance(p, Expr) else p)


def _read_diagonal(v: Expr) -> Expr:
    """diag(v), the factors that are functions of diagonal matrices as such."""
    pairs = entrywise.column_pairs(v) if not isinstance(v, Product) else ((v, UNIT),)
    if isinstance(v, Product) and isinstance(v.args[0], Diag):
        return build.diag_matrix(_read_word(v.args))
    functions: list[Expr] = []
    others: list[Expr] = []
    for base, p in pairs:
        factor = _read_entry(base, p)
        lifted = _lifted(factor)
        if lifted is not None:
            functions.append(lifted)
        else:
            others.append(factor)
    if not others:
        return build.matmul(*functions)
    rest = build.hadamard(*others)
    last = build.diagpart(rest.args[0]) if isinstance(rest, DiagVec) else build.diag_matrix(rest)
    return build.matmul(*functions, last)


@lru_cache(maxsize=1 << 12)
def _lifted(v: Expr) -> Expr | None:
    """diag(v) in terms of the diagonal matrices whose diagonals v is a function of."""
    match v:
        case DiagVec(args=(D,)):
            return D if is_(D, "diagonal") else None
        case Ones():
            return build.eye(v.rows)
        case Scale(args=(c, X)):
            inside = _lifted(X)
            return None if inside is None else build.scale(c, inside)
        case Sum() | Hadamard():
            parts = [_lifted(arg) for arg in v.args]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts):
                return None
            return collect(*known) if isinstance(v, Sum) else build.matmul(*known)
        case Map(data=("pow",), args=(X, Number() as p)):
            inside = _lifted(X)
            if inside is None or isinstance(inside, Eye):
                return None
            if p.value == -1:
                return build.inv(inside)
            if p.value == 2 and not isinstance(inside, Sum):
                return build.matmul(inside, inside)
            return build.powm(inside, p)
        case Map(data=(name,), args=(X,)) if name != "pow":
            inside = _lifted(X)
            if inside is None or isinstance(inside, Eye):
                return None
            return build.matfun(scalar.body(name), inside)
    return None
