"""Multiplies forms: words are reduced by property, scalars come out and collect as powers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Frechet,
    Inverse,
    Map,
    Number,
    Ones,
    Product,
    Stack,
    Trace,
    Transpose,
)
from mbp.invariants.infer import is_
from mbp.simplify import entrywise, rules
from mbp.simplify.order import order
from mbp.simplify.transposition import flip, flip_word, transpose
from mbp.simplify.words import (
    UNIT,
    Exponent,
    Form,
    Key,
    Powers,
    Word,
    add,
    constant,
    content,
    form,
    identity,
    key_order,
    minus,
    of_letter,
    of_word,
    times_number,
    zero,
)

MOST_WORDS = 40
"""A product of sums with more words than this keeps the longer sum as a letter."""


# --- scalars --------------------------------------------------------------------------------------


def sum_exponents(p: Exponent, q: Exponent) -> Exponent:
    """p + q."""
    if isinstance(p, Fraction) and isinstance(q, Fraction):
        return p + q
    return as_exponent(form(build.add(exponent_expression(p), exponent_expression(q))))


def times_exponents(p: Exponent, q: Exponent) -> Exponent:
    """p q."""
    if isinstance(p, Fraction) and isinstance(q, Fraction):
        return p * q
    return as_exponent(form(build.scale(exponent_expression(p), exponent_expression(q))))


def exponent_expression(p: Exponent) -> Expr:
    """An exponent as a scalar expression."""
    return p if isinstance(p, Expr) else build.number(p)


def as_exponent(p: Form) -> Exponent:
    """A scalar form as an exponent: a fraction where it is one."""
    if not p.terms:
        return Fraction(0)
    match p.single:
        case (c, (), ()):
            return c
    return p.expression()


@dataclass(frozen=True)
class Merged:
    """Powers by base; `sums` are the bases that became a sum with exponent 1 by merging."""

    powers: tuple[tuple[Expr, Exponent], ...]
    sums: tuple[Form, ...]


def merged(pairs: Iterable[tuple[Expr, Exponent]]) -> Merged:
    """Exponents added by base, exponentials of numeric powers joined into one.

    A sum that was given with exponent 1, and once, is a letter that is to be kept.
    """
    total: dict[Expr, Exponent] = {}
    changed: set[Expr] = set()
    exponents: list[Expr] = []
    for base, p in pairs:
        match base:
            case Map(data=("exp",), args=(X,)) if isinstance(p, Fraction):
                exponents.append(build.scale(build.number(p), X))
            case _:
                if base in total:
                    changed.add(base)
                    total[base] = sum_exponents(total[base], p)
                else:
                    total[base] = p
    if exponents:
        inside = form(build.add(*exponents))
        if inside.terms:
            whole = build.apply("exp", inside.expression())
            total[whole] = sum_exponents(total.get(whole, Fraction(0)), UNIT)
    sums = {base for base in changed if total[base] == 1 and not _is_atom(base)}
    powers = ((base, p) for base, p in total.items() if p != 0 and base not in sums)
    return Merged(tuple(sorted(powers, key=lambda pair: order(pair[0]))),
                  tuple(form(base) for base in sorted(sums, key=order)))  # fmt: skip


def _is_atom(base: Expr) -> bool:
    match form(base).single:
        case (c, ((same, p),), ()):
            return c == 1 and p == 1 and same is base
    return form(base).letter is base


def raised(
    pairs: Iterable[tuple[Expr, Exponent]], p: Exponent
) -> tuple[tuple[Expr, Exponent], ...]:
    """The powers to the power p; a sum whose exponent becomes 1 will be multiplied out."""
    result: list[tuple[Expr, Exponent]] = []
    for base, q in pairs:
        r = times_exponents(q, p)
        if r == 1 and q != 1:
            result += [(base, Fraction(2)), (base, Fraction(-1))]
        else:
            result.append((base, r))
    return tuple(result)


def collected(pairs: Iterable[tuple[Expr, Exponent]]) -> Form:
    """The scalar Π base ** exponent; sums with exponent 1 are multiplied out."""
    c = UNIT
    powers: list[tuple[Expr, Exponent]] = []
    joined = merged(pairs)
    for base, p in joined.powers:
        if isinstance(base, Number) and base.value.is_Rational and isinstance(p, Fraction):
            value = Fraction(int(base.value.p), int(base.value.q))
            whole = p.numerator // p.denominator
            c *= value**whole
            if p != whole:
                powers.append((base, p - whole))
        else:
            powers.append((base, p))
    result = Form(ONE, ONE, {(tuple(powers), ()): c} if c else {})
    for factor in joined.sums:
        result = multiply(result, factor)
    return result


def common_exponent(p: Exponent, q: Exponent) -> Exponent:
    """The power of a base that divides both its powers p and q: 0 when one is a reciprocal."""
    if not isinstance(p, Fraction) or not isinstance(q, Fraction):
        return p if p == q else Fraction(0)
    if p * q <= 0:
        return Fraction(0)
    return min(p, q, key=abs)


def common_powers(total: Form) -> Powers:
    """The scalar powers that all terms share."""
    shared: dict[Expr, Exponent] | None = None
    for powers, _ in total.terms:
        here = dict(powers)
        if shared is None:
            shared = here
        else:
            shared = {b: common_exponent(p, here[b]) for b, p in shared.items() if b in here}
    return tuple((b, p) for b, p in (shared or {}).items() if p != 0)


def without(total: Form, c: Fraction, powers: Powers) -> Form:
    """The form divided by a number and by scalar powers that all its terms share."""
    below = raised(powers, -UNIT)
    terms = []
    for (others, word), x in total.terms.items():
        scalars = times_number(x / c, collected((*others, *below)))
        body = of_word(word, total.rows, total.cols)
        terms.append(scalars if total.is_scalar else multiply(scalars, body))
    return add(terms, total.rows, total.cols)


# --- products of sums -----------------------------------------------------------------------------


def multiply(*factors: Form) -> Form:
    """The product of forms whose shapes chain; a 1×1 factor multiplies anything."""
    product = factors[0]
    for factor in factors[1:]:
        product = _times(product, factor)
    return product


def _times(a: Form, b: Form) -> Form:
    if a.is_scalar:
        rows, cols = b.rows, b.cols
    elif b.is_scalar:
        rows, cols = a.rows, a.cols
    else:
        rows, cols = a.rows, b.cols
    if not a.terms or not b.terms:
        return zero(rows, cols)
    a, b = _shortened(a, b)
    terms: dict[Key, Fraction] = {}
    for (p, u), x in a.terms.items():
        for (q, v), y in b.terms.items():
            if (not q and not u and not v) or (not p and not u and not v):
                keys: Iterable[tuple[Key, Fraction]] = (((p or q, ()), UNIT),)
            else:
                value = reduced(u + v) if u and v else of_word(u + v, rows, cols)
                keys = _joined(p, q, value).terms.items()
            for key, z in keys:
                terms[key] = terms.get(key, Fraction(0)) + x * y * z
    return Form(rows, cols, {key: c for key, c in terms.items() if c})


def _shortened(a: Form, b: Form) -> tuple[Form, Form]:
    # Sums that meet a power of themselves, and sums too long to multiply out, stay one letter.
    if a.is_scalar and len(a.terms) > 1 and _meets(a, b):
        a = kept(a)
    elif b.is_scalar and len(b.terms) > 1 and _meets(b, a):
        b = kept(b)
    while len(a.terms) * len(b.terms) > MOST_WORDS and max(len(a.terms), len(b.terms)) > 1:
        if len(a.terms) >= len(b.terms):
            a = kept(a)
        else:
            b = kept(b)
    return a, b


def _meets(total: Form, other: Form) -> bool:
    if not any(powers for powers, _ in other.terms):
        return False
    base = primitive(total)[1]
    return any(b is base for powers, _ in other.terms for b, _ in powers)


def primitive(total: Form) -> tuple[Fraction, Expr]:
    """(c, X) with the sum equal to c X, X without a common number and its first term positive."""
    c = content(total)
    return c, times_number(1 / c, total).expression()


def kept(total: Form) -> Form:
    """A sum as one letter times its content."""
    c, X = primitive(total)
    return of_letter(X, c)


def _joined(p: Powers, q: Powers, product: Form) -> Form:
    if not p and not q:
        return product
    scalars = collected((*p, *q)) if p and q else Form(ONE, ONE, {(p or q, ()): UNIT})
    match scalars.single, product.single:
        case (c, powers, _), (x, (), letters):
            return Form(product.rows, product.cols, {(powers, letters): c * x})
    return _times(scalars, product)


# --- words ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 16)
def reduced(word: Word) -> Form:
    """The product of letters, reduced by property until nothing applies."""
    if len(word) == 1:
        return of_letter(word[0])
    bounds = [word[0].rows, *(letter.cols for letter in word)]
    cuts = [k for k, bound in enumerate(bounds) if bound is ONE]
    if len(cuts) >= 2:
        i, j = cuts[:2]
        value = closed(word[i:j])
        rest = word[:i] + word[j:]
        return multiply(value, reduced(rest)) if rest else value
    for k in range(len(word)):
        found = _at(word, k)
        if found is not None:
            start, stop, middle = found
            return _replaced(word, start, stop, middle)
    return of_word(word, bounds[0], bounds[-1])


def _replaced(word: Word, start: int, stop: int, middle: Form) -> Form:
    before, after = word[:start], word[stop:]
    factors = [middle]
    if before:
        factors.insert(0, of_word(before, before[0].rows, before[-1].cols))
    if after:
        factors.append(of_word(after, after[0].rows, after[-1].cols))
    return multiply(*factors)


def _at(word: Word, k: int) -> tuple[int, int, Form] | None:
    """What the letters from k on reduce to: (start, stop, form)."""
    letter = word[k]
    if isinstance(letter, Diag):
        found = _diagonal(word, k)
        if found is not None:
            return found
    if k + 1 < len(word) and isinstance(word[k + 1], Diag) and letter.rows is ONE:
        return k, k + 2, transpose(_scaled_column(word[k + 1], transpose(of_letter(letter))))
    found = _inverse(word, k) or _functions(word, k) or _units(word, k)
    if found is not None:
        return found
    return rules.word_rewrite(word, k)


def _diagonal(word: Word, k: int) -> tuple[int, int, Form] | None:
    if k + 1 == len(word):
        return None
    following = word[k + 1]
    if isinstance(following, Diag):
        u, v = _column_of(word[k]), _column_of(following)
        return k, k + 2, entrywise.diagonal_matrix(entrywise.entry_product(u, v))
    if following.cols is ONE:
        return k, k + 2, _scaled_column(word[k], of_letter(following))
    stop = next((j for j in range(k + 1, len(word) + 1) if word[j - 1].cols is ONE), None)
    if stop is None:
        return None
    # diag(u) (A x) = u ∘ (A x): the last of several products in the order ends the word.
    product = entrywise.entry_product(
        _column_of(word[k]), of_word(word[k + 1 : stop], following.rows, ONE)
    )
    if product.single == (UNIT, (), word[k:stop]):
        return None
    return k, stop, product


def _scaled_column(D: Expr, v: Form) -> Form:
    return entrywise.entry_product(_column_of(D), v)


def _column_of(D: Expr) -> Form:
    return of_word(entrywise.column_word(D), D.rows, ONE)


def _inverse(word: Word, k: int) -> tuple[int, int, Form] | None:
    """S⁻¹ beside the leading word w of S = c w + R: w S⁻¹ = (I − R S⁻¹)/c, shorter words."""
    letter = word[k]
    turned = isinstance(letter, Transpose)
    inverse = letter.args[0] if turned else letter
    if not isinstance(inverse, Inverse):
        return None
    found = leading(inverse.args[0], turned)
    if found is None:
        return None
    c, lead, rest = found
    n = len(lead)
    self_ = of_letter(letter)
    if word[k + 1 : k + 1 + n] == lead:
        value = minus(identity(letter.rows), multiply(self_, rest))
        return k, k + 1 + n, times_number(1 / c, value)
    if k >= n and word[k - n : k] == lead:
        value = minus(identity(letter.rows), multiply(rest, self_))
        return k - n, k + 1, times_number(1 / c, value)
    return None


@lru_cache(maxsize=1 << 14)
def leading(S: Expr, turned: bool) -> tuple[Fraction, Word, Form] | None:
    """(c, w, R) with S = c w + R and w its leading word, when w has no scalar factor but c."""
    total = transpose(form(S)) if turned else form(S)
    if not total.terms:
        return None
    powers, word = min(total.terms, key=key_order)
    if powers or not word:
        return None
    c = total.terms[powers, word]
    rest = Form(total.rows, total.cols, {k: v for k, v in total.terms.items() if k != ((), word)})
    return c, word, rest


def _functions(word: Word, k: int) -> tuple[int, int, Form] | None:
    """Functions of one matrix side by side: their product is a function of it."""
    if k + 1 == len(word):
        return None
    first, second = function_of(word[k]), function_of(word[k + 1])
    if first is None or second is None or first[1:] != second[1:]:
        return None
    g, A, parameters = first
    product = _product_of_functions(g, second[0])
    if product is not None:
        return k, k + 2, form(function_expression(product, A, parameters))
    if order(word[k + 1]) < order(word[k]):
        return k, k + 2, of_word((word[k + 1], word[k]), A.rows, A.cols)
    return None


def _units(word: Word, k: int) -> tuple[int, int, Form] | None:
    """The blocks' embeddings are orthonormal: (I; 0)ᵀ(I; 0) = I, (I; 0)ᵀ(0; I) = 0."""
    match word[k : k + 2]:
        case (Transpose(args=(Stack() as left,)), Stack() as right):
            sizes = [[block.rows for block in unit.args] for unit in (left, right)]
            if sizes[0] != sizes[1]:
                return None
            n = right.cols
            return k, k + 2, identity(n) if left is right else zero(left.cols, n)
    return None


def function_of(letter: Expr) -> tuple[sp.Expr, Expr, tuple[Expr, ...]] | None:
    """(g, A, parameters) when the letter is the function g of a symmetric A."""
    match letter:
        case Frechet() if letter.order == 0:
            return letter.g, letter.args[0], letter.parameters
        case Inverse(args=(A,)) if is_(A, "symmetric"):
            return 1 / scalar.X, A, ()
    if is_(letter, "symmetric"):
        return scalar.X, letter, ()
    return None


def function_expression(g: sp.Expr, A: Expr, parameters: tuple[Expr, ...]) -> Expr:
    """g(A), spelled without a matrix function where it is an inverse or a power 0 or 1."""
    if g == 1:
        return build.eye(A.rows)
    if g == scalar.X:
        return A
    if g == 1 / scalar.X:
        return build.inv(A)
    return build.frechet(g, A, parameters)


@lru_cache(maxsize=1 << 12)
def _product_of_functions(f: sp.Expr, g: sp.Expr) -> sp.Expr | None:
    if f == scalar.X and g == scalar.X:
        return None
    product = sp.powsimp(f * g)
    if product.is_Number or product == scalar.X:
        return product if product == 1 or product == scalar.X else None
    if product.is_Pow and product.base == scalar.X:
        return product
    if isinstance(product, sp.exp):
        return product
    return None


# --- closed words ---------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 14)
def closed(word: Word) -> Form:
    """The scalar of a word that begins with a row and ends with a column."""
    if len(word) == 1:
        return form(word[0])
    for k in range(len(word)):
        found = _at(word, k)
        if found is not None:
            return _replaced(word, *found)
    sign, flipped = flip_word(word)
    if len(word) == 2:
        pairs = (*entrywise.column_pairs(flipped[1]), *entrywise.column_pairs(word[1]))
        return _dot(pairs, word[1].rows, sign)
    ones_left, ones_right = isinstance(word[0], Ones), isinstance(word[-1], Ones)
    if ones_left and len(word) == 3 and ones_right:
        total = _entry_sum(word[1])
        if total is not None:
            return total
    if flipped == word and sign < 0:
        return constant(0)
    if _word_order(flipped) < _word_order(word):
        return times_number(sign, of_letter(Product(*flipped)))
    return of_letter(Product(*word))


def _dot(pairs: tuple[tuple[Expr, Exponent], ...], n: sp.Expr, sign: int) -> Form:
    """Σ Π of column entries: uᵀv for two simple columns, 1ᵀ of their product for others."""
    joined = merged(pairs)
    row = of_word((build.ones(1, n),), ONE, n)
    if joined.sums:
        return times_number(sign, multiply(row, entrywise.monomial_column(pairs, n)))
    match joined.powers:
        case ():
            return form(build.dim_size(n))
        case ((u, p), (v, q)) if p == 1 and q == 1 and _is_atom(u) and _is_atom(v):
            for word in ((flip(u)[1], v), (flip(v)[1], u)):
                found = rules.word_rewrite(word, 0) or rules.word_rewrite(word, 1)
                if found is not None:
                    return times_number(sign, found[2])
            return times_number(sign, of_letter(Product(build.transpose(u), v)))
        case ((u, p),) if p == 2 and _is_atom(u):
            return times_number(sign, of_letter(Product(build.transpose(u), u)))
        case ((u, p),) if p == 2:
            return times_number(sign, multiply(transpose(form(u)), form(u)))
        case ((DiagVec(args=(A,)), p),) if p == 1 and not is_(A, "diagonal"):
            return times_number(sign, trace(form(A)))
    column = entrywise.monomial_column(joined.powers, n)
    if column.letter is None:
        return multiply(row, column)
    return times_number(sign, of_letter(Product(build.ones(1, n), column.letter)))


def _entry_sum(letter: Expr) -> Form | None:
    """1ᵀ(A ∘ B)1 = Tr(AᵀB)."""
    sign, pairs = entrywise.pairs_of(letter)
    if len(pairs) == 2 and all(p == 1 for _, p in pairs):
        A, B = (form(base) for base, _ in pairs)
        return times_number(sign, trace(multiply(transpose(A), B)))
    if len(pairs) == 1 and pairs[0][1] == 2:
        A = form(pairs[0][0])
        return times_number(sign, trace(multiply(transpose(A), A)))
    return None


def _word_order(word: Word) -> list[object]:
    return [order(letter) for letter in word]


# --- traces ---------------------------------------------------------------------------------------


def trace(total: Form) -> Form:
    """Tr of a square form."""
    if total.is_scalar:
        return total
    values = []
    for (powers, word), c in total.terms.items():
        value = traced(word) if word else form(build.dim_size(total.rows))
        scalars = Form(ONE, ONE, {(powers, ()): c})
        values.append(multiply(scalars, value))
    return add(values, ONE, ONE)


@lru_cache(maxsize=1 << 14)
def traced(word: Word) -> Form:
    """Tr of a reduced word: cyclic and transposed words have one form."""
    for k, letter in enumerate(word):
        if letter.rows is ONE:
            return closed(word[k:] + word[:k])
    turns = [word[k:] + word[:k] for k in range(len(word))]
    for turn in turns:
        value = reduced(turn)
        # Functions of one matrix commute, so that a turn may reduce to another turn.
        if value.single not in [(UNIT, (), other) for other in turns]:
            return trace(value)
    diagonals = [k for k, letter in enumerate(word) if isinstance(letter, Diag)]
    if len(diagonals) == 1:
        turn = turns[diagonals[0]]
        v = _column_of(turn[0])
        if len(turn) == 1:
            return multiply(of_word((build.ones(1, v.rows),), ONE, v.rows), v)
        rest = of_word(turn[1:], turn[0].cols, turn[0].rows)
        return multiply(transpose(v), entrywise.diagonal_column(rest))
    if len(word) == 1:
        column = entrywise.diagonal_column(of_letter(word[0]))
        if not isinstance(column.letter, DiagVec):
            return multiply(of_word((build.ones(1, column.rows),), ONE, column.rows), column)
    if len(word) == 2:
        total = entrywise.sum_of_entries(*word)
        if total is not None:
            return total
    best = min(turns, key=_word_order)
    sign, flipped = flip_word(word)
    turned = min((flipped[k:] + flipped[:k] for k in range(len(word))), key=_word_order)
    if turned == best and sign < 0:
        return constant(0)
    if _word_order(turned) >= _word_order(best):
        sign, turned = 1, best
    letter = Trace(build.matmul(*turned))
    return times_number(sign, rules.node_rewrite(letter) or of_letter(letter))
