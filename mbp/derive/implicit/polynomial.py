"""Matrix equations as noncommutative polynomials: {word: coefficient}, letters are matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from typing import NamedTuple

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Expr,
    Eye,
    Number,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Transpose,
    Var,
    Variation,
    Zeros,
    variables,
)
from mbp.invariants.infer import has
from mbp.invariants.vocabulary import VOCABULARY


class Factor(NamedTuple):
    """One letter of a word: a matrix or its variation, perhaps transposed."""

    letter: Expr
    transposed: bool = False
    varied: bool = False

    @property
    def T(self) -> Factor:
        """The transposed letter; of a letter with a symmetry the mark is dropped."""
        if symmetry(self.letter):
            return self
        return self._replace(transposed=not self.transposed)

    @property
    def expr(self) -> Expr:
        """The letter as an expression."""
        X = Variation(self.letter) if self.varied else self.letter
        return build.transpose(X) if self.transposed else X


Word = tuple[Factor, ...]
Polynomial = dict[Word, sp.Expr]

_SCALARS: dict[sp.Symbol, Expr] = {}


@cache
def properties(letter: Expr) -> frozenset[str]:
    """The properties of a letter, with all that they imply."""
    if isinstance(letter, Var):
        return VOCABULARY.closure(letter.properties)
    if _is_tall_unit(letter):
        return frozenset({"orthonormal_columns", "full_column_rank", "constant"})
    return frozenset(name for name in VOCABULARY.names if has(letter, name))


@cache
def symmetry(letter: Expr) -> int:
    """1 for a symmetric letter, −1 for an antisymmetric one, 0 if neither is known."""
    known = properties(letter)
    if letter.is_scalar:
        return 1
    return ("symmetric" in known) - ("antisymmetric" in known)


def _is_tall_unit(A: Expr) -> bool:
    return isinstance(A, Stack) and all(isinstance(block, Eye | Zeros) for block in A.args)


def polynomial(e: Expr, unknown: frozenset[Expr], merge: bool = False) -> Polynomial:
    """`e` as a polynomial; a known factor that is no letter or product becomes a letter.

    So does, with `merge`, a product of known factors. Raises MbpError when `e` is not a
    polynomial in the unknowns.
    """
    if not isinstance(e, Sum) and unknown.isdisjoint(variables(e)) and not _splits(e, merge):
        return {} if isinstance(e, Zeros) else _one(e)
    match e:
        case Eye():
            return {(): sp.Integer(1)}
        case Number():
            return {(): e.value} if e.value != 0 else {}
        case Var():
            return _one(e)
        case Sum():
            return add(*(polynomial(term, unknown, merge) for term in e.args))
        case Scale(args=(c, X)):
            return _scaled(c, X, unknown, merge)
        case Product():
            factors: list[Polynomial] = []
            for known, run in groupby(e.args, lambda f: unknown.isdisjoint(variables(f))):
                if known and merge:
                    factors.append(_one(build.matmul(*run)))
                else:
                    factors.extend(
                        _one(f) if known and isinstance(f, Sum) else polynomial(f, unknown, merge)
                        for f in run
                    )
            return multiply(*factors)
        case Transpose(args=(X,)):
            return transpose(polynomial(X, unknown, merge))
        case Part(args=(X,), data=(("sym" | "skew") as kind,)):
            inside = polynomial(X, unknown, merge)
            sign = sp.Integer(1 if kind == "sym" else -1)
            return scaled(sp.Rational(1, 2), add(inside, scaled(sign, transpose(inside))))
        case Stack(args=(X, *rest), data=(axis,)) if all(isinstance(B, Zeros) for B in rest):
            # (X; 0) is the tall unit (I; 0) times X.
            n = X.rows if axis == 0 else X.cols
            pad = sp.expand((e.rows if axis == 0 else e.cols) - n)
            unit = build.vstack(build.eye(n), build.zeros(pad, n))
            factor = _one(unit)
            inside = polynomial(X, unknown, merge)
            return multiply(factor, inside) if axis == 0 else multiply(inside, transpose(factor))
    raise MbpError(
        f"{e} is not a polynomial in the outputs, sums and products of them and of what is known"
    )


def _one(letter: Expr) -> Polynomial:
    return {(Factor(letter),): sp.Integer(1)}


def _splits(e: Expr, merge: bool) -> bool:
    # Known products stay words, so that their factors can share frames with the rest.
    match e:
        case Eye() | Number() | Var() | Zeros():
            return not isinstance(e, Zeros)
        case Product() if merge:
            return False
        case Product() | Transpose() | Stack():
            return all(_splits(arg, merge) or isinstance(arg, Zeros) for arg in e.args)
        case Scale(args=(c, X)):
            return isinstance(c, Number | Var) and _splits(X, merge)
    return False


def _scaled(c: Expr, X: Expr, unknown: frozenset[Expr], merge: bool) -> Polynomial:
    inside = polynomial(X, unknown, merge)
    if isinstance(c, Number):
        return scaled(c.value, inside)
    if unknown.isdisjoint(variables(c)):
        return scaled(scalar_symbol(c), inside)
    if X.cols == ONE:
        return multiply(inside, polynomial(c, unknown, merge))
    if X.rows == ONE:
        return multiply(polynomial(c, unknown, merge), inside)
    raise MbpError(f"the output {c} multiplies the matrix {X} as a scalar")


@cache
def scalar_symbol(c: Expr) -> sp.Symbol:
    """The commuting symbol that stands for the known scalar `c` in a coefficient."""
    symbol = sp.Dummy(str(c), real=True, positive=has(c, "positive") or None)
    _SCALARS[symbol] = c
    return symbol


def scalar_expr(value: sp.Expr) -> Expr:
    """A coefficient as a scalar expression."""
    names = {s: sp.Symbol(f"x{k}") for k, s in enumerate(sorted(value.free_symbols, key=str))}
    arguments = {new.name: _SCALARS[old] for old, new in names.items()}
    return build.map_scalar(value.xreplace(names), **arguments)


def add(*terms: Polynomial) -> Polynomial:
    """The sum, words with coefficient 0 dropped."""
    total: Polynomial = {}
    for term in terms:
        for word, c in term.items():
            total[word] = total.get(word, sp.Integer(0)) + c
    return {word: c for word, c in total.items() if sp.expand(c) != 0}


def scaled(c: sp.Expr, p: Polynomial) -> Polynomial:
    """c times p."""
    return {word: c * value for word, value in p.items()}


def multiply(*factors: Polynomial) -> Polynomial:
    """The product, in order."""
    product: Polynomial = {(): sp.Integer(1)}
    for factor in factors:
        product = add(*({u + v: a * b} for u, a in product.items() for v, b in factor.items()))
    return product


def transpose(p: Polynomial) -> Polynomial:
    """The transpose, letters with a symmetry unmarked."""
    return add(*(
        {tuple(f.T for f in reversed(word)): c * sp.Mul(*(symmetry(f.letter) or 1 for f in word))}
        for word, c in p.items()
    ))


def variation(p: Polynomial, moves: Callable[[Expr], bool]) -> Polynomial:
    """The product rule; letters for which `moves` is false are constant."""
    terms: list[Polynomial] = []
    for word, c in p.items():
        for k, factor in enumerate(word):
            if moves(factor.letter):
                terms.append({(*word[:k], factor._replace(varied=True), *word[k + 1 :]): c})
        for symbol in c.free_symbols:
            if moves(_SCALARS[symbol]):
                change = scalar_symbol(Variation(_SCALARS[symbol]))
                terms.append({word: sp.diff(c, symbol) * change})
    return add(*terms)


def varies(letter: Expr) -> bool:
    """Whether the letter has a variation."""
    return "constant" not in properties(letter)


def letters(polynomials: Iterable[Polynomial]) -> list[Expr]:
    """The letters in order of first occurrence."""
    return list(dict.fromkeys(f.letter for p in polynomials for word in p for f in word))


def varied_factor(word: Word) -> int | None:
    """The position of the varied letter, if the word has one."""
    return next((k for k, factor in enumerate(word) if factor.varied), None)


def matrix(p: Polynomial, rows: sp.Expr, cols: sp.Expr) -> Expr:
    """The polynomial as an expression of shape rows×cols."""
    terms = []
    for word, c in p.items():
        product = build.matmul(*(f.expr for f in word)) if word else build.eye(rows)
        terms.append(build.scale(scalar_expr(c), product))
    return build.add(*terms) if terms else build.zeros(rows, cols)
