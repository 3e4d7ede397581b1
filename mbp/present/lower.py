"""Rewrites expressions for readers: derivatives in a frame, masks, diagonal matrices as such.

The derivative of a matrix function (a divided difference in the eigenframe of its argument,
`Frechet` of order 1) becomes U (L ∘ (Uᵀ X U)) Uᵀ with U, Q the outputs of `eig` and L a kernel
(Higham, Functions of Matrices, theorem 3.11; Daleckii and Krein). A second derivative stays: it
is a sum over three indices, which no elementwise product expresses.
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Frechet,
    I,
    J,
    Kernel,
    Map,
    Number,
    Part,
    col,
    fold,
    row,
)
from mbp.invariants.infer import is_
from mbp.rulebook import RULEBOOK

_INSIDE = {
    "lower": I >= J,
    "strictly_lower": I > J,
    "upper": I <= J,
    "strictly_upper": I < J,
}


def lowered(root: Expr) -> Expr:
    """`root` with its matrix functions' derivatives in an eigenframe, diagonal matrices as such."""

    def lower(node: Expr, args: tuple[Expr, ...]) -> Expr:
        node = build.rebuild(node, args)
        if isinstance(node, Diag):
            return _diagonal(node)
        if not isinstance(node, Frechet):
            return node
        if node.order == 1:
            return _derivative(node)
        if node.order == 0 and node.parameters and node.g != scalar.X ** scalar.parameter(0):
            return _function(node)
        return node

    return fold(root, lower)


def masked(root: Expr) -> Expr:
    """`root` with its triangles written as elementwise products with a mask."""

    def mask(node: Expr, args: tuple[Expr, ...]) -> Expr:
        node = build.rebuild(node, args)
        if not (isinstance(node, Part) and node.kind in _INSIDE):
            return node
        entry = sp.Piecewise((1, _INSIDE[node.kind]), (0, True))
        return build.hadamard(build.kernel(entry, None, (), *node.shape), node.args[0])

    return fold(root, mask)


def is_mask(kernel: Kernel) -> bool:
    """Whether the kernel's entries are those of a pattern, without any operand."""
    return not kernel.args


def _diagonal(node: Diag) -> Expr:
    # X and X⁻¹ of a diagonal X, and (X)_diag of any other, rather than [diag(X)].
    match node.args[0]:
        case DiagVec(args=(X,)):
            return X if is_(X, "diagonal") else build.diagpart(X)
        case Map(args=(DiagVec(args=(X,)), Number(data=(-1,))), data=("pow",)):
            if is_(X, "diagonal"):
                return build.inv(X)
    return node


def _frame(A: Expr) -> tuple[Expr, Expr]:
    return _outputs(A if is_(A, "symmetric") else build.sym(A))


def _outputs(A: Expr) -> tuple[Expr, Expr]:
    U, Q = RULEBOOK.call("eig", A)
    return U, Q


def _derivative(node: Frechet) -> Expr:
    A, X = node.args[0], node.directions[0]
    if is_(A, "diagonal"):
        return build.hadamard(_divided_differences(node, A), X)
    U, Q = _frame(A)
    inside = build.hadamard(_divided_differences(node, Q), build.matmul(build.transpose(U), X, U))
    return build.matmul(U, inside, build.transpose(U))


def _divided_differences(node: Frechet, Q: Expr) -> Expr:
    entry, diagonal = divided_difference(node.g, len(node.parameters))
    return build.kernel(entry, diagonal, (build.diag(Q), *node.parameters), *node.shape)


def _function(node: Frechet) -> Expr:
    A = node.args[0]
    U, Q = (build.eye(A.rows), A) if is_(A, "diagonal") else _frame(A)
    named = {f"c{k}": p for k, p in enumerate(node.parameters)}
    values = build.map_scalar(node.g, x=build.diag(Q), **named)
    return build.matmul(U, build.diag_matrix(values), build.transpose(U))


@cache
def divided_difference(g: sp.Expr, parameters: int) -> tuple[sp.Expr, sp.Expr]:
    """g[λ_i, λ_j] and its limit g′(λ_i) at i = j, as a kernel's entry and diagonal.

    λ is the kernel's operand 0, the parameters c0, c1, … its operands 1, 2, …. Where g is
    algebraic the quotient is cancelled, so that nothing is lost when λ_i is close to λ_j.
    """
    # All at once: a matrix function's parameter c0 and a kernel's column entry share a symbol.
    constants = {scalar.parameter(k): row(k + 1) for k in range(parameters)}
    at_i, at_j = (g.xreplace({scalar.X: s, **constants}) for s in (row(0), col(0)))
    slope = scalar.derivative(g).xreplace({scalar.X: row(0), **constants})
    return _cancelled(at_i - at_j), sp.simplify(slope)


def _cancelled(difference: sp.Expr) -> sp.Expr:
    a, b = row(0), col(0)
    α, β = sp.symbols("alpha beta", positive=True)
    for substitution, back in (
        ({a: α, b: β}, {α: a, β: b}),
        ({a: α**2, b: β**2}, {α: sp.sqrt(a), β: sp.sqrt(b)}),
    ):
        change = difference.subs(substitution, simultaneous=True)
        if change.is_rational_function(α, β):
            step = a.subs(substitution) - b.subs(substitution)
            return sp.factor(sp.cancel(change / step)).subs(back, simultaneous=True)
    return difference / (a - b)
