"""Checks a layer with decompositions that nobody says how to compute, from their equations alone.

Nothing is emitted: the derived variation and gradient are evaluated as they stand. Where the
layer is a decomposition of its own inputs, outputs and inputs are sampled together, so that no
algorithm is needed; elsewhere the equations are solved for the outputs.

equations     the variation against the null space of the varied equations, modulo the gauge
differences   the gradient against differences along admissible curves on the solution's branch
dot product   ⟨G, L(dX)⟩ = ⟨L*(G), dX⟩ of the derived variation and gradient
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mbp.decomposition import Decomposition
from mbp.derive.determinacy.variety import Variety
from mbp.derive.implicit import variation_of
from mbp.expr.nodes import Output, Var, Variation, topological
from mbp.numeric.arithmetic import FLOAT64, Array
from mbp.numeric.instances import curve, deficient_ranks, random_variation
from mbp.rulebook import RULEBOOK
from mbp.verify.differences import BasePoint, Instance, directional_derivatives, random_instance
from mbp.verify.gauge import invariant, motions
from mbp.verify.oracle import linear_error

if TYPE_CHECKING:
    from mbp.api import Layer

Key = tuple[str, str]
"""(input, witness)."""


def has_all_forwards(layer: Layer) -> bool:
    """Whether every decomposition in the layer says how it is computed."""
    return all(
        RULEBOOK.forward(node.rule) is not None
        for node in topological(*layer.definition.outputs.values()) if isinstance(node, Output)
    )


class EquationInstance:
    """One random admissible point of a layer, its decompositions solved from their equations."""

    def __init__(self, layer: Layer, sizes: Mapping[str, int], rng: np.random.Generator) -> None:
        self.derivation = layer.derive()
        self.definition = layer.definition
        self.rng = rng
        self.exprs = list(layer.definition.outputs.values())
        self.rule = self._rule()
        ranks = deficient_ranks(self.exprs, sizes)
        if self.rule is None:
            self.point: Mapping[Var, Array] = random_instance(
                [*self.exprs, *self.definition.inputs.values()], rng
            ).point
            self.base = BasePoint({**self.point}, FLOAT64)
        else:
            self.variety = Variety(self.rule, sizes, min(ranks.values(), default=1))
            values = self.variety.point(rng)
            self.point = {x: values[x] for x in self.rule.inputs}
            node = self.exprs[0]
            assert isinstance(node, Output)
            outputs = {(node.rule, node.args): tuple(values[y] for y in self.rule.outputs)}
            self.base = BasePoint({**sizes, **self.point}, FLOAT64, outputs)
        given = {
            name: rng.normal(size=self.base.value(Y).shape)
            for name, Y in self.definition.outputs.items()
        }
        moving = motions(self.exprs, self.base)
        self.moves = moving.shape[1] > 0
        self.has_gradient = moving.shape[1] < sum(G.size for G in given.values())
        self.cotangents = invariant(given, moving)

    def _rule(self) -> Decomposition | None:
        """The rule whose outputs at its own inputs the layer is, if it is one."""
        node = self.exprs[0]
        if not isinstance(node, Output):
            return None
        rule = RULEBOOK.decompositions[node.rule]
        inputs = tuple(self.definition.inputs.values())
        whole = tuple(self.exprs) == RULEBOOK.call(node.rule, *node.args)
        return rule if whole and inputs == node.args == rule.inputs else None

    def errors(self) -> Iterator[tuple[Key, float]]:
        """(input, witness) and the relative error there."""
        variations = variation_of(self.rule).variations if self.rule is not None else {}
        equations = linear_error(self.variety, variations, self.rng) if variations else None
        for name in self.definition.differentiable:
            x = self.definition.inputs[name]
            if not self.has_gradient:
                yield (name, "gauge"), 1.0
                continue
            if equations is not None:
                yield (name, "equations"), equations
            dX = random_variation(x, self.point[x], self.rng)
            yield (name, "differences"), self._error(x, dX, self._differences(x, dX))
            yield (name, "dot product"), self._error(x, dX, self._derived(x, dX))

    def _error(self, x: Var, dX: Array, dY: list[Array]) -> float:
        """How far Σ ⟨G, dY⟩ is from ⟨gradient, dX⟩, relative to what is summed."""
        gradient = self._evaluated(x, dX).value(self.derivation.gradients[x.name])
        terms = [self.cotangents[name] * d for name, d in zip(self.definition.outputs, dY)]
        size = max(float(sum(np.abs(term).sum() for term in terms)),
                   float(np.abs(gradient * dX).sum()), 1e-12)  # fmt: skip
        return abs(float(sum(term.sum() for term in terms)) - float((gradient * dX).sum())) / size

    def _evaluated(self, x: Var, dX: Array) -> BasePoint:
        env: dict[Any, Any] = {
            Variation(y): dX if y is x else np.zeros_like(Y) for y, Y in self.point.items()
        }
        named = self.derivation.cotangents
        env |= {named[name]: G for name, G in self.cotangents.items()}
        return self.base.changed(env, {})

    def _derived(self, x: Var, dX: Array) -> list[Array]:
        at = self._evaluated(x, dX)
        return [at.value(self.derivation.variations[name]) for name in self.definition.outputs]

    def _differences(self, x: Var, dX: Array) -> list[Array]:
        direction = {y: dX if y is x else np.zeros_like(Y) for y, Y in self.point.items()}
        curves = {y: curve(y, Y, direction[y]) for y, Y in self.point.items()}
        instance = Instance(FLOAT64, self.base.dims, self.point, direction, curves)
        return directional_derivatives(self.exprs, instance, self.base)
