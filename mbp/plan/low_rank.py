"""Takes inverses and determinants of a diagonal plus a low rank to the size of the rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Det, Expr, Eye, Inverse, LogDet, Product, Sum, fold, topological
from mbp.invariants.infer import is_


def of_low_rank(definition: Definition, sizes: Mapping[sp.Symbol, int]) -> Definition:
    """The definition with inverses and determinants of D + U M V taken through U's columns.

    (D + U M V)⁻¹ = D⁻¹ − D⁻¹U (I + M V D⁻¹U)⁻¹ M V D⁻¹ and det(D + U M V) = det D det(I + M V
    D⁻¹U) for an invertible diagonal D and any M (Matrix Cookbook (156), (24)); used where U has
    fewer columns than rows at `sizes`. The definition itself where nothing has this form.
    """

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        parts = _diagonal_and_rank(same, sizes)
        if parts is not None and _size(parts[1].cols, sizes) < _size(parts[1].rows, sizes):
            return _THROUGH[type(same)](*parts)
        return same

    outputs = {name: fold(Y, rebuilt) for name, Y in definition.outputs.items()}
    changed = any(Y is not definition.outputs[name] for name, Y in outputs.items())
    return replace(definition, outputs=outputs) if changed else definition


def low_rank_shapes(
    definition: Definition, sizes: Mapping[sp.Symbol, int]
) -> frozenset[tuple[Dim, Dim]]:
    """The shapes of the U's for which `of_low_rank` decides by their sizes."""
    found = (_diagonal_and_rank(A, sizes) for A in topological(*definition.outputs.values()))
    return frozenset(parts[1].shape for parts in found if parts is not None)


_Parts = tuple[Expr, Expr, Expr, Expr]


def _diagonal_and_rank(whole: Expr, sizes: Mapping[sp.Symbol, int]) -> _Parts | None:
    """(D, U, M, V) of an inverse or determinant of D + U M V, V = Uᵀ where U is so repeated."""
    if not isinstance(whole, Inverse | Det | LogDet):
        return None
    A = whole.args[0]
    terms = A.args if isinstance(A, Sum) else ()
    diagonal = [term for term in terms if is_(term, "diagonal")]
    thin = [_thin(term, sizes) for term in terms if term not in diagonal]
    found = [parts for parts in thin if parts is not None]
    D = build.add(*diagonal) if diagonal else None
    if D is None or not thin or len(found) < len(thin) or not is_(D, "invertible"):
        return None
    U, M, V = found[0] if len(found) == 1 else _side_by_side(found)
    return D, U, M, V


def _thin(term: Expr, sizes: Mapping[sp.Symbol, int]) -> tuple[Expr, Expr, Expr] | None:
    """(U, M, V) of a product U M V, cut where it is thinnest."""
    c, word = build.coefficient(term)
    scalars, word = (c, word) if isinstance(word, Product) else (c, build.scale(c, word))
    if not isinstance(word, Product):
        return None
    factors = word.args
    if len(factors) == 3 and factors[2] is build.transpose(factors[0]):
        return factors[0], build.scale(scalars, factors[1]), factors[2]
    cut = min(range(1, len(factors)), key=lambda k: _size(factors[k].rows, sizes))
    U, V = build.matmul(*factors[:cut]), build.matmul(*factors[cut:])
    return U, build.scale(scalars, build.eye(U.cols)), V


def _side_by_side(parts: list[tuple[Expr, Expr, Expr]]) -> tuple[Expr, Expr, Expr]:
    """The sum of thin products as one: [U₁ U₂] [M₁V₁; M₂V₂], or U Uᵀ where it is that."""
    U = build.hstack(*(U for U, _, _ in parts))
    if all(isinstance(M, Eye) and V is build.transpose(U_) for U_, M, V in parts):
        return U, build.eye(U.cols), build.transpose(U)
    return U, build.eye(U.cols), build.vstack(*(build.matmul(M, V) for _, M, V in parts))


def _size(n: sp.Expr, sizes: Mapping[sp.Symbol, int]) -> int:
    return int(n.xreplace({s: sp.Integer(k) for s, k in sizes.items()}))


def _core(D: Expr, U: Expr, M: Expr, V: Expr) -> Expr:
    return build.add(build.eye(U.cols), build.matmul(M, V, build.inv(D), U))


def _inverse(D: Expr, U: Expr, M: Expr, V: Expr) -> Expr:
    half = build.matmul(build.inv(D), U)
    inner = build.matmul(build.inv(_core(D, U, M, V)), M)
    return build.subtract(build.inv(D), build.matmul(half, inner, V, build.inv(D)))


def _logdet(D: Expr, U: Expr, M: Expr, V: Expr) -> Expr:
    return build.add(build.logdet(D), build.logdet(_core(D, U, M, V)))


def _det(D: Expr, U: Expr, M: Expr, V: Expr) -> Expr:
    return build.scale(build.det(D), build.det(_core(D, U, M, V)))


_THROUGH: Mapping[type[Expr], Callable[[Expr, Expr, Expr, Expr], Expr]] = {
    Inverse: _inverse,
    Det: _det,
    LogDet: _logdet,
}
