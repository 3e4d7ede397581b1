"""Divided differences g[x₀, …, x_p] of a scalar function, exact at ties and stable near them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import sympy as sp

from mbp.expr import scalar
from mbp.numeric.arithmetic import Arithmetic

_MOST_TERMS = 8
_NEARBY = 0.02


@cache
def _derivative(g: sp.Expr, order: int) -> sp.Expr:
    return g if order == 0 else scalar.derivative(_derivative(g, order - 1))


class DividedDifference:
    """The divided differences of one function g of one variable at points of one arithmetic.

    Points that lie together are expanded about their mean,
    g[x₀, …, x_p] = Σ_k g⁽ᵖ⁺ᵏ⁾(c)/(p+k)! h_k(x₀ − c, …, x_p − c) with the complete homogeneous
    symmetric polynomials h_k; where that does not converge in a few terms, the recursion
    (g[x₁, …, x_p] − g[x₀, …, x_{p−1}])/(x_p − x₀) on sorted points loses few digits.
    """

    def __init__(self, g: sp.Expr, arithmetic: Arithmetic, parameters: Sequence[Any] = ()) -> None:
        self._g = g
        self._arithmetic = arithmetic
        self._parameters = tuple(parameters)
        self._symbols = (scalar.X, *(scalar.parameter(k) for k in range(len(parameters))))
        self._values: dict[tuple[Any, ...], Any] = {}
        self._derivatives: dict[int, Callable[..., Any]] = {}

    def __call__(self, *points: Any) -> Any:
        """g[x₀, …, x_p]; the order of the points is of no matter."""
        key = tuple(sorted(points))
        if key not in self._values:
            self._values[key] = self._value(key)
        return self._values[key]

    def _derivative_at(self, order: int, x: Any) -> Any:
        if order not in self._derivatives:
            body = _derivative(self._g, order)
            self._derivatives[order] = self._arithmetic.compiled(body, self._symbols)
        return self._derivatives[order](x, *self._parameters)

    def _value(self, points: tuple[Any, ...]) -> Any:
        p = len(points) - 1
        gap = points[-1] - points[0]
        if p == 0 or gap == 0:
            return self._derivative_at(p, points[0]) / math.factorial(p)
        if gap <= _NEARBY * (1 + abs(points[0])):
            expanded = self._expanded(points)
            if expanded is not None:
                return expanded
        return (self(*points[1:]) - self(*points[:-1])) / gap

    def _expanded(self, points: tuple[Any, ...]) -> Any | None:
        p = len(points) - 1
        center = sum(points) / (p + 1)
        offsets = [x - center for x in points]
        radius = max(abs(offset) for offset in offsets)
        total, bound = 0, None
        for k in range(_MOST_TERMS):
            derivative = self._derivative_at(p + k, center) / math.factorial(p + k)
            total = total + derivative * _homogeneous(k, offsets)
            previous, bound = bound, abs(derivative) * radius**k * math.comb(p + k, k)
            small = self._arithmetic.epsilon * abs(total)
            # Two small terms in a row: a derivative may vanish at the centre by symmetry.
            if previous is not None and previous <= small and bound <= small:
                return total
        return None


def _homogeneous(k: int, x: Sequence[Any]) -> Any:
    # h_k of the first variables, h_k(x₀…x_j) = h_k(x₀…x_{j−1}) + x_j h_{k−1}(x₀…x_j).
    row: list[Any] = [1] + [0] * k
    for entry in x:
        for degree in range(1, k + 1):
            row[degree] = row[degree] + entry * row[degree - 1]
    return row[k]
