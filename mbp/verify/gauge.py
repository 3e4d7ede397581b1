"""How a layer moves along what its decompositions leave free: whether a loss has a gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mbp.derive.determinacy.variety import Variety
from mbp.derive.implicit import variation_of
from mbp.expr.nodes import Expr, Output, Var, topological
from mbp.numeric.arithmetic import Array
from mbp.rulebook import RULEBOOK
from mbp.verify.differences import BasePoint

_STEP = 1e-5
_NOISE = 1e-6
"""Central differences of this step, and what of them counts as no motion at all."""


def gauged(outputs: Sequence[Expr]) -> list[Output]:
    """One output of each decomposition in `outputs` that leaves something free."""
    found: dict[tuple[str, tuple[Expr, ...]], Output] = {}
    for node in topological(*outputs):
        if isinstance(node, Output) and variation_of(RULEBOOK.decompositions[node.rule]).gauges:
            found.setdefault((node.rule, node.args), node)
    return list(found.values())


def motions(outputs: Sequence[Expr], base: BasePoint) -> Array:
    """An orthonormal basis, one a column, of how the stacked outputs move along the gauges."""
    slopes = [slope for node in gauged(outputs) for slope in _slopes(outputs, node, base)]
    if not slopes:
        return np.zeros((sum(Y.size for Y in base.values(outputs)), 0))
    U, s, _ = np.linalg.svd(np.stack(slopes, axis=1), full_matrices=False)
    return U[:, s > _NOISE]


def _slopes(outputs: Sequence[Expr], node: Output, base: BasePoint) -> Iterator[Array]:
    rule = RULEBOOK.decompositions[node.rule]
    inputs = tuple(base.values(node.args))
    here = base.outputs(node, inputs)
    point: dict[Var, Array] = dict(zip((*rule.inputs, *rule.outputs), (*inputs, *here)))
    sizes = {
        d.name: size
        for x, X in point.items()
        for d, size in zip(x.shape, X.shape, strict=True)
        if d.is_Symbol
    }
    ranked = [np.linalg.matrix_rank(X) for x, X in point.items() if x.name in rule.constant_rank]
    variety = Variety(rule, sizes, int(ranked[0]) if ranked else 1)
    for direction in variety.gauge(variety.completed(point)):
        ends = []
        for step in (_STEP, -_STEP):
            moved, rest = [], step * direction
            for Y in here:
                moved.append(Y + rest[: Y.size].reshape(Y.shape))
                rest = rest[Y.size :]
            there = base.changed({}, {(node.rule, node.args): tuple(moved)})
            ends.append(_stacked(there.values(outputs)))
        yield (ends[0] - ends[1]) / (2 * _STEP)


def _stacked(values: Sequence[Array]) -> Array:
    return np.concatenate([Y.ravel() for Y in values])


def verdict(name: str, free: Sequence[str], moves: bool, has_gradient: bool) -> list[str]:
    """What a layer's outputs have to do with the gauges `free`, in a sentence."""
    if not free:
        return []
    said = f"the gauge ({'; '.join(free)})"
    if not moves:
        return [f"{name} does not depend on {said}"]
    if has_gradient:
        return [f"{name} was checked with losses that do not see {said}"]
    return [f"{name} depends on {said}, so that no gradient exists"]


def invariant(cotangents: Mapping[str, Array], moving: Array) -> dict[str, Array]:
    """The cotangents without their parts along `moving`: a loss that no gauge changes."""
    stacked = _stacked(list(cotangents.values()))
    stacked = stacked - moving @ (moving.T @ stacked)
    found: dict[str, Array] = {}
    for name, G in cotangents.items():
        found[name], stacked = stacked[: G.size].reshape(G.shape), stacked[G.size :]
    return found
