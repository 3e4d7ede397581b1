"""Moves a matrix function of FᵀF to FFᵀ, whose eigenproblem is the smaller one for a wide F."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build, scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Eye, Frechet, Number, Product, Scale, Sum, topological


@dataclass(frozen=True)
class Pushed:
    """A definition of the same map through F Fᵀ, and the shape of F."""

    definition: Definition
    shape: tuple[Dim, Dim]


def pushed_through(definition: Definition) -> Pushed | None:
    """The definition with g(cFᵀF + εI) = g(ε)I + Fᵀφ(FFᵀ)F, φ(x) = (g(cx + ε) − g(ε))/x.

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
        other = _through(node, parts)
        if other is not None:
            found[node] = other
            shapes[parts.F.shape] = None
    if len(shapes) != 1:
        return None
    outputs: Mapping[str, Expr] = {
        name: build.substitute(Y, found) for name, Y in definition.outputs.items()
    }
    return Pushed(replace(definition, outputs=outputs), *shapes)


class _Gram(NamedTuple):
    """cFᵀF + εI."""

    c: Expr
    left: Expr
    F: Expr
    shift: Expr


def _gram(A: Expr) -> _Gram | None:
    """A read as cFᵀF + εI, F with symbolic sizes that differ."""
    terms = A.args if isinstance(A, Sum) else (A,)
    shifts = [
        term for term in terms if isinstance(term.args[1] if isinstance(term, Scale) else term, Eye)
    ]
    rest = [term for term in terms if term not in shifts]
    if len(rest) != 1:
        return None
    c, word = _scalar_factor(rest[0])
    if not isinstance(word, Product) or len(word.args) != 2:
        return None
    left, F = word.args
    if left is not build.transpose(F) or F.rows == F.cols:
        return None
    values = [_scalar_factor(term)[0] for term in shifts]
    return _Gram(c, left, F, build.add(*values) if values else build.number(0))


def _scalar_factor(A: Expr) -> tuple[Expr, Expr]:
    return (A.args[0], A.args[1]) if isinstance(A, Scale) else (build.number(1), A)


def _through(node: Frechet, gram: _Gram) -> Expr | None:
    parameters = list(node.parameters)

    def symbol(value: Expr) -> sp.Expr:
        if isinstance(value, Number):
            return value.data[0]
        parameters.append(value)
        return scalar.parameter(len(parameters) - 1)

    c, at = symbol(gram.c), symbol(gram.shift)
    floor = node.g.subs(scalar.X, at)
    if floor.has(sp.zoo, sp.oo, sp.nan):
        return None
    phi = (node.g.subs(scalar.X, c * scalar.X + at) - floor) / scalar.X
    inner = build.frechet(phi, build.matmul(gram.F, gram.left), tuple(parameters))
    names = {f"c{k}": value for k, value in enumerate(node.parameters)}
    level = build.map_scalar(node.g, x=gram.shift, **names)
    return build.add(
        build.scale(level, build.eye(gram.F.cols)), build.matmul(gram.left, inner, gram.F)
    )
