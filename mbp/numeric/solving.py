"""Outputs of a decomposition that nobody says how to compute, from its equations alone.

Gauss–Newton on the defining equations and the invariants of the outputs finds a solution in
float64; the same steps with the residual in more digits carry it as far as is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mbp.decomposition import Decomposition
from mbp.errors import MbpError
from mbp.expr.nodes import Expr
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, Array
from mbp.numeric.instances import random_point
from mbp.numeric.meanings import holds

Evaluate = Callable[[Sequence[Expr], Mapping[Expr, Array], Arithmetic], list[Array]]
"""What gives the values of several expressions, which share what they have in common."""

_STARTS = 10
_STEPS = 60
_RANK_TOLERANCE = 1e-6
_DIFFERENCE = 1e-6
_FAR = 1e3
_REFINEMENTS = 4


class UnsolvedError(MbpError):
    """Equations for which no outputs were found, at these inputs."""


@dataclass(frozen=True)
class Linearised:
    """J⁺ of the equations' Jacobian J in the outputs, and the projector onto its null space.

    The null space holds what the equations leave free: the gauge.
    """

    inverse: Array
    gauge: Array


class Solver:
    """The equations of one decomposition at given inputs."""

    def __init__(
        self,
        rule: Decomposition,
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
        self._sides = _sides(rule)

    def solution(self) -> tuple[Array, ...]:
        """Some outputs with all declared properties; raises UnsolvedError when none is found."""
        rng = np.random.default_rng(0)
        for _ in range(_STARTS):
            start = tuple(random_point(Y, self._sizes, rng) for Y in self._rule.outputs)
            found = self._descended(start)
            if found is not None and self._is_admissible(found):
                return self.near(tuple(self._arithmetic.matrix(Y) for Y in found))
        raise UnsolvedError(f"{self._rule.name}: no outputs were found that satisfy its equations")

    def linearised(self, outputs: tuple[Array, ...]) -> Linearised:
        """The equations to first order in the outputs, at outputs that satisfy them."""
        at = self._arithmetic
        J = self._jacobian(tuple(Y.astype(float) for Y in outputs))
        U, s, V = np.linalg.svd(J)
        r = int((s > _RANK_TOLERANCE * s[0]).sum())
        inverse = at.matrix((V[:r].T / s[:r]) @ U[:, :r].T)
        N = at.matrix(V[r:].T)
        if at is FLOAT64 or not N.size:
            return Linearised(inverse, N @ N.T)
        for _ in range(_REFINEMENTS):
            N = N - inverse @ self._along(outputs, N)
        return Linearised(inverse, N @ at.inverse(N.T @ N) @ N.T)

    def near(
        self, start: tuple[Array, ...], linearised: Linearised | None = None
    ) -> tuple[Array, ...]:
        """The outputs nearest to `start`, which must be close to a solution; no gauge moves.

        `linearised` is that at `start` with these or close inputs. Raises UnsolvedError when no
        solution is near.
        """
        at = self._arithmetic
        first = self.linearised(start) if linearised is None else linearised
        size = 1.0 + max(at.norm(Y) for Y in start)
        moved, Y = at.zeros(len(first.gauge), 1), start
        for _ in range(_STEPS):
            residual = self._residual(Y, at)
            error = at.norm(residual)
            if not error < _FAR * size * size:
                break
            moved = moved - first.inverse @ residual
            moved = moved - first.gauge @ moved
            Y = self._moved(start, moved)
            if error <= 1e3 * at.epsilon * size * size:
                return Y
        raise UnsolvedError(f"{self._rule.name}: its equations were not solved to full precision")

    def _along(self, outputs: tuple[Array, ...], directions: Array) -> Array:
        """J times each column, by central differences in the solver's own arithmetic."""
        at = self._arithmetic
        h = at.matrix(at.epsilon ** (1 / 3))[0, 0]
        columns = []
        for k in range(directions.shape[1]):
            ahead, behind = (
                self._residual(self._moved(outputs, sign * h * directions[:, k : k + 1]), at)
                for sign in (1, -1)
            )
            columns.append((ahead - behind) / (2 * h))
        return np.hstack(columns)

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
        left, right = (self._evaluate(side, env, at) for side in self._sides)
        gaps = [A - B for A, B in zip(left, right, strict=True)]
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


@lru_cache(maxsize=256)
def _sides(rule: Decomposition) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """The two sides of a rule's equations and of its outputs' invariants."""
    equations = list(rule.equations)
    for Y in rule.outputs:
        for prop in sorted(VOCABULARY.closure(Y.properties)):
            invariant = VOCABULARY[prop].equation_of(Y)
            if invariant is not None:
                equations.append(invariant)
    return tuple(left for left, _ in equations), tuple(right for _, right in equations)
