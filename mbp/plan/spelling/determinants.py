"""Takes traces of logarithms to determinants, which need no spectrum."""

from __future__ import annotations

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.nodes import Expr, Frechet, Trace, fold
from mbp.invariants.infer import is_
from mbp.simplify import readable


def with_determinants(e: Expr) -> Expr:
    """e with log det A for Tr log A of a positive definite A (Matrix Cookbook (19))."""
    return fold(e, _rebuilt)


def _rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
    same = build.rebuild(node, args)
    if not (isinstance(same, Trace) and isinstance(same.args[0], Frechet)):
        return same
    c, function = build.coefficient(readable(same.args[0]))
    if not (isinstance(function, Frechet) and function.order == 0):
        return same
    A = function.args[0]
    is_logarithm = function.g == sp.log(scalar.X) and is_(A, "positive_definite")
    return build.scale(c, build.logdet(A)) if is_logarithm else same
