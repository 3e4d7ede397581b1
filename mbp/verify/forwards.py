"""Whether the forwards of decompositions give what their definitions ask of the outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mbp.expr.nodes import Expr, Output, topological
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import Array
from mbp.numeric.evaluate import evaluate_all
from mbp.numeric.meanings import holds
from mbp.rulebook import RULEBOOK
from mbp.verify.differences import BasePoint

_TOLERANCE = 1e-6


def contradictions(exprs: Sequence[Expr], base: BasePoint) -> Iterator[str]:
    """What the outputs at `base` of decompositions in `exprs` deny of their definitions.

    Each is a sentence that names the entry, what is false there, and what to mend.
    """
    nodes = [node for node in topological(*exprs) if isinstance(node, Output)]
    for node in {(node.rule, node.args): node for node in nodes}.values():
        rule = RULEBOOK.decompositions[node.rule]
        for false in _false_statements(node, base):
            yield str(rule.refusal(f"the forward contradicts the definition: {false}; mend "
                                   "`forward`, `returns`, `defines` or `output`"))  # fmt: skip


def _false_statements(node: Output, base: BasePoint) -> Iterator[str]:
    rule = RULEBOOK.decompositions[node.rule]
    inputs = tuple(base.values(node.args))
    outputs = base.outputs(node, inputs)
    letters = (*rule.inputs, *rule.outputs)
    env: dict[Expr, Array] = dict(zip(letters, (*inputs, *outputs), strict=True))
    for left, right in rule.equations:
        if not _close(*evaluate_all([left, right], env, base.arithmetic)):
            yield f"{left} = {right} is false"
    for Y, value in zip(rule.outputs, outputs, strict=True):
        for prop in VOCABULARY.minimal(Y.properties):
            if not holds(prop, value, _TOLERANCE):
                yield f"{Y.name} is not {prop}"


def _close(A: Array, B: Array) -> bool:
    size = max(float(np.linalg.norm(A)), float(np.linalg.norm(B)))
    return float(np.linalg.norm(A - B)) <= _TOLERANCE * size
