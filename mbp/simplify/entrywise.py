"""Elementwise products, powers and functions of forms, and the diagonals that go with them.

An elementwise product is a monomial: entries as powers of bases, between a diagonal factor on the
left and one on the right; (u vᵀ) ∘ A = diag(u) A diag(v) puts every rank-one factor there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Frechet,
    Hadamard,
    Kernel,
    Map,
    Ones,
    Part,
    Product,
    Transpose,
    both,
    col,
    row,
)
from mbp.invariants.infer import is_
from mbp.simplify import products, rules
from mbp.simplify.order import order
from mbp.simplify.transposition import flip, flip_word, signed_kernel, transpose
from mbp.simplify.words import (
    HALF,
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
    of_letter,
    of_word,
    powered,
    times_number,
    zero,
)

Pair = tuple[Expr, Exponent]


@dataclass(frozen=True)
class Monomial:
    """c · Π scalars · diag(Π left) (Π entries) diag(Π right), only its diagonal if `diagonal`."""

    c: Fraction
    scalars: Powers
    left: tuple[Pair, ...] = ()
    entries: tuple[Pair, ...] = ()
    right: tuple[Pair, ...] = ()
    diagonal: bool = field(default=False)


# --- reading monomials ----------------------------------------------------------------------------


def pairs_of(letter: Expr) -> tuple[int, tuple[Pair, ...]]:
    """A letter as an elementwise product of powers, with its sign."""
    match letter:
        case Ones():
            return 1, ()
        case Hadamard(args=args):
            return 1, tuple(pair for arg in args for pair in pairs_of(arg)[1])
        case Map(data=("pow",), args=(X, p)):
            return 1, ((X, products.as_exponent(form(p))),)
        case Map(data=("sqrt",), args=(X,)):
            return 1, ((X, HALF),)
        case Transpose(args=(Hadamard() | Map(data=("pow" | "sqrt",)) as X,)):
            return turned_pairs(pairs_of(X)[1])
    return 1, ((_pushed(letter), UNIT),)


def _pushed(letter: Expr) -> Expr:
    """f(A)ᵀ as f(Aᵀ), so that functions meet in a monomial however they are turned."""
    match letter:
        case Transpose(args=(Map(data=(name,), args=(X,)),)):
            return build.apply(name, transpose(form(X)).expression())
    return letter


def turned_pairs(pairs: Iterable[Pair]) -> tuple[int, tuple[Pair, ...]]:
    """The transposed bases of a monomial, with their common sign."""
    sign = 1
    turned: list[Pair] = []
    for base, p in pairs:
        s, X = _turned_base(base)
        if s < 0:
            if not (isinstance(p, Fraction) and p.denominator == 1):
                X = build.negate(X)
            elif p.numerator % 2:
                sign = -sign
        turned.append((X, p))
    return sign, tuple(turned)


def _turned_base(base: Expr) -> tuple[int, Expr]:
    turned = transpose(form(base))
    c = content(turned)
    return (1 if c > 0 else -1), _pushed(times_number(1 if c > 0 else -1, turned).expression())


def column_pairs(letter: Expr) -> tuple[Pair, ...]:
    """A column letter's factors."""
    return pairs_of(letter)[1]


def monomial(c: Fraction, scalars: Powers, word: Word, is_column: bool) -> Monomial:
    """A term of a form, seen as an elementwise product."""
    m = Monomial(c, scalars)
    if not word:
        return replace(m, diagonal=True)
    start = 0
    left: list[Pair] = []
    while start < len(word) and isinstance(word[start], Diag):
        left += _diagonal_pairs(word[start])
        start += 1
    word = word[start:]
    if not word:
        return replace(m, left=tuple(left), diagonal=True)
    if is_column:
        return replace(m, entries=(*left, *_word_pairs(word)[1]))
    right: list[Pair] = []
    while isinstance(word[-1], Diag):
        right += _diagonal_pairs(word[-1])
        word = word[:-1]
    for k in range(1, len(word)):
        if word[k].rows is ONE:
            sign, turned = flip_word(word[k:])
            left += _word_pairs(word[:k])[1]
            right += _word_pairs(turned)[1]
            return replace(m, c=sign * c, left=tuple(left), right=tuple(right))
    sign, entries = _word_pairs(word)
    return replace(m, c=sign * c, left=tuple(left), entries=entries, right=tuple(right))


def _word_pairs(word: Word) -> tuple[int, tuple[Pair, ...]]:
    if len(word) == 1:
        return pairs_of(word[0])
    start = 0
    pairs: list[Pair] = []
    if word[-1].cols is ONE:
        while isinstance(word[start], Diag):
            pairs += _diagonal_pairs(word[start])
            start += 1
    return 1, (*pairs, *(pairs_of(word[-1])[1] if start + 1 == len(word)
                         else ((Product(*word[start:]), UNIT),)))  # fmt: skip


def _diagonal_pairs(D: Expr) -> tuple[Pair, ...]:
    return _word_pairs(column_word(D))[1]


def column_word(D: Expr) -> Word:
    """The word v of a diagonal letter diag(v)."""
    v = D.args[0]
    return v.args if isinstance(v, Product) else (v,)


# --- products -------------------------------------------------------------------------------------


def entry_product(*factors: Form) -> Form:
    """A₁ ∘ … ∘ Aₙ of forms of one shape; sums are multiplied out unless they meet their powers."""
    rows, cols = factors[0].rows, factors[0].cols
    if any(not factor.terms for factor in factors):
        return zero(rows, cols)
    if factors[0].is_scalar:
        return products.multiply(*factors)
    if rows is ONE:
        return transpose(entry_product(*(transpose(factor) for factor in factors)))
    single: list[Monomial] = []
    sums: list[Form] = []
    for factor in factors:
        (sums.append(factor) if len(factor.terms) > 1 else
         single.extend(_monomials(factor)))  # fmt: skip
    known = [base for m in single for base, _ in m.entries]
    spread: list[list[Monomial]] = []
    words = 1
    for total in sums:
        c, base = products.primitive(total)
        words *= len(total.terms)
        if base in known or words > products.MOST_WORDS:
            single.append(Monomial(c, (), entries=((base, UNIT),)))
        else:
            spread.append(_monomials(total))
    return add(
        (_combined((*single, *chosen), rows, cols) for chosen in product(*spread)), rows, cols
    )


def _monomials(total: Form) -> list[Monomial]:
    is_column = total.cols is ONE
    return [monomial(c, powers, word, is_column) for (powers, word), c in total.terms.items()]


def _combined(factors: tuple[Monomial, ...], rows: Dim, cols: Dim) -> Form:
    c = UNIT
    for m in factors:
        c *= m.c
    scalars = products.collected(pair for m in factors for pair in m.scalars)
    left = [pair for m in factors for pair in m.left]
    right = [pair for m in factors for pair in m.right]
    entries = [pair for m in factors for pair in m.entries]
    if any(m.diagonal for m in factors):
        column = _diagonal_of(left, entries, right, rows)
        return products.multiply(times_number(c, scalars), diagonal_matrix(column))
    if cols is ONE:
        body = monomial_column(entries, rows)
    else:
        body = monomial_matrix(entries, rows, cols)
        if left:
            body = products.multiply(diagonal_matrix(monomial_column(left, rows)), body)
        if right:
            body = products.multiply(body, diagonal_matrix(monomial_column(right, cols)))
    return products.multiply(times_number(c, scalars), body)


def divided(m: Monomial, pair: Pair, rows: Dim, cols: Dim) -> Form:
    """The monomial divided by the power of an entry that it holds."""
    base, p = pair
    inverse = (base, products.times_exponents(p, -UNIT))
    return _combined((replace(m, entries=(*m.entries, inverse)),), rows, cols)


def _diagonal_of(
    left: Iterable[Pair], entries: Iterable[Pair], right: Iterable[Pair], n: Dim
) -> Form:
    column = monomial_column([*left, *right], n)
    for base, p in entries:
        column = entry_product(column, power_form(diagonal_column(form(base)), p))
    return column


def monomial_column(pairs: Iterable[Pair], n: Dim) -> Form:
    """The column Π base ** exponent; the last of its products in the order ends the word."""
    joined = products.merged(pairs)
    factors = list(joined.powers)
    tail = [base for base, p in factors if p == 1 and isinstance(base, Product)]
    if tail:
        factors.remove((tail[-1], UNIT))
        word = tail[-1].args
        if factors:
            word = (Diag(monomial_column(factors, n).expression()), *word)
        result = of_word(word, n, ONE)
    elif factors:
        result = of_letter(_hadamard(factors))
    else:
        result = of_letter(build.ones(n))
    return entry_product(result, *joined.sums) if joined.sums else result


def _hadamard(factors: Iterable[Pair]) -> Expr:
    return build.hadamard(*(powered(base, p) for base, p in factors))


def monomial_matrix(pairs: Iterable[Pair], rows: Dim, cols: Dim) -> Form:
    """The matrix Π base ** exponent, kernels joined into one; in its canonical orientation."""
    joined = products.merged(pairs)
    factors: list[Pair] = []
    kernels: list[Kernel] = []
    for base, p in joined.powers:
        if isinstance(base, Kernel) and isinstance(p, Fraction) and p.denominator == 1 and p > 0:
            kernels += [base] * int(p)
        else:
            factors.append((base, p))
    sign = 1
    if kernels:
        sign, K = signed_kernel(_joined_kernels(kernels)) if len(kernels) > 1 else (1, kernels[0])
        factors.append((K, UNIT))
    if not factors:
        result = of_word((build.ones(rows), build.ones(1, cols)), rows, cols)
    elif len(factors) == 1 and factors[0][1] == 1:
        result = form(factors[0][0])
    else:
        result = _oriented(factors)
        if rows == cols and result.letter is not None and is_(result.letter, "diagonal"):
            result = diagonal_matrix(_diagonal_of((), factors, (), rows))
    if joined.sums:
        result = entry_product(result, *joined.sums)
    return times_number(sign, result)


def _oriented(factors: list[Pair]) -> Form:
    factors.sort(key=lambda pair: order(pair[0]))
    A = _hadamard(factors)
    sign, turned = turned_pairs(factors)
    B = _hadamard(sorted(turned, key=lambda pair: order(pair[0])))
    if A is B or order(A) < order(B):
        return of_letter(A)
    return of_letter(Transpose(B), sign)


def _joined_kernels(kernels: list[Kernel]) -> Kernel:
    """K₁ ∘ … ∘ Kₙ as one kernel over all their operands."""
    operands: list[Expr] = []
    entry: sp.Expr = sp.Integer(1)
    diagonal: sp.Expr = sp.Integer(1)
    for K in kernels:
        rename: dict[sp.Symbol, sp.Symbol] = {}
        for k, operand in enumerate(K.args):
            if operand not in operands:
                operands.append(operand)
            at = operands.index(operand)
            rename.update({row(k): row(at), col(k): col(at), both(k): both(at)})
        entry *= K.entry.xreplace(rename)
        diagonal *= (K.entry if K.diagonal is None else K.diagonal).xreplace(rename)
    whole = all(K.diagonal is None for K in kernels)
    first = kernels[0]
    joined = build.kernel(
        entry, None if whole else diagonal, tuple(operands), first.rows, first.cols
    )
    assert isinstance(joined, Kernel)
    return joined


# --- powers and functions -------------------------------------------------------------------------


def power_form(total: Form, p: Exponent) -> Form:
    """total ** p of each entry."""
    if p == 1:
        return total
    if p == 0:
        return _ones(total)
    if total.rows is ONE and not total.is_scalar:
        return transpose(power_form(transpose(total), p))
    whole = isinstance(p, Fraction) and p.denominator == 1
    if not total.terms:
        if isinstance(p, Fraction) and p > 0:
            return total
        return of_letter(powered(total.expression(), p))
    if total.single is None:
        common = _times_ones(total)
        if common is not None:
            return products.multiply(power_form(common, p), _ones(total))
        words = {word for _, word in total.terms}
        if len(words) == 1 and not total.is_scalar:
            front = Form(ONE, ONE, {(powers, ()): c for (powers, _), c in total.terms.items()})
            if whole or is_(front.expression(), "positive"):
                body = of_word(words.pop(), total.rows, total.cols)
                return products.multiply(power_form(front, p), power_form(body, p))
        c = content(total)
        c = c if whole else abs(c)
        shared = products.common_powers(total)
        if not whole:
            shared = tuple((b, q) for b, q in shared if _is_nonnegative(b))
        front = products.collected(products.raised(shared, p))
        base = products.without(total, c, shared)
        return products.multiply(_number_power(c, p), front, _power_letter(base, p))
    c, scalars, word = total.single
    front = _number_power(c if whole else abs(c), p)
    rest: list[Pair] = []
    taken: list[Pair] = []
    for pair in scalars:
        (taken if whole or _is_nonnegative(pair[0]) else rest).append(pair)
    front = products.multiply(front, products.collected(products.raised(taken, p)))
    left_c = UNIT if whole or c > 0 else -UNIT
    if total.is_scalar:
        if not rest and left_c == 1:
            return front
        inside = times_number(left_c, products.collected(rest))
        return products.multiply(front, _scalar_power(inside, p, rest, left_c))
    inside_scalars = tuple(rest)
    if inside_scalars or left_c != 1:
        base = times_number(
            left_c,
            products.multiply(products.collected(rest), of_word(word, total.rows, total.cols)),
        )
        return products.multiply(front, _power_letter(base, p))
    m = monomial(UNIT, (), word, total.cols is ONE)
    factors = (*m.left, *m.entries, *m.right)
    if ((m.c < 0 and not whole) or not (whole or all(_splits(base, q) for base, q in factors))
            or (m.diagonal and not (isinstance(p, Fraction) and p > 0))):  # fmt: skip
        return products.multiply(front, _power_letter(of_word(word, total.rows, total.cols), p))

    front = products.multiply(front, _number_power(m.c, p))
    raised = replace(
        m, c=UNIT, left=products.raised(m.left, p), entries=products.raised(m.entries, p),
        right=products.raised(m.right, p),
    )  # fmt: skip
    body = _combined((raised,), total.rows, total.cols)
    return products.multiply(front, body)


def _is_nonnegative(base: Expr) -> bool:
    return is_(base, "positive") or is_(base, "nonnegative")


def _splits(base: Expr, q: Exponent) -> bool:
    # (b^q)^p = b^(q p) for every real p when b is positive, or b^q defined only for b ≥ 0.
    return is_(base, "positive") or (isinstance(q, Fraction) and q.denominator % 2 == 0)


def _scalar_power(inside: Form, p: Exponent, rest: list[Pair], sign: Fraction) -> Form:
    if sign == 1 and len(rest) == 1 and (rest[0][1] == 1 or _splits(*rest[0])):
        base, q = rest[0]
        return products.collected(products.raised([(base, q)], p))
    return products.collected([(inside.expression(), p)])


def _number_power(c: Fraction, p: Exponent) -> Form:
    if c == 1:
        return constant(1)
    if isinstance(p, Fraction) and p.denominator == 1:
        return constant(c ** int(p))
    if isinstance(p, Fraction):
        root = sp.Rational(c.numerator, c.denominator) ** sp.Rational(p.numerator, p.denominator)
        if root.is_Rational:
            return constant(Fraction(int(root.p), int(root.q)))
    return products.collected([(build.number(c), p)])


def _power_letter(base: Form, p: Exponent) -> Form:
    """One sum or word to a power, in its canonical orientation."""
    if base.is_scalar:
        return products.collected([(base.expression(), p)])
    if base.cols is ONE:
        return of_letter(powered(base.expression(), p))
    turned = transpose(base)
    if isinstance(p, Fraction) and p.denominator == 1 and content(turned) < 0:
        sign = -1 if p.numerator % 2 else 1
        turned = times_number(-1, turned)
    else:
        sign = 1
    A, B = base.expression(), turned.expression()
    if A is B or order(A) < order(B):
        return of_letter(powered(A, p))
    return of_letter(Transpose(powered(B, p)), sign)


def _times_ones(total: Form) -> Form | None:
    """s when the form is the scalar s times the matrix of ones."""
    if total.is_scalar:
        return None
    scalars: dict[Key, Fraction] = {}
    for (powers, word), c in total.terms.items():
        if not word or not all(isinstance(letter, Ones) for letter in word):
            return None
        scalars[powers, ()] = c
    return Form(ONE, ONE, scalars)


def _ones(total: Form) -> Form:
    return form(build.ones(total.rows, total.cols))


_ODD = ("sin", "tan", "sinh", "tanh", "asin", "atan", "asinh", "atanh", "erf", "sign")
_EVEN = ("cos", "cosh", "abs")


def map_form(name: str, total: Form) -> Form:
    """The named function of each entry."""
    if name == "sqrt":
        return power_form(total, HALF)
    if total.rows is ONE and not total.is_scalar:
        return transpose(map_form(name, transpose(total)))
    if not total.terms:
        return _value_at(name, Fraction(0), total)
    sign = 1
    if name in _ODD + _EVEN and content(total) < 0:
        total = times_number(-1, total)
        sign = -1 if name in _ODD else 1
    match total.single:
        case (c, (), ()) if total.is_scalar:
            return times_number(sign, _value_at(name, c, total))
    common = _times_ones(total)
    if common is not None:
        return times_number(sign, products.multiply(map_form(name, common), _ones(total)))
    if isinstance(total.letter, Transpose) and not total.is_scalar and total.cols is not ONE:
        value = map_form(name, of_letter(total.letter.args[0]))
        match value.single:
            case (c, (), (Map(data=(same,)) as letter,)) if same == name:
                return of_letter(Transpose(letter), sign * c)
        return times_number(sign, transpose(value))
    X = total.expression()
    if name in ("abs", "relu") and is_(X, "nonnegative"):
        return times_number(sign, total)
    if name == "sign" and is_(X, "positive"):
        return times_number(sign, _ones(total))
    if not total.is_scalar and total.cols is not ONE:
        if _is_diagonal(total) and scalar.body(name).subs(scalar.X, 0) == 0:
            return times_number(sign, diagonal_matrix(map_form(name, diagonal_column(total))))
        turned = transpose(total)
        if name in _ODD + _EVEN and content(turned) < 0:
            turned = times_number(-1, turned)
            mirror = -1 if name in _ODD else 1
        else:
            mirror = 1
        if order(turned.expression()) < order(X):
            mirrored = _map_letter(name, turned.expression()).letter
            if mirrored is not None:
                return times_number(sign * mirror, of_letter(Transpose(mirrored)))
    return times_number(sign, _map_letter(name, X))


def _map_letter(name: str, X: Expr) -> Form:
    letter = build.apply(name, X)
    return rules.node_rewrite(letter) or of_letter(letter)


def _value_at(name: str, c: Fraction, total: Form) -> Form:
    value = scalar.body(name).subs(scalar.X, sp.Rational(c.numerator, c.denominator))
    if value.is_Rational:
        number = constant(Fraction(int(value.p), int(value.q)))
    else:
        number = of_letter(build.apply(name, build.number(c)))
    return number if total.is_scalar else products.multiply(number, _ones(total))


# --- diagonals ------------------------------------------------------------------------------------


def _is_diagonal(total: Form) -> bool:
    return all(
        not word or (len(word) == 1 and isinstance(word[0], Diag)) for _, word in total.terms
    )


def diagonal_matrix(column: Form) -> Form:
    """diag(v) of a column, term by term; diag(1) = I."""
    if column.is_scalar:
        return column
    n = column.rows
    terms = []
    for (powers, word), c in column.terms.items():
        bare = () if len(word) == 1 and isinstance(word[0], Ones) else (Diag(build.matmul(*word)),)
        terms.append(Form(n, n, {(powers, bare): c}))
    return add(terms, n, n)


def diagonal_column(total: Form) -> Form:
    """diag(A) as a column: diagonal factors come out, diag(x yᵀ) = x ∘ y."""
    if total.is_scalar:
        return total
    n = total.rows
    terms = []
    for (powers, word), c in total.terms.items():
        scalars = Form(ONE, ONE, {(powers, ()): c})
        terms.append(products.multiply(scalars, _diagonal_of_word(word, n)))
    return add(terms, n, ONE)


@lru_cache(maxsize=1 << 14)
def _diagonal_of_word(word: Word, n: Dim) -> Form:
    m = monomial(UNIT, (), word, is_column=False)
    if m.diagonal:
        return monomial_column((*m.left, *m.right), n)
    column = times_number(m.c, monomial_column((*m.left, *m.right), n))
    if not m.entries:
        return column
    for base, p in m.entries:
        column = entry_product(column, power_form(_diagonal_of_base(base), p))
    return column


def _diagonal_of_base(base: Expr) -> Form:
    match base:
        case Transpose(args=(X,)):
            return diagonal_column(form(X))
        case Map(data=(name,), args=(X,)):
            return map_form(name, diagonal_column(form(X)))
        case Kernel(data=(_, diagonal, *_)) if diagonal == 0:
            return zero(base.rows, ONE)
        case Frechet() if base.order == 1 and is_(base.args[0], "diagonal"):
            return _diagonal_of_derivative(base)
        case Part(data=(kind,), args=(X,)):
            if kind.startswith("strictly"):
                return zero(base.rows, ONE)
            return diagonal_column(form(X))
        case Product():
            sign, turned = flip_word(base.args)
            if [order(x) for x in turned] < [order(x) for x in base.args]:
                return of_letter(DiagVec(Product(*turned)), sign)
            if turned == base.args and sign < 0:
                return zero(base.rows, ONE)
            return of_letter(DiagVec(base))
    if is_(base, "antisymmetric") or is_(base, "strictly_lower_triangular"):
        return zero(base.rows, ONE)
    total = form(base)
    if total.letter is not base:
        return diagonal_column(total)
    return of_letter(DiagVec(base))


def _diagonal_of_derivative(D: Frechet) -> Form:
    # At a diagonal matrix the derivative acts entry by entry, on the diagonal by g′.
    slope = build.frechet(scalar.derivative(D.g), D.args[0], D.parameters)
    return entry_product(diagonal_column(form(slope)), diagonal_column(form(D.directions[0])))


def sum_of_entries(A: Expr, B: Expr) -> Form | None:
    """Tr((A₁ ∘ A₂)ᵀ B) = 1ᵀ(A₁ ∘ A₂ ∘ B)1, one form for every way to group three factors."""
    if not any(isinstance(X.args[0] if isinstance(X, Transpose) else X, Hadamard | Map)
               for X in (A, B)):  # fmt: skip
        return None
    sign, turned = flip(A)
    total = entry_product(of_letter(turned, sign), of_letter(B))
    letter = total.letter
    if letter is None or len(pairs_of(letter)[1]) < 2:
        return None
    if len(pairs_of(letter)[1]) == 2 and all(p == 1 for _, p in pairs_of(letter)[1]):
        return None
    m, n = total.rows, total.cols
    return products.multiply(
        of_word((build.ones(1, m),), ONE, m), total, of_word((build.ones(n),), n, ONE)
    )
