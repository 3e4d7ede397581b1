"""Outputs of a decomposition that nobody says how to compute, from its equations alone.

Gauss–Newton on the defining equations and the invariants of the outputs finds a solution in
float64; the same steps with the residual in more digits carry it as far as is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mbp.derive.implicit.definition import Definition
from mbp.errors import MbpError
from mbp.expr.nodes import Expr
from mbp.invariants.vocabulary import VOCABULARY
from mbp.verify.arithmetic import FLOAT64, Arithmetic, Array
from mbp.verify.instances import random_point
from mbp.verify.meanings import holds

Evaluate = Callable[[Expr, Mapping[Expr, Array], Arithmetic], Array]

_STARTS = 10
_STEPS = 60
_RANK_TOLERANCE = 1e-6
_DIFFERENCE = 1e-6


class UnsolvedError(MbpError):
    """Equations for which no outputs were found, at these inputs."""


class Solver:
    """The equations of one decomposition at given inputs."""

    def __init__(
        self,
        rule: Definition,
        inputs: Sequence[Array],
        sizes: Mapping[str, int],
        arithmetic: Arithmetic,
        evaluate: Evaluate,
    ) -> None:
        self._rule = rule
        self._arithmetic = arithmetic
        self._evaluate = evaluate
        self._inputs: dict[Expr, Array] = dict(zip(rule.inputs, inputs, strict=True))
        self._rough: dict[Expr, Array] = {x: A.astype(float) for x, A in self._inputs.items()}
        self._sizes = dict(sizes)
        for x, A in self._inputs.items():
            named = zip(x.shape, A.shape, strict=True)
            self._sizes |= {d.name: size for d, size in named if d.is_Symbol}
        self._equations = list(rule.equations)
        for Y in rule.outputs:
            for prop in sorted(VOCABULARY.closure(Y.properties)):
                sides = VOCABULARY[prop].equation_of(Y)
                if sides is not None:
                    self._equations.append(sides)

    def solution(self) -> tuple[Array, ...]:
        """Some outputs with all declared properties; raises UnsolvedError when none is found."""
        rng = np.random.default_rng(0)
        for _ in range(_STARTS):
            start = tuple(random_point(Y, self._sizes, rng) for Y in self._rule.outputs)
            found = self._descended(start)
            if found is not None and self._is_admissible(found):
                return self.near(tuple(self._arithmetic.matrix(Y) for Y in found))
        raise UnsolvedError(f"{self._rule.name}: no outputs were found that satisfy its equations")

    def near(self, start: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs nearest to `start`, which must be close to a solution."""
        at = self._arithmetic
        rough = tuple(Y.astype(float) for Y in start)
        step = at.matrix(np.linalg.pinv(self._jacobian(rough), rcond=_RANK_TOLERANCE))
        size = 1.0 + max(at.norm(Y) for Y in start)
        Y = start
        for _ in range(_STEPS):
            residual = self._residual(Y, at)
            if at.norm(residual) <= 1e3 * at.epsilon * size * size:
                return Y
            Y = self._moved(Y, -(step @ residual))
        raise MbpError(f"{self._rule.name}: its equations were not solved to full precision")

    def _descended(self, start: tuple[Array, ...]) -> tuple[Array, ...] | None:
        Y, residual = start, self._residual(start, FLOAT64)
        for _ in range(_STEPS):
            if FLOAT64.norm(residual) <= 1e-11:
                return Y
            step = np.linalg.pinv(self._jacobian(Y), rcond=_RANK_TOLERANCE) @ residual
            length = 1.0
            while length > 1e-3:
                moved = self._moved(Y, -length * step)
                there = self._residual(moved, FLOAT64)
                if FLOAT64.norm(there) < FLOAT64.norm(residual):
                    break
                length /= 2
            else:
                return None
            Y, residual = moved, there
        return None

    def _is_admissible(self, outputs: tuple[Array, ...]) -> bool:
        known = {Y.name: value for Y, value in zip(self._rule.outputs, outputs, strict=True)}
        known.update((x.name, self._rough[x]) for x in self._rule.inputs)
        ranks = {name: FLOAT64.rank_split(A)[3] for name, A in known.items()}
        return all(ranks[one] == ranks[other] for one, other in self._rule.equal_rank) and all(
            holds(prop, known[Y.name], 1e-8)
            for Y in self._rule.outputs
            for prop in VOCABULARY.closure(Y.properties)
        )

    def _residual(self, outputs: tuple[Array, ...], at: Arithmetic) -> Array:
        inputs = self._rough if at is FLOAT64 else self._inputs
        env: dict[Expr, Array] = {**inputs}
        env.update(zip(self._rule.outputs, outputs, strict=True))
        gaps = [
            self._evaluate(left, env, at) - self._evaluate(right, env, at)
            for left, right in self._equations
        ]
        return np.concatenate([gap.reshape(-1, 1) for gap in gaps])

    def _moved(self, outputs: tuple[Array, ...], step: Array) -> tuple[Array, ...]:
        moved, start = [], 0
        for Y in outputs:
            moved.append(Y + step[start : start + Y.size].reshape(Y.shape))
            start += Y.size
        return tuple(moved)

    def _jacobian(self, outputs: tuple[Array, ...]) -> Array:
        count = sum(Y.size for Y in outputs)
        columns = []
        for k in range(count):
            step = np.zeros((count, 1))
            step[k] = _DIFFERENCE
            ahead, behind = (
                self._residual(self._moved(outputs, sign * step), FLOAT64) for sign in (1, -1)
            )
            columns.append((ahead - behind) / (2 * _DIFFERENCE))
        return np.hstack(columns)
