"""Integer powers, and the derivatives of those of inverses, as products without a spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


def in_products(node: Frechet) -> Expr:
    """The divided differences of x⁻ᵖ in the directions X₁ … X_q as a sum of products.

    (−1)^q Σ A⁻ⁱ X₁ A⁻ʲ X₂ ⋯ with exponents from 1 on that sum to p + q.
    """
    power, q, inverse = integer_power(node), node.order, build.inv(node.args[0])
    assert power is not None
    words = []
    for first, *rest in _compositions(q - power, q + 1):
        word = [inverse] * first
        for X, k in zip(node.directions, rest, strict=True):
            word += [X, *[inverse] * k]
        words.append(build.matmul(*word))
    return build.scale(build.number((-1) ** q), build.add(*words))


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """The ways of writing a number as a sum of so many positive numbers."""
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


_POWERS = 4
"""The largest integer power that is cheaper as products than through the spectrum."""
