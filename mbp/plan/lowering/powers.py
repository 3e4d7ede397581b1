"""Integer powers and their derivatives as products, which need no spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.nodes import Expr, Frechet, topological


def integer_power(node: Frechet) -> int | None:
    """The p of the function xᵖ, if it is a small integer power."""
    base, p = node.g.as_base_exp()
    small = base == scalar.X and p.is_Integer and 0 < abs(p) <= _POWERS
    return int(p) if small else None


def in_powers_only(roots: Iterable[Expr]) -> frozenset[Expr]:
    """The matrices of whose functions only small integer powers are wanted."""
    nodes = [A for A in topological(*roots) if isinstance(A, Frechet)]
    others = {node.args[0] for node in nodes if integer_power(node) is None}
    return frozenset(node.args[0] for node in nodes) - others


def is_of_inverse(node: Frechet) -> bool:
    """Whether the function is a small power of the inverse."""
    return (integer_power(node) or 0) < 0


def is_cheap_along(node: Frechet) -> bool:
    """Whether the divided differences of a power are taken as products, not from the spectrum.

    Those of an inverse go through the rank; a first derivative carries vectors.
    """
    return node.order == 1 or is_of_inverse(node)


def in_products(node: Frechet) -> Expr:
    """The divided differences of xᵖ in the directions X₁ … X_q as a sum of products.

    For p > 0 Σ Aⁱ X₁ Aʲ X₂ ⋯ with exponents from 0 on that sum to p − q, for p < 0 its
    counterpart (−1)^q Σ A⁻ⁱ X₁ A⁻ʲ X₂ ⋯ with exponents from 1 on that sum to |p| + q.
    """
    p, q, A = integer_power(node), node.order, node.args[0]
    assert p is not None
    letter, least = (A, 0) if p > 0 else (build.inv(A), 1)
    total = p - q if p > 0 else abs(p) + q
    words = []
    for first, *rest in _compositions(total, q + 1, least):
        word = [letter] * first
        for X, k in zip(node.directions, rest, strict=True):
            word += [X, *[letter] * k]
        words.append(build.matmul(*word))
    if not words:
        return build.zeros(*node.shape)
    return build.scale(build.number(sp.Integer(1 if p > 0 else (-1) ** q)), build.add(*words))


def _compositions(total: int, parts: int, least: int) -> Iterator[tuple[int, ...]]:
    """The ways of writing a number as a sum of so many numbers that are no less than `least`."""
    if parts == 1:
        if total >= least:
            yield (total,)
        return
    for first in range(least, total + 1):
        for rest in _compositions(total - first, parts - 1, least):
            yield (first, *rest)


_POWERS = 4
"""The largest integer power that is cheaper as products than through the spectrum."""
