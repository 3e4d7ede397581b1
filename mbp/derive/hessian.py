"""Second derivatives: the variation of a gradient, as an operator in dX or as a matrix."""

from __future__ import annotations

from mbp.definition import Definition
from mbp.derive.adjoint import holds_variation, move
from mbp.derive.deriver import derive
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Diag,
    Expr,
    Hadamard,
    Product,
    Scale,
    Sum,
    Transpose,
    Var,
    Variation,
    topological,
)
from mbp.simplify import simplify


def hessian_vector_product(definition: Definition, wrt: str) -> Expr:
    """d(∂f/∂x), linear in d(x), of the one scalar output of `definition`.

    Raises MbpError unless there is exactly one output and it is a scalar.
    """
    outputs = definition.outputs
    if len(outputs) != 1 or not all(Y.is_scalar for Y in outputs.values()):
        raise MbpError("a Hessian is that of one scalar expression")
    first = derive(definition, {name: build.number(1) for name in outputs})
    gradient = Definition(f"{definition.name}_gradient", definition.inputs,
                          {f"grad_{wrt}": first.gradients[wrt]}, definition.defaults)  # fmt: skip
    return simplify(derive(gradient, letter="H").variations[f"grad_{wrt}"])


def hessian(definition: Definition, wrt: str) -> Expr:
    """The Hessian in `wrt`: an n×n matrix for a column or scalar, else the operator in d(X)."""
    operator = hessian_vector_product(definition, wrt)
    x = definition.inputs[wrt]
    if x.cols != ONE:
        return operator
    matrix = matrix_of(operator, x)
    return operator if matrix is None else simplify(matrix)


def matrix_of(linear: Expr, x: Var) -> Expr | None:
    """The matrix M with `linear` = M d(x) for columns, or None where none can be written."""
    dx = build.variation(x)
    known: dict[Expr, bool] = {}
    holds_variation(linear, known)
    if not known[linear]:
        return build.zeros(linear.rows, x.rows)
    if linear.is_scalar and linear is not dx:
        row = _gradient_of(linear, dx, known)
        return None if row is None else build.transpose(row)
    match linear:
        case Variation():
            return build.eye(x.rows)
        case Sum():
            return _all(*(matrix_of(term, x) for term in linear.args))
        case Scale(args=(c, X)) if not known[c]:
            M = matrix_of(X, x)
            return None if M is None else build.scale(c, M)
        case Scale(args=(c, X)):
            row = matrix_of(c, x)
            return None if row is None else build.matmul(X, row)
        case Hadamard():
            active = next(A for A in linear.args if known[A])
            others = [A for A in linear.args if A is not active]
            M = matrix_of(active, x)
            return None if M is None else build.diag_matrix(build.hadamard(*others)) @ M
        case Product():
            return _of_product(linear, x, known)
    return None


def _of_product(linear: Product, x: Var, known: dict[Expr, bool]) -> Expr | None:
    k = next(k for k, A in enumerate(linear.args) if known[A])
    active, after = linear.args[k], linear.args[k + 1 :]
    tail: Expr = active
    if after:
        column = build.matmul(*after)
        match active:
            case Transpose(args=(inside,)) if inside.cols == ONE:
                tail = build.inner(inside, column)
            case Diag(args=(inside,)):
                tail = build.hadamard(column, inside)
            case Sum():
                tail = build.add(*(build.matmul(A, column) for A in active.args))
            case _:
                return None
    M = matrix_of(tail, x)
    if M is None:
        return None
    before = linear.args[:k]
    return build.matmul(*before, M) if before else M


def _all(*matrices: Expr | None) -> Expr | None:
    found = [M for M in matrices if M is not None]
    return build.add(*found) if len(found) == len(matrices) else None


def _gradient_of(scalar: Expr, dx: Expr, known: dict[Expr, bool]) -> Expr | None:
    """r with scalar = r : dx, by the identities of step 2."""
    pending: dict[Expr, list[Expr]] = {scalar: [build.number(1)]}
    for node in reversed(list(topological(scalar))):
        if node not in pending or node is dx:
            continue
        total = build.add(*pending.pop(node))
        active = tuple(k for k, A in enumerate(node.args) if known[A])
        for moved in move(node, total, active):
            pending.setdefault(moved.operand, []).append(moved.cotangent)
    return build.add(*pending[dx]) if set(pending) == {dx} else None
