"""Norms that a layer takes: in its derivatives, the negative powers of ‖X‖ are 0 at X = 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sympy as sp

from mbp.expr import build
from mbp.expr.nodes import Expr, Map, Number, topological
from mbp.invariants.infer import is_
from mbp.plan.spelling.complements import is_square, ratio
from mbp.simplify import normal, simplify


class NormPower(NamedTuple):
    """±‖X‖²ᵖ with p < 0, up to a positive number."""

    sign: int
    square: Expr
    p: sp.Expr


def norms_of(outputs: Iterable[Expr]) -> frozenset[Expr]:
    """‖X‖² in normal form for the norms in the outputs, but for those with a pole at X = 0."""
    spelled = [e for Y in outputs for e in (Y, simplify(Y))]
    maps = [node for node in topological(*spelled) if isinstance(node, Map)]
    roots = {A for A in maps if A.name == "sqrt" and is_square(A.args[0])}
    poles = {A.args[0] for A in maps if A.name in ("log", "sqrt") or _is_divided(A)}
    return frozenset(normal(A.args[0]) for A in roots - poles)


def norm_power(node: Map, norms: frozenset[Expr]) -> NormPower | None:
    """The node as the power of a norm in `norms` that is to be 0 at X = 0."""
    if not norms or node.name != "pow":
        return None
    X, exponent = node.args
    if not (X.is_scalar and isinstance(exponent, Number)):
        return None
    p = exponent.value
    if isinstance(X, Map) and X.name == "sqrt":
        X, p = X.args[0], p / 2
    if p > 0:
        return None
    expanded = normal(X)
    ratios = (ratio(expanded, norm) for norm in norms)
    c = next((c for c in ratios if c is not None), None)
    if c is None:
        return None
    if is_(c, "positive"):
        return NormPower(1, X, p)
    return NormPower(-1 if p % 2 else 1, build.negate(X), p) if p.is_Integer else None


def _is_divided(A: Map) -> bool:
    """Whether A is a power that is not known to be positive."""
    if A.name != "pow":
        return False
    p = A.args[1]
    return not (isinstance(p, Number) and p.value > 0)
