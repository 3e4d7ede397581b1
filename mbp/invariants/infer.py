"""Infers properties of an expression from its structure: one rule per (property, node).

Answers are three-valued: True (proven), False (excluded), None (unknown). Nothing is ever read
off numeric values of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import sympy as sp

from mbp.errors import PropertyError
from mbp.expr import build, scalar
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    Inner,
    Inverse,
    Kernel,
    Kron,
    Map,
    Named,
    Number,
    Ones,
    Output,
    Part,
    Product,
    Scale,
    Sum,
    Transpose,
    Var,
    Variation,
    Zeros,
    both,
    col,
    row,
)
from mbp.invariants.vocabulary import VOCABULARY

Answer = bool | None
Rule = Callable[[Expr], Answer]
R = TypeVar("R", bound=Rule)

_RULES: dict[tuple[str, type[Expr]], Rule] = {}
_KNOWN: WeakKeyDictionary[Expr, dict[str, Answer]] = WeakKeyDictionary()


def infers(prop: str, *kinds: type[Expr]) -> Callable[[R], R]:
    """Registers the inference rule for a property and kinds of node."""

    def register(rule: R) -> R:
        for kind in kinds:
            _RULES[prop, kind] = rule
        return rule

    return register


def has(A: Expr, prop: str) -> Answer:
    """Whether A has the property: True, False or None for unknown.

    Raises PropertyError for a name that is not in the vocabulary.
    """
    if prop not in VOCABULARY:
        raise PropertyError(f"unknown property {prop!r}; known are {', '.join(VOCABULARY.names)}")
    known = _KNOWN.setdefault(A, {})
    if prop not in known:
        known[prop] = None  # what is being asked is unknown to the rules that answer it
        known[prop] = _answer(A, prop)
    return known[prop]


def is_(A: Expr, prop: str) -> bool:
    """Whether A provably has the property."""
    return has(A, prop) is True


def forget() -> None:
    """Drops what was inferred, after the vocabulary has been extended."""
    _KNOWN.clear()


def declared(A: Expr) -> frozenset[str]:
    """The properties of a variable, output or name, with everything that follows from them."""
    if isinstance(A, Var | Output | Named):
        return VOCABULARY.closure(A.properties)
    return frozenset()


def _answer(A: Expr, prop: str) -> Answer:
    if VOCABULARY[prop].square and not A.is_square:
        return False
    names = declared(A)
    if prop in names:
        return True
    if not A.is_scalar and any(
        prop in VOCABULARY[name].excludes or name in VOCABULARY[prop].excludes for name in names
    ):
        return False
    rule = _of_operand(prop) if isinstance(A, Named) else _RULES.get((prop, type(A)))
    answer = rule(A) if rule is not None else None
    if answer is not None:
        return answer
    if any(is_(A, stronger) for stronger in VOCABULARY.stronger(prop)):
        return True
    for first in VOCABULARY.names:
        for second, then in VOCABULARY[first].together.items():
            if prop in then and is_(A, first) and is_(A, second):
                return True
    return None


def _plain(A: Expr) -> Expr:
    return A.args[0] if isinstance(A, Transpose) and is_(A.args[0], "symmetric") else A


def transposed(A: Expr) -> Expr:
    """Aᵀ, which is A itself when A is symmetric."""
    A = _plain(A)
    return A if is_(A, "symmetric") else build.transpose(A)


def _are_transposes(A: Expr, B: Expr) -> bool:
    """Whether A is Bᵀ, of sums term by term."""
    if isinstance(A, Sum) and isinstance(B, Sum):
        return {_turned(_turned(term)) for term in A.args} == {_turned(term) for term in B.args}
    return _plain(A) is transposed(B) or _turned(_turned(A)) is _turned(B)


def _turned(A: Expr) -> Expr:
    """Aᵀ with the transposes at the letters."""
    match A:
        case Transpose(args=(Product() | Hadamard() | Map() as X,)):
            return _turned(_turned(X))
        case Product():
            return build.matmul(*(_turned(factor) for factor in reversed(A.args)))
        case Scale(args=(c, X)):
            return build.scale(c, _turned(X))
        case Hadamard():
            return build.hadamard(*sorted(map(_turned, A.args), key=str))
        case Map(args=(X, *exponents)):
            return build.rebuild(A, (_turned(X), *exponents))
    return build.negate(A) if is_(A, "antisymmetric") else transposed(A)


def _spelled(factors: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The factors with (A B)ᵀ written as Bᵀ Aᵀ."""
    word: list[Expr] = []
    for A in factors:
        if isinstance(A, Transpose) and isinstance(A.args[0], Product):
            word.extend(transposed(factor) for factor in reversed(A.args[0].args))
        else:
            word.append(A)
    return tuple(word)


def is_palindrome(factors: tuple[Expr, ...]) -> bool:
    """Whether the reversed product of transposes is the same word."""
    return all(
        _are_transposes(left, right)
        for left, right in zip(factors, reversed(factors), strict=True)
    )


class _Congruence(NamedTuple):
    """A product read as sign · H M Hᵀ, M an identity where it is None."""

    sign: int
    half: tuple[Expr, ...]
    middle: Expr | None


def _congruence(A: Expr) -> _Congruence | None:
    """A product, or a negative multiple, as a congruence; K M K is −K M Kᵀ for antisymmetric K."""
    sign = 1
    if isinstance(A, Scale) and isinstance(A.args[0], Number) and A.args[0].value < 0:
        sign, A = -1, A.args[1]
    if not isinstance(A, Product):
        return None
    factors = _spelled(A.args)
    half = factors[: len(factors) // 2]
    for left, right in zip(half, reversed(factors)):
        if left is right and is_(left, "antisymmetric"):
            sign = -sign
        elif not _are_transposes(left, right):
            return None
    return _Congruence(sign, half, factors[len(half)] if len(factors) % 2 else None)


def _middle_is(A: _Congruence, prop: str) -> bool:
    return A.middle is None or is_(A.middle, prop)


def _every(prop: str, args: tuple[Expr, ...]) -> Answer:
    return True if all(is_(A, prop) for A in args) else None


# --- the same answer as the operands -----------------------------------------------------------


def _all_operands(prop: str) -> Rule:
    return lambda A: _every(prop, A.args)


def _scaled_operand(prop: str) -> Rule:
    def rule(A: Expr) -> Answer:
        answer = has(A.args[1], prop)
        return None if answer is False and not _is_nonzero(A.args[0]) else answer

    return rule


def _is_nonzero(c: Expr) -> bool:
    return is_(c, "positive") or (isinstance(c, Number) and c.value != 0)


for _prop in ("diagonal", "lower_triangular", "upper_triangular", "strictly_lower_triangular",
              "positive_semidefinite"):  # fmt: skip
    _RULES[_prop, Sum] = _all_operands(_prop)
for _prop in ("symmetric", "antisymmetric", "diagonal", "lower_triangular", "upper_triangular",
              "strictly_lower_triangular"):  # fmt: skip
    _RULES[_prop, Scale] = _scaled_operand(_prop)
for _prop in ("diagonal", "lower_triangular", "upper_triangular", "unit_lower_triangular",
              "orthogonal", "orthonormal_columns", "invertible", "full_column_rank",
              "full_row_rank"):  # fmt: skip
    _RULES[_prop, Product] = _all_operands(_prop)
for _prop in ("symmetric", "antisymmetric", "diagonal", "lower_triangular", "upper_triangular",
              "unit_lower_triangular", "positive_definite", "orthogonal"):  # fmt: skip
    _RULES[_prop, Inverse] = _all_operands(_prop)
for _prop in ("symmetric", "diagonal", "positive_definite", "positive_semidefinite", "orthogonal",
              "projector", "invertible", "full_column_rank", "full_row_rank", "lower_triangular",
              "upper_triangular", "positive", "nonnegative", "orthonormal_columns"):  # fmt: skip
    _RULES[_prop, Kron] = _all_operands(_prop)


def _of_operand(prop: str) -> Rule:
    return lambda A: has(A.args[0], prop)


for _prop in ("symmetric", "antisymmetric", "diagonal"):
    _RULES[_prop, Variation] = _of_operand(_prop)
for _prop, _other in (
    ("symmetric", "symmetric"), ("antisymmetric", "antisymmetric"), ("diagonal", "diagonal"),
    ("lower_triangular", "upper_triangular"), ("upper_triangular", "lower_triangular"),
    ("orthogonal", "orthogonal"), ("invertible", "invertible"),
    ("full_column_rank", "full_row_rank"), ("full_row_rank", "full_column_rank"),
    ("positive", "positive"), ("nonnegative", "nonnegative"),
    ("positive_definite", "positive_definite"), ("positive_semidefinite", "positive_semidefinite"),
    ("projector", "projector"),
):  # fmt: skip
    _RULES[_prop, Transpose] = _of_operand(_other)


# --- leaves ---------------------------------------------------------------------------------


@infers("diagonal", Eye, Diag)
@infers("orthogonal", Eye)
@infers("positive_definite", Eye)
@infers("projector", Eye, Zeros)
@infers("unit_lower_triangular", Eye)
@infers("nonnegative", Eye, Zeros, DimSize)
@infers("positive", Ones, DimSize)
@infers("constant", Eye, Ones, Zeros, Number, DimSize)
def _yes(A: Expr) -> Answer:
    return True


@infers("symmetric", Ones, Zeros)
@infers("diagonal", Zeros)
@infers("antisymmetric", Zeros)
@infers("strictly_lower_triangular", Zeros)
@infers("invertible", Inverse)
@infers("positive_semidefinite", Zeros, Ones)
def _square(A: Expr) -> Answer:
    return A.is_square


@infers("positive", Number)
def _positive_number(A: Expr) -> Answer:
    assert isinstance(A, Number)
    return bool(A.value > 0)


@infers("nonnegative", Number)
def _nonnegative_number(A: Expr) -> Answer:
    assert isinstance(A, Number)
    return bool(A.value >= 0)


# --- symmetry, definiteness, rank ----------------------------------------------------------------


@infers("symmetric", Product)
def _symmetric_product(A: Expr) -> Answer:
    found = _congruence(A)
    if found is not None and _middle_is(found, "symmetric"):
        return True
    return True if all(is_(factor, "diagonal") for factor in A.args) else None


@infers("antisymmetric", Product)
def _antisymmetric_product(A: Expr) -> Answer:
    found = _congruence(A)
    if found is None or found.middle is None:
        return None
    return True if is_(found.middle, "antisymmetric") else None


@infers("positive_semidefinite", Product)
def _psd_product(A: Expr) -> Answer:
    found = _congruence(A)
    if found is None or found.sign < 0:
        return None
    return True if _middle_is(found, "positive_semidefinite") else None


@infers("positive_definite", Product)
def _pd_product(A: Expr) -> Answer:
    found = _congruence(A)
    if found is None:
        return True if isinstance(A, Product) and _positive_diagonals(A.args) else None
    if found.sign < 0 or not all(is_(factor, "full_row_rank") for factor in found.half):
        return None
    return True if _middle_is(found, "positive_definite") else None


def _positive_diagonals(factors: tuple[Expr, ...]) -> bool:
    return all(is_(A, "diagonal") and is_(A, "positive_definite") for A in factors)


@infers("symmetric", Sum)
def _symmetric_sum(A: Expr) -> Answer:
    paired = A.is_square and _are_transposes(A, A)
    return True if paired else _every("symmetric", A.args)


@infers("antisymmetric", Sum)
def _antisymmetric_sum(A: Expr) -> Answer:
    if not A.is_square:
        return None
    turned = [_turned(term) for term in A.args]
    opposite = {build.negate(term) for term in turned} == {_turned(term) for term in turned}
    return True if opposite else _every("antisymmetric", A.args)


@infers("positive_definite", Sum)
def _pd_sum(A: Expr) -> Answer:
    semidefinite = all(is_(term, "positive_semidefinite") for term in A.args)
    return True if semidefinite and any(is_(t, "positive_definite") for t in A.args) else None


@infers("positive_definite", Scale)
def _pd_scaled(A: Expr) -> Answer:
    c, X = A.args
    if is_(c, "positive") and is_(X, "positive_definite"):
        return True
    return _pd_product(A)


@infers("positive_semidefinite", Scale)
def _psd_scaled(A: Expr) -> Answer:
    c, X = A.args
    if is_(c, "nonnegative") and is_(X, "positive_semidefinite"):
        return True
    return _psd_product(A)


def _rank_scaled(prop: str) -> Rule:
    def rule(A: Expr) -> Answer:
        c, X = A.args
        return True if _is_nonzero(c) and is_(X, prop) else None

    return rule


for _prop in ("invertible", "full_column_rank", "full_row_rank"):
    _RULES[_prop, Scale] = _rank_scaled(_prop)


@infers("invertible", Diag)
@infers("positive_definite", Diag)
def _pd_diag(A: Expr) -> Answer:
    return True if is_(A.args[0], "positive") else None


@infers("positive_semidefinite", Diag)
def _psd_diag(A: Expr) -> Answer:
    return True if is_(A.args[0], "nonnegative") else None


@infers("projector", Product)
def _projector_product(A: Expr) -> Answer:
    found = _congruence(A)
    if found is None or found.sign < 0:
        return None
    H = build.matmul(*found.half)
    if found.middle in _inverse_squares(H):  # H (HᵀH)⁻¹ Hᵀ
        return True
    return _every("orthonormal_columns", found.half) if _middle_is(found, "projector") else None


@infers("projector", Scale)
def _projector_of_column(A: Expr) -> Answer:
    c, X = A.args
    if isinstance(X, Ones) and X.is_square:
        h = build.ones(X.rows, ONE)
    elif (found := _congruence(X)) is not None and found.middle is None:
        h = build.matmul(*found.half)
    else:
        return None
    return True if h.cols == ONE and c in _inverse_squares(h) else None


def _inverse_squares(H: Expr) -> tuple[Expr, ...]:
    """(HᵀH)⁻¹ in the ways that it is written; as a scalar for a column."""
    turned, minus = build.transpose(H), build.number(-1)
    if isinstance(H, Ones):
        return (build.power(build.tr(build.eye(H.rows)), minus),)
    if H.cols == ONE:
        found = build.power(build.sumsq(H), minus), build.power(build.matmul(turned, H), minus)
        if isinstance(H, Map) and H.name == "sqrt":
            return *found, build.power(build.sum_of(H.args[0]), minus)
        return found
    inverse = build.inv(build.matmul(turned, H))
    if not is_(H, "partition"):
        return (inverse,)
    sizes = build.matmul(turned, build.ones(H.rows, ONE))
    return inverse, build.diag(build.power(sizes, minus))


@infers("projector", Sum)
def _complement(A: Expr) -> Answer:
    if len(A.args) != 2:
        return None
    for one, other in (A.args, A.args[::-1]):
        if isinstance(one, Eye) and is_(build.negate(other), "projector"):
            return True
    return None


@infers("antisymmetric", Part)
def _skew_part(A: Expr) -> Answer:
    return True if A.data[0] == "skew" else None


@infers("symmetric", Part)
def _symmetric_part(A: Expr) -> Answer:
    if A.data[0] in ("sym", "diag"):
        return True
    return True if A.data[0] != "skew" and is_(A, "diagonal") else None


@infers("diagonal", Part)
def _diagonal_part(A: Expr) -> Answer:
    return True if A.data[0] == "diag" or is_(A.args[0], "diagonal") else None


@infers("lower_triangular", Part)
def _lower_part(A: Expr) -> Answer:
    return True if A.data[0] in ("lower", "strictly_lower", "diag") else None


@infers("strictly_lower_triangular", Part)
def _strictly_lower_part(A: Expr) -> Answer:
    return True if A.data[0] == "strictly_lower" else None


@infers("upper_triangular", Part)
def _upper_part(A: Expr) -> Answer:
    return True if A.data[0] in ("upper", "strictly_upper", "diag") else None


def _pattern_of_some(prop: str) -> Rule:
    return lambda A: True if any(is_(factor, prop) for factor in A.args) else None


for _prop in ("diagonal", "lower_triangular", "upper_triangular", "strictly_lower_triangular"):
    _RULES[_prop, Hadamard] = _pattern_of_some(_prop)


_RULES["symmetric", Hadamard] = _all_operands("symmetric")
_RULES["positive_semidefinite", Hadamard] = _all_operands("positive_semidefinite")
_RULES["positive_definite", Hadamard] = _all_operands("positive_definite")
_RULES["positive", Hadamard] = _all_operands("positive")
_RULES["nonnegative", Hadamard] = _all_operands("nonnegative")


# --- entrywise and matrix functions --------------------------------------------------------------


@infers("symmetric", Map)
def _symmetric_map(A: Expr) -> Answer:
    return True if is_(A.args[0], "symmetric") else None


@infers("positive", Map)
def _positive_map(A: Expr) -> Answer:
    name = A.data[0]
    if name in ("exp", "sigmoid", "softplus", "cosh"):
        return True
    if name in ("sqrt", "pow"):
        return True if is_(A.args[0], "positive") else None
    return None


@infers("nonnegative", Map)
def _nonnegative_map(A: Expr) -> Answer:
    name = A.data[0]
    if name in ("relu", "abs", "sqrt"):
        return True
    if name == "pow":
        p = A.args[1]
        even = isinstance(p, Number) and p.value.is_Integer and p.value % 2 == 0
        return True if even or is_(A.args[0], "nonnegative") else None
    return None


@infers("nonnegative", Inner)
def _nonnegative_inner(A: Expr) -> Answer:
    left, right = A.args
    both = is_(left, "nonnegative") and is_(right, "nonnegative")
    definite = all(is_(X, "positive_semidefinite") for X in A.args)
    return True if left is right or both or definite else None


@infers("positive", DiagVec)
def _positive_diagonal(A: Expr) -> Answer:
    X = A.args[0]
    return True if is_(X, "positive") or is_(X, "positive_definite") else None


@infers("nonnegative", DiagVec)
def _nonnegative_diagonal(A: Expr) -> Answer:
    X = A.args[0]
    return True if is_(X, "nonnegative") or is_(X, "positive_semidefinite") else None


@infers("positive", Inner)
def _positive_inner(A: Expr) -> Answer:
    return _every("positive", A.args)


@infers("positive", Product)
def _positive_product(A: Expr) -> Answer:
    kept = [X for X in A.args if not _keeps_positive(X)]
    return True if kept and all(is_(X, "positive") for X in kept) else None


def _keeps_positive(A: Expr) -> bool:
    """Whether A has no negative entry and no row or column of zeros, though it may have zeros."""
    E = A.args[0] if isinstance(A, Transpose) else A
    return is_(E, "partition") or (is_(A, "diagonal") and is_(A, "positive_definite"))


@infers("nonnegative", Product)
@infers("nonnegative", Sum)
@infers("nonnegative", Scale)
def _nonnegative_operands(A: Expr) -> Answer:
    if isinstance(A, Product) and A.is_scalar and is_(A, "positive_semidefinite"):
        return True
    return _every("nonnegative", A.args)


@infers("positive", Sum)
def _positive_sum(A: Expr) -> Answer:
    some = any(is_(term, "positive") for term in A.args)
    return True if some and all(is_(term, "nonnegative") for term in A.args) else None


_RULES["positive", Scale] = _all_operands("positive")


@infers("positive", Det)
def _positive_det(A: Expr) -> Answer:
    return True if is_(A.args[0], "positive_definite") else None


@infers("symmetric", Frechet)
def _symmetric_function(A: Expr) -> Answer:
    assert isinstance(A, Frechet)
    if A.order == 0:
        return True
    return True if A.order == 1 and is_(A.directions[0], "symmetric") else None


@infers("diagonal", Frechet)
def _diagonal_function(A: Expr) -> Answer:
    assert isinstance(A, Frechet)
    return (
        True
        if is_(A.args[0], "diagonal") and all(is_(X, "diagonal") for X in A.directions)
        else None
    )


@infers("positive_definite", Frechet)
def _positive_function(A: Expr) -> Answer:
    assert isinstance(A, Frechet)
    if A.order:
        return None
    positive = sp.Symbol("x", positive=True)
    domain = positive if is_(A.args[0], "positive_definite") else scalar.X
    return True if A.g.subs(scalar.X, domain).is_positive else None


@infers("symmetric", Kernel)
def _symmetric_kernel(A: Expr) -> Answer:
    assert isinstance(A, Kernel)
    swap: dict[sp.Symbol, sp.Symbol] = {}
    for k, operand in enumerate(A.args):
        if operand.is_scalar:
            continue
        if A.entry.has(both(k)):
            return None
        swap[row(k)], swap[col(k)] = col(k), row(k)
    mirrored = A.entry.xreplace(swap)
    return True if sp.simplify(mirrored - A.entry) == 0 else None
