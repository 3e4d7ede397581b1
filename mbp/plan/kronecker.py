"""Takes what is computed from a Kronecker product to its factors, so that it is not formed."""

from __future__ import annotations

from dataclasses import replace

from mbp.definition import Definition
from mbp.expr import build
from mbp.expr.nodes import Expr, Kron, Product, Transpose, fold
from mbp.simplify.rules import node_rewrite


def of_kronecker(definition: Definition) -> Definition:
    """The definition with inverses, determinants and traces of A ⊗ B as those of A and B.

    By the rules in rules/rewrites.toml; the definition itself where none applies.
    """

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if isinstance(same, Product | Transpose) or not any(map(_is_kronecker, same.args)):
            return same
        by_factors = node_rewrite(same)
        return same if by_factors is None else by_factors.expression()

    outputs = {name: fold(Y, rebuilt) for name, Y in definition.outputs.items()}
    changed = any(Y is not definition.outputs[name] for name, Y in outputs.items())
    return replace(definition, outputs=outputs) if changed else definition


def _is_kronecker(X: Expr) -> bool:
    return isinstance(X.args[0] if isinstance(X, Transpose) else X, Kron)
