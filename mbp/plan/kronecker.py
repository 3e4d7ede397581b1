"""Takes what is computed from a Kronecker product to its factors, so that it is not formed."""

from __future__ import annotations

from dataclasses import replace

from mbp.definition import Definition
from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import Expr, Kron, Product, Transpose, fold
from mbp.simplify.rules import node_rewrite


def of_kronecker(definition: Definition) -> Definition:
    """The definition with (A ⊗ B) w as vec(B W Aᵀ), w = vec(W) (Matrix Cookbook (520)).

    Inverses, determinants and traces of A ⊗ B are those of A and B, by the rules in
    rules/rewrites.toml. The definition itself where no Kronecker product is of use.
    """

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if any(map(_factors, same.args)) and not isinstance(same, Product | Transpose):
            by_factors = node_rewrite(same)
            return same if by_factors is None else by_factors.expression()
        if isinstance(same, Product) and any(_factors(A) for A in same.args):
            if same.cols == ONE:
                return _applied(same.args)
            if same.rows == ONE:
                return build.transpose(_applied(tuple(map(build.transpose, reversed(same.args)))))
        return same

    outputs = {name: fold(Y, rebuilt) for name, Y in definition.outputs.items()}
    changed = any(Y is not definition.outputs[name] for name, Y in outputs.items())
    return replace(definition, outputs=outputs) if changed else definition


def _applied(factors: tuple[Expr, ...]) -> Expr:
    """The product of `factors`, the last of which is a column, from the right."""
    *rest, w = factors
    for X in reversed(rest):
        found = _factors(X)
        if found is not None:
            A, B = found
            W = build.unvec(w, B.cols, A.cols)
            w = build.vec(build.matmul(B, W, build.transpose(A)))
        else:
            w = build.matmul(X, w)
    return w


def _factors(X: Expr) -> tuple[Expr, Expr] | None:
    """(A, B) of X = A ⊗ B."""
    match X:
        case Kron(args=(A, B)):
            return A, B
        case Transpose(args=(Kron(args=(A, B)),)):
            return build.transpose(A), build.transpose(B)
    return None
