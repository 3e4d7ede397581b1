"""Moves functions of FᵀF to FFᵀ, whose eigenproblem is the smaller one for a wide F."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build, scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import (
    Expr,
    Eye,
    Frechet,
    Inner,
    Inverse,
    Number,
    Product,
    Sum,
    Trace,
    fold,
    topological,
)  # fmt: skip
from mbp.invariants.infer import is_
from mbp.simplify import simplify


@dataclass(frozen=True)
class Pushed:
    """A definition of the same map through F Fᵀ, and the shape of F."""

    definition: Definition
    shape: tuple[Dim, Dim]


def pushed_through(definition: Definition) -> Pushed | None:
    """The definition with functions of B = FFᵀ for those of A = FᵀF, as far as they have a value.

    With g(A) for g(cA + εI), n columns and m rows of F, φ(x) = (g(cx + ε) − g(ε))/x:

        F g(A) = g(B) F
        Tr g(A) = Tr g(B) + (n − m) g(ε)
        g(A) : h(A) = g(B) : h(B) + (n − m) g(ε) h(ε)
        g(A) = g(ε) I + Fᵀ φ(B) F

    They hold for every F and every g that is finite at ε (Higham, Functions of Matrices, theorem
    1.35). The last, whose φ loses digits where FFᵀ is small, is used where no other applies. None
    where no matrix function has such an argument.
    """
    outputs = {name: simplify(Y) for name, Y in definition.outputs.items()}
    functions = _functions(outputs)
    shapes: set[tuple[Dim, Dim]] = set()

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        new = _pushed(node, args, functions)
        if new is not build.rebuild(node, args):
            used = next(functions[A] for A in (node, *node.args) if A in functions)
            shapes.add(used.F.shape)
        return new

    pushed = {name: fold(Y, rebuilt) for name, Y in outputs.items()}
    return Pushed(replace(definition, outputs=pushed), *shapes) if len(shapes) == 1 else None


def _pushed(node: Expr, args: tuple[Expr, ...], functions: Mapping[Expr, _Function]) -> Expr:
    """The node in what its operands have become, by the first identity that applies."""
    match node:
        case Trace(args=(A,)) if A in functions:
            return _total((functions[A],))
        case Inner(args=(A, B)) if _alike(functions.get(A), functions.get(B)):
            return _total((functions[A], functions[B]))
        case Product():
            return _past_factors(node, args, functions)
    found = functions.get(node)
    if found is not None and found.is_matrix_function:
        return found.around()
    return build.rebuild(node, args)


class _Function(NamedTuple):
    """g(cFᵀF + εI); a matrix function or an inverse."""

    g: sp.Expr
    parameters: tuple[Expr, ...]
    c: Expr
    F: Expr
    shift: Expr
    is_matrix_function: bool

    @property
    def at_zero(self) -> Expr:
        """g(ε)."""
        names = {f"c{k}": value for k, value in enumerate(self.parameters)}
        return build.map_scalar(self.g, x=self.shift, **names)

    @property
    def other_side(self) -> Expr:
        """g(cFFᵀ + εI)."""
        gram = build.scale(self.c, build.matmul(self.F, build.transpose(self.F)))
        A = build.add(gram, build.scale(self.shift, build.eye(self.F.rows)))
        if not self.is_matrix_function:
            return build.inv(A)
        return build.frechet(self.g, A, self.parameters)

    def around(self) -> Expr:
        """g(ε) I + Fᵀ φ(FFᵀ) F."""
        parameters = list(self.parameters)

        def symbol(value: Expr) -> sp.Expr:
            if isinstance(value, Number):
                return value.data[0]
            parameters.append(value)
            return scalar.parameter(len(parameters) - 1)

        c, at = symbol(self.c), symbol(self.shift)
        phi = (self.g.subs(scalar.X, c * scalar.X + at) - self.g.subs(scalar.X, at)) / scalar.X
        turned = build.transpose(self.F)
        inner = build.frechet(phi, build.matmul(self.F, turned), tuple(parameters))
        level = build.scale(self.at_zero, build.eye(self.F.cols))
        return build.add(level, build.matmul(turned, inner, self.F))


def _functions(outputs: Mapping[str, Expr]) -> dict[Expr, _Function]:
    """The matrix functions and inverses of some cFᵀF + εI, F with symbolic sizes that differ."""
    found: dict[Expr, _Function] = {}
    for node in topological(*outputs.values()):
        if isinstance(node, Frechet) and node.order == 0:
            g, parameters = node.g, node.parameters
        elif isinstance(node, Inverse):
            g, parameters = 1 / scalar.X, ()
        else:
            continue
        parts = _gram(node.args[0])
        if parts is None:
            continue
        c, F, shift = parts
        at = shift.data[0] if isinstance(shift, Number) else sp.Symbol("shift", positive=True)
        if not g.subs(scalar.X, at).has(sp.zoo, sp.oo, sp.nan):
            found[node] = _Function(g, parameters, c, F, shift, isinstance(node, Frechet))
    return found


def _gram(A: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(c, F, ε) of A = cFᵀF + εI; F is CX where A has a projector C in the middle."""
    terms = [build.coefficient(term) for term in (A.args if isinstance(A, Sum) else (A,))]
    shifts = [c for c, body in terms if isinstance(body, Eye)]
    rest = [(c, body) for c, body in terms if not isinstance(body, Eye)]
    if len(rest) != 1:
        return None
    ((c, word),) = rest
    if not isinstance(word, Product):
        return None
    left, *middle, X = word.args
    if left is not build.transpose(X) or X.rows == X.cols:
        return None
    if len(middle) > 1 or not all(is_(C, "projector") for C in middle):
        return None
    F = build.matmul(*middle, X)  # XᵀCX = (CX)ᵀCX
    return c, F, build.add(*shifts) if shifts else build.number(0)


def _alike(first: _Function | None, second: _Function | None) -> bool:
    """Whether two are functions of one matrix."""
    return first is not None and second is not None and first[2:5] == second[2:5]


def _total(functions: tuple[_Function, ...]) -> Expr:
    """The trace of the product of one or two functions of one FᵀF."""
    F = functions[0].F
    sides = [function.other_side for function in functions]
    inside = build.inner(*sides) if len(sides) > 1 else build.tr(sides[0])
    spare = build.subtract(build.tr(build.eye(F.cols)), build.tr(build.eye(F.rows)))
    return build.add(inside, build.scale_by((function.at_zero for function in functions), spare))


def _past_factors(
    node: Product, args: tuple[Expr, ...], functions: Mapping[Expr, _Function]
) -> Expr:
    """The product with F g(FᵀF) as g(FFᵀ) F, and its mirror image."""
    factors = list(node.args)
    new = list(args)
    for k, factor in enumerate(factors):
        function = functions.get(factor)
        if function is None:
            continue
        if k > 0 and factors[k - 1] is function.F:
            new[k - 1], new[k] = function.other_side, function.F
            factors[k - 1], factors[k] = new[k - 1], function.F
        elif k + 1 < len(factors) and factors[k + 1] is build.transpose(function.F):
            new[k], new[k + 1] = build.transpose(function.F), function.other_side
            factors[k], factors[k + 1] = new[k], new[k + 1]
    return build.matmul(*new)
