"""Moves functions of FᵀF to FFᵀ, whose eigenproblem is the smaller one for a wide F."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build, scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import (
    Expr,
    Frechet,
    Inner,
    Inverse,
    Number,
    Product,
    Trace,
    fold,
    topological,
)  # fmt: skip
from mbp.plan.definitions.gram import Gram, as_gram, letters, mirrored
from mbp.plan.lowering.powers import is_of_inverse
from mbp.simplify import simplify


@dataclass(frozen=True)
class Pushed:
    """A definition of the same map through F Fᵀ, and the shapes of all such F."""

    definition: Definition
    shapes: tuple[tuple[Dim, Dim], ...]


def pushed_through(definition: Definition) -> Pushed | None:
    """The definition with functions of B = FFᵀ for those of A = FᵀF, as far as they have a value.

    Of matrices whose F are not wide together, those that come first are taken.

    With g(A) for g(cA + εI), n columns and m rows of F, φ(x) = (g(cx + ε) − g(ε))/x:

        F g(A) = g(B) F
        Tr g(A) = Tr g(B) + (n − m) g(ε)
        g(A) : h(A) = g(B) : h(B) + (n − m) g(ε) h(ε)
        g(A) = g(ε) I + Fᵀ φ(B) F

    They hold for every F and every g that is finite at ε (Higham, Functions of Matrices, theorem
    1.35). The last, whose φ loses digits where FFᵀ is small, is used where no other applies, and
    not for powers of an inverse, which is applied through the rank itself. None where no matrix
    function has such an argument.
    """
    outputs = {name: simplify(Y) for name, Y in definition.outputs.items()}
    functions = _functions(outputs)
    shapes: dict[tuple[Dim, Dim], None] = {}

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        new = _pushed(node, args, functions)
        if new is not build.rebuild(node, args):
            used = (functions[A] for A in (node, *node.args) if A in functions)
            shapes.update((function.gram.F.shape, None) for function in used)
        return new

    pushed = {name: fold(Y, rebuilt) for name, Y in outputs.items()}
    return Pushed(replace(definition, outputs=pushed), tuple(shapes)) if shapes else None


def _pushed(node: Expr, args: tuple[Expr, ...], functions: Mapping[Expr, _Function]) -> Expr:
    """The node in what its operands have become, by the first identity that applies."""
    match node:
        case Trace(args=(A,)) if A in functions:
            return _total((functions[A],))
        case Inner(args=(A, B)) if _alike(functions.get(A), functions.get(B)):
            return _total((functions[A], functions[B]))
        case Product():
            return _past_factors(list(zip(node.args, args, strict=True)), functions)
    found = functions.get(node)
    if isinstance(node, Frechet) and found is not None and not is_of_inverse(node):
        return found.around()
    return build.rebuild(node, args)


class _Function(NamedTuple):
    """g(cFᵀF + εI); a matrix function or an inverse."""

    g: sp.Expr
    parameters: tuple[Expr, ...]
    gram: Gram
    is_matrix_function: bool

    @property
    def at_zero(self) -> Expr:
        """g(ε)."""
        names = {f"c{k}": value for k, value in enumerate(self.parameters)}
        return build.map_scalar(self.g, x=self.gram.shift, **names)

    @property
    def other_side(self) -> Expr:
        """g(cFFᵀ + εI)."""
        c, F, shift, _ = self.gram
        B = build.scale(c, build.matmul(F, build.transpose(F)))
        A = build.add(B, build.scale(shift, build.eye(F.rows)))
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

        F, c, at = self.gram.F, symbol(self.gram.c), symbol(self.gram.shift)
        phi = (self.g.subs(scalar.X, c * scalar.X + at) - self.g.subs(scalar.X, at)) / scalar.X
        turned = build.transpose(F)
        inner = build.frechet(phi, build.matmul(F, turned), tuple(parameters))
        level = build.scale(self.at_zero, build.eye(F.cols))
        return build.add(level, build.matmul(turned, inner, F))


def _functions(outputs: Mapping[str, Expr]) -> dict[Expr, _Function]:
    """The matrix functions and inverses of some cFᵀF + εI whose F may be wide together."""
    found: dict[Expr, _Function] = {}
    for node in topological(*outputs.values()):
        if isinstance(node, Frechet) and node.order == 0:
            g, parameters = node.g, node.parameters
        elif isinstance(node, Inverse):
            g, parameters = 1 / scalar.X, ()
        else:
            continue
        gram = as_gram(node.args[0])
        if gram is None:
            continue
        shift, shapes = gram.shift, [function.gram.F.shape for function in found.values()]
        at = shift.data[0] if isinstance(shift, Number) else sp.Symbol("shift", positive=True)
        is_finite = not g.subs(scalar.X, at).has(sp.zoo, sp.oo, sp.nan)
        if is_finite and _may_be_wide([*shapes, gram.F.shape]):
            found[node] = _Function(g, parameters, gram, isinstance(node, Frechet))
    return found


def _may_be_wide(shapes: Iterable[tuple[Dim, Dim]]) -> bool:
    """Whether nothing is asked to be both large and small, and only symbols to be large."""
    shapes = list(shapes)
    small = {n for rows, _ in shapes for n in rows.free_symbols}
    return all(cols.is_Symbol and cols not in small for _, cols in shapes)


def _alike(first: _Function | None, second: _Function | None) -> bool:
    """Whether two are functions of one matrix."""
    return first is not None and second is not None and first.gram == second.gram


def _total(functions: tuple[_Function, ...]) -> Expr:
    """The trace of the product of one or two functions of one FᵀF."""
    F = functions[0].gram.F
    sides = [function.other_side for function in functions]
    inside = build.inner(*sides) if len(sides) > 1 else build.tr(sides[0])
    spare = build.subtract(build.tr(build.eye(F.cols)), build.tr(build.eye(F.rows)))
    return build.add(inside, build.scale_by((function.at_zero for function in functions), spare))


def _past_factors(
    factors: list[tuple[Expr, Expr]], functions: Mapping[Expr, _Function]
) -> Expr:
    """The product with H g(FᵀF) as S g(FFᵀ) F for each part H = S F of F, and its mirror image.

    Each factor comes with what it has become.
    """
    word = tuple(A for A, _ in factors)
    for k, A in enumerate(word):
        function = functions.get(A)
        for H, S in function.gram.parts if function is not None else ():
            assert function is not None
            n, moved = len(H), (S, function.other_side, *letters(function.gram.F))
            if word[max(k - n, 0) : k] == H:
                rest = (factors[: k - n], factors[k + 1 :])
            elif word[k + 1 : k + 1 + n] == mirrored(H):
                moved = mirrored(moved)
                rest = (factors[:k], factors[k + 1 + n :])
            else:
                continue
            return _past_factors([*rest[0], *((A, A) for A in moved), *rest[1]], functions)
    return build.matmul(*(new for _, new in factors))
