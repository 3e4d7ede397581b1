"""Ranks that are decided at run time, and ranges whose comparison proves them equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from mbp.expr import build
from mbp.expr.nodes import Expr, Number, Output, Product
from mbp.invariants.infer import is_palindrome
from mbp.plan.spelling.complements import is_range, is_square
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Value, topological
from mbp.simplify import simplify


def compared_ranges(outputs: tuple[Expr, ...]) -> tuple[sp.Expr, Mapping[str, Expr]] | None:
    """c and matrices with the ranges W and Ψ, where the only output is c ‖Π_W − Π_Ψ‖² (50), (59).

    Ranges of unequal rank have the distance 1 at least (66), so that an output below c > 0
    proves that the ranks are equal.
    """
    if len(outputs) != 1:
        return None
    c, whole = build.coefficient(outputs[0])
    if not (isinstance(c, Number) and c.value > 0):
        return None
    found = build.difference(whole.args[0]) if is_square(whole) else None
    if found is None:
        return None
    sign, P, Q = found
    if not (isinstance(sign, Number) and abs(sign.value) == 1 and is_range(P) and is_range(Q)):
        return None
    return c.value, {"W": _range_of(P), "Psi": _range_of(Q)}


def _range_of(P: Expr) -> Expr:
    """A matrix with the range of the projector P, as thin as its simplified form shows."""
    P = simplify(P)
    if isinstance(P, Output):
        return P.args[0]
    if isinstance(P, Product) and is_palindrome(P.args):
        return build.matmul(*P.args[: len(P.args) // 2])  # X M Xᵀ with M definite
    return P


def decides_rank(v: Value) -> bool:
    """Whether the run-time tolerance for the rank is applied to the value's operand."""
    named = v.op == "call" and ("rtol", "rtol") in v.data[1]
    return named or v.op in ("orthogonal_frame", "right_frame", "range_frame")


def factors_among(ranges: Mapping[str, Value], deciding: Iterable[Value]) -> frozenset[str]:
    """The ranges whose tolerance is that of a factor: its rank counts down to √eps."""
    deciders = {v.args[0]: v for v in deciding}
    found = set()
    for name, A in ranges.items():
        tests = [deciders[A]] if A in deciders else list(deciders.values())
        if tests and all(_is_of_factor(v) for v in tests):
            found.add(name)
    return frozenset(found)


def _is_of_factor(v: Value) -> bool:
    """Whether only the range of the value's operand matters, not its generalised inverse."""
    return v.op == "right_frame" or (v.op == "orthogonal_frame" and not v.data[0])


def ranked(graph: Graph, deciding: Iterable[Value]) -> dict[str, Value]:
    """The matrices that a tolerance for the rank is applied to."""
    matrices = dict.fromkeys(v.args[0] for v in deciding)
    return {f"A{k}": graph.dense(A) for k, A in enumerate(matrices, start=1)}


def has_frame(parts: Iterable[Mapping[str, Value]]) -> bool:
    """Whether the parts form the frame of a range, which then serves them all."""
    below = topological(v for part in parts for v in part.values())
    return any(v.op == "orthogonal_frame" and _is_of_factor(v) for v in below)
