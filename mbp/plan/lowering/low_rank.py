"""Reads a diagonal plus a low rank, whose inverse and determinant are of the rank's size.

(D + U M V)⁻¹ = D⁻¹ − D⁻¹U (I + M V D⁻¹U)⁻¹ M V D⁻¹ and det(D + U M V) = det D det(I + M V D⁻¹U)
for an invertible diagonal D and any M (Matrix Cookbook (156), (24)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import sympy as sp

from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import Expr, Eye, Ones, Output, Part, Product, Scale, Sum, Transpose
from mbp.invariants.infer import is_
from mbp.plan.values.graph import Graph

Frame = Callable[[Output], tuple[Expr, ...]]
"""The factors of an output through its rank, such as Q, N, Qᵀ of a projector; else itself."""


class LowRank(NamedTuple):
    """D + U M V for a diagonal D and U of few columns; V is Uᵀ where U is so repeated."""

    D: Expr
    U: Expr
    M: Expr
    V: Expr

    @property
    def core(self) -> Expr:
        """I + M V D⁻¹U."""
        return build.add(
            build.eye(self.U.cols), build.matmul(self.M, self.V, build.inv(self.D), self.U)
        )


def low_rank(graph: Graph, A: Expr, frame: Frame = lambda P: (P,)) -> LowRank | None:
    """A read as D + U M V, if U has fewer columns than rows at the sizes of the graph."""
    terms = list(_summands(A))
    diagonal = [term for term in terms if is_(term, "diagonal")]
    thin = [_thin(graph, term, frame) for term in terms if term not in diagonal]
    found = [parts for parts in thin if parts is not None]
    D = build.add(*diagonal) if diagonal else None
    if D is None or not thin or len(found) < len(thin) or not _is_invertible(D):
        return None
    gathered = _gathered(found)
    U, M, V = gathered[0] if len(gathered) == 1 else _side_by_side(gathered)
    return LowRank(D, U, M, V) if graph.size(U.cols) < graph.size(U.rows) else None


def _is_invertible(D: Expr) -> bool:
    return is_(D, "invertible") or is_(build.negate(D), "invertible")


def _summands(A: Expr, *scalars: Expr) -> Iterator[Expr]:
    """The terms of a sum, of its multiples, its transpose and its symmetric parts."""
    match A:
        case Sum():
            for term in A.args:
                yield from _summands(term, *scalars)
        case Scale(args=(c, X)):
            yield from _summands(X, *scalars, c)
        case Transpose(args=(X,)):
            yield from (_turned(term) for term in _summands(X, *scalars))
        case Part(data=(("sym" | "skew") as kind,), args=(X,)):
            half = build.number(sp.Rational(1, 2))
            yield from _summands(X, *scalars, half)
            yield from _summands(X.T, *scalars, half if kind == "sym" else build.negate(half))
        case _:
            yield build.scale_by(scalars, A)


def _turned(term: Expr) -> Expr:
    """The transpose of a multiple of a product, factor by factor."""
    c, word = build.coefficient(term)
    factors = word.args if isinstance(word, Product) else (word,)
    return build.scale(c, build.matmul(*(build.transpose(F) for F in reversed(factors))))


def _thin(graph: Graph, term: Expr, frame: Frame) -> tuple[Expr, Expr, Expr] | None:
    """(U, M, V) of a product U M V, cut where it is thinnest."""
    c, word = build.coefficient(term)
    if isinstance(word, Ones):
        word = Product(build.ones(word.rows), build.ones(ONE, word.cols))
    letters = word.args if isinstance(word, Product) else (word,)
    factors = tuple(F for A in letters for F in (frame(A) if isinstance(A, Output) else (A,)))
    if len(factors) < 2:
        return None
    if len(factors) == 3 and factors[2] is build.transpose(factors[0]):
        U, M, V = factors
        if is_(M, "projector"):  # U C V = (U C) (C V)
            U, M, V = build.matmul(U, M), build.eye(U.cols), build.matmul(M, V)
        return U, build.scale(c, M), V
    cut = min(range(1, len(factors)), key=lambda k: graph.size(factors[k].rows))
    U, V = build.matmul(*factors[:cut]), build.matmul(*factors[cut:])
    return U, build.scale(c, build.eye(U.cols)), V


def _gathered(parts: list[tuple[Expr, Expr, Expr]]) -> list[tuple[Expr, Expr, Expr]]:
    """The thin products, those with one U and one V as one: U M₁ V + U M₂ V = U (M₁ + M₂) V."""
    middles: dict[tuple[Expr, Expr], list[Expr]] = {}
    for U, M, V in parts:
        middles.setdefault((U, V), []).append(M)
    return [(U, build.add(*found), V) for (U, V), found in middles.items()]


def _side_by_side(parts: list[tuple[Expr, Expr, Expr]]) -> tuple[Expr, Expr, Expr]:
    """The sum of thin products as one: [U₁ U₂] [M₁V₁; M₂V₂], or U Uᵀ where it is that."""
    U = build.hstack(*(U for U, _, _ in parts))
    if all(isinstance(M, Eye) and V is build.transpose(U_) for U_, M, V in parts):
        return U, build.eye(U.cols), build.transpose(U)
    return U, build.eye(U.cols), build.vstack(*(build.matmul(M, V) for _, M, V in parts))
