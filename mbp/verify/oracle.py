"""Checks the variation of a decomposition without any algorithm that computes its outputs.

What was derived is evaluated at random points of the variety of its equations, and held against
the variations that these admit there, modulo the gauge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mbp.derive.determinacy.variety import Values, Variety
from mbp.expr.nodes import Expr, Variation
from mbp.numeric.arithmetic import Array
from mbp.numeric.evaluate import evaluate


def linear_error(
    variety: Variety, variations: Mapping[str, Expr], rng: np.random.Generator
) -> float:
    """The largest part of derived dY − admissible dY outside the gauge, relative to dY."""
    values = variety.point(rng)
    N, gauge = variety.tangents(values), variety.gauge(values)
    return max(
        _difference(variety, values, variety.split(rng.normal(size=len(N)) @ N), variations, gauge)
        for _ in range(3)
    )


def curve_error(
    variety: Variety, variations: Mapping[str, Expr], rng: np.random.Generator, step: float = 1e-4
) -> float:
    """The same along a curve on the variety, by central differences: O(step²)."""
    values = variety.point(rng)
    N, gauge = variety.tangents(values), variety.gauge(values)
    direction = rng.normal(size=len(N)) @ N
    ahead, behind = (variety.near(values, sign * step * direction) for sign in (1, -1))
    changes = {x: (ahead[x] - behind[x]) / (2 * step) for x in values}
    return _difference(variety, values, changes, variations, gauge)


def _difference(
    variety: Variety,
    values: Values,
    changes: Values,
    variations: Mapping[str, Expr],
    gauge: Array,
) -> float:
    definition = variety.definition
    env: dict[Any, Any] = {**variety.sizes}
    env |= {x: values[x] for x in variety.declared}
    env |= {Variation(x): changes[x] for x in definition.inputs}
    wanted = np.concatenate([changes[y].ravel() for y in definition.outputs])
    got = np.concatenate([evaluate(variations[y.name], env).ravel() for y in definition.outputs])
    difference = got - wanted
    difference = difference - gauge.T @ (gauge @ difference)
    return float(np.linalg.norm(difference) / max(1e-3, float(np.linalg.norm(wanted))))
