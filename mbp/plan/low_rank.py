"""Takes inverses and determinants of a diagonal plus a low rank to the size of the rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build
from mbp.expr.nodes import Expr, Inverse, LogDet, Product, Sum, fold
from mbp.invariants.infer import is_


def of_low_rank(definition: Definition, sizes: Mapping[sp.Symbol, int]) -> Definition | None:
    """The definition with inverses and determinants of D + U M Uᵀ taken through U's columns.

    (D + U M Uᵀ)⁻¹ = D⁻¹ − D⁻¹U (I + M UᵀD⁻¹U)⁻¹ M UᵀD⁻¹ and det(D + U M Uᵀ) = det D det(I + M
    UᵀD⁻¹U) for an invertible diagonal D and any M (Matrix Cookbook (156), (24)); used where U has
    fewer columns than rows at `sizes`. None where nothing has this form.
    """

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if isinstance(same, Inverse | LogDet):
            parts = _diagonal_and_rank(same.args[0], sizes)
            if parts is not None:
                return _inverse(*parts) if isinstance(same, Inverse) else _logdet(*parts)
        return same

    outputs = {name: fold(Y, rebuilt) for name, Y in definition.outputs.items()}
    changed = any(Y is not definition.outputs[name] for name, Y in outputs.items())
    return replace(definition, outputs=outputs) if changed else None


def _diagonal_and_rank(
    A: Expr, sizes: Mapping[sp.Symbol, int]
) -> tuple[Expr, Expr, Expr, Expr] | None:
    """(D, U, M, V) of A = D + U M V, V = Uᵀ up to a coefficient in M."""
    terms = A.args if isinstance(A, Sum) else ()
    diagonal = [term for term in terms if is_(term, "diagonal")]
    rest = [term for term in terms if term not in diagonal]
    D = build.add(*diagonal) if diagonal else None
    if D is None or len(rest) != 1 or not is_(D, "invertible"):
        return None
    c, word = build.coefficient(rest[0])
    scalars, word = (c, word) if isinstance(word, Product) else (c, build.scale(c, word))
    if not isinstance(word, Product) or len(word.args) not in (2, 3):
        return None
    U, V = word.args[0], word.args[-1]
    if V is not build.transpose(U) or _size(U.cols, sizes) >= _size(U.rows, sizes):
        return None
    M = word.args[1] if len(word.args) == 3 else build.eye(U.cols)
    return D, U, build.scale(scalars, M), V


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
