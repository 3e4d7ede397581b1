"""Moves a matrix function of FᵀF to FFᵀ, whose eigenproblem is the smaller one for a wide F."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build, scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Eye, Frechet, Product, Scale, Sum, topological


@dataclass(frozen=True)
class Pushed:
    """A definition of the same map through F Fᵀ, and the rows and columns of F."""

    definition: Definition
    rows: Dim
    cols: Dim


def pushed_through(definition: Definition) -> Pushed | None:
    """The definition with g(FᵀF + εI) = g(ε)I + Fᵀφ(FFᵀ)F, φ(x) = (g(x + ε) − g(ε))/x.

    It holds for every F and every g that is finite at ε (Higham, Functions of Matrices, theorem
    1.35); None where no matrix function has such an argument.
    """
    found: dict[Expr, Expr] = {}
    shapes: dict[tuple[Dim, Dim], None] = {}
    for node in topological(*definition.outputs.values()):
        parts = _gram(node.args[0]) if isinstance(node, Frechet) and node.order == 0 else None
        if parts is None:
            continue
        assert isinstance(node, Frechet)
        left, F, shift = parts
        other = _through(node, left, F, shift)
        if other is not None:
            found[node] = other
            shapes[F.shape] = None
    if len(shapes) != 1:
        return None
    ((rows, cols),) = shapes
    outputs: Mapping[str, Expr] = {
        name: build.substitute(Y, found) for name, Y in definition.outputs.items()
    }
    return Pushed(replace(definition, outputs=outputs), rows, cols)


def _gram(A: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(Fᵀ, F, ε) of A = FᵀF + εI, F with symbolic sizes that differ."""
    terms = A.args if isinstance(A, Sum) else (A,)
    shifts = [
        term for term in terms if isinstance(term.args[1] if isinstance(term, Scale) else term, Eye)
    ]
    rest = [term for term in terms if term not in shifts]
    if len(rest) != 1 or not isinstance(rest[0], Product) or len(rest[0].args) != 2:
        return None
    left, F = rest[0].args
    if left is not build.transpose(F) or F.rows == F.cols:
        return None
    values = [term.args[0] if isinstance(term, Scale) else build.number(1) for term in shifts]
    return left, F, build.add(*values) if values else build.number(0)


def _through(node: Frechet, left: Expr, F: Expr, shift: Expr) -> Expr | None:
    parameters = list(node.parameters)
    at = sp.Integer(0)
    if not build.is_zero(shift):
        at = scalar.parameter(len(parameters))
        parameters.append(shift)
    floor = node.g.subs(scalar.X, at)
    if floor.has(sp.zoo, sp.oo, sp.nan):
        return None
    phi = (node.g.subs(scalar.X, scalar.X + at) - floor) / scalar.X
    inner = build.frechet(phi, build.matmul(F, left), tuple(parameters))
    names = {f"c{k}": c for k, c in enumerate(node.parameters)}
    level = build.map_scalar(node.g, x=shift, **names)
    return build.add(build.scale(level, build.eye(F.cols)), build.matmul(left, inner, F))
