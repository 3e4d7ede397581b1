"""Whether a layer's derivation holds at given sizes: whether its conditions can be met there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mbp.errors import MbpError
from mbp.expr.nodes import Expr
from mbp.expr.parser import parse
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.evaluate import Environment, evaluate
from mbp.numeric.instances import deficient_ranks, random_point
from mbp.numeric.meanings import holds
from mbp.rulebook import RULEBOOK

if TYPE_CHECKING:
    from mbp.api import Layer

_POINTS = 20


def unmet_condition(layer: Layer, sizes: Mapping[str, int]) -> str | None:
    """A condition of the derivation, such as `FᵀF invertible`, that no point of these sizes meets.

    Only conditions that name a property of a matrix are tried, on random admissible points.
    """
    definition, rng = layer.definition, np.random.default_rng(0)
    ranks = deficient_ranks(tuple(definition.outputs.values()), sizes)
    inputs = definition.inputs.values()
    points: list[Environment] = [
        {**sizes, **{x: random_point(x, sizes, rng, rank=ranks.get(x)) for x in inputs}}
        for _ in range(_POINTS)
    ]
    for condition in layer.derive().conditions:
        subject, _, prop = condition.rpartition(" ")
        if prop not in VOCABULARY:
            continue
        try:
            A = parse(subject, definition.inputs, RULEBOOK.functions)
        except MbpError:  # of a spectrum, or of a rank
            continue
        if not any(_has(A, prop, point) for point in points):
            return condition
    return None


def _has(A: Expr, prop: str, point: Environment) -> bool:
    try:
        return holds(prop, evaluate(A, point))
    except np.linalg.LinAlgError:
        return False
