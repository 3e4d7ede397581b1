"""Reads a diagonal plus a low rank, whose inverse and determinant are of the rank's size.

(D + U M V)⁻¹ = D⁻¹ − D⁻¹U (I + M V D⁻¹U)⁻¹ M V D⁻¹ and det(D + U M V) = det D det(I + M V D⁻¹U)
for an invertible diagonal D and any M (Matrix Cookbook (156), (24)).
"""

from __future__ import annotations

from typing import NamedTuple

from mbp.expr import build
from mbp.expr.nodes import Expr, Eye, Product, Sum
from mbp.invariants.infer import is_
from mbp.plan.graph import Graph


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


def low_rank(graph: Graph, A: Expr) -> LowRank | None:
    """A read as D + U M V, if U has fewer columns than rows at the sizes of the graph."""
    terms = A.args if isinstance(A, Sum) else ()
    diagonal = [term for term in terms if is_(term, "diagonal")]
    thin = [_thin(graph, term) for term in terms if term not in diagonal]
    found = [parts for parts in thin if parts is not None]
    D = build.add(*diagonal) if diagonal else None
    if D is None or not thin or len(found) < len(thin) or not is_(D, "invertible"):
        return None
    U, M, V = found[0] if len(found) == 1 else _side_by_side(found)
    return LowRank(D, U, M, V) if graph.size(U.cols) < graph.size(U.rows) else None


def _thin(graph: Graph, term: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(U, M, V) of a product U M V, cut where it is thinnest."""
    c, word = build.coefficient(term)
    if not isinstance(word, Product):
        return None
    factors = word.args
    if len(factors) == 3 and factors[2] is build.transpose(factors[0]):
        return factors[0], build.scale(c, factors[1]), factors[2]
    cut = min(range(1, len(factors)), key=lambda k: graph.size(factors[k].rows))
    U, V = build.matmul(*factors[:cut]), build.matmul(*factors[cut:])
    return U, build.scale(c, build.eye(U.cols)), V


def _side_by_side(parts: list[tuple[Expr, Expr, Expr]]) -> tuple[Expr, Expr, Expr]:
    """The sum of thin products as one: [U₁ U₂] [M₁V₁; M₂V₂], or U Uᵀ where it is that."""
    U = build.hstack(*(U for U, _, _ in parts))
    if all(isinstance(M, Eye) and V is build.transpose(U_) for U_, M, V in parts):
        return U, build.eye(U.cols), build.transpose(U)
    return U, build.eye(U.cols), build.vstack(*(build.matmul(M, V) for _, M, V in parts))
