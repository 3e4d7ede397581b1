"""Numeric derivatives along admissible curves: the witness that no formula takes part in.

Outputs of decompositions are followed along the smooth branch through the base point. What a
decomposition leaves free is fixed by continuity: columns of a frame (orthonormal or invertible
outputs) get the sign that keeps them near the base point's, and a block of columns that the
defining equations let rotate, such as the completion U₂ of a full SVD, is turned back by the
orthogonal polar factor of its overlap with the base point's block, so that U₂ᵀdU₂ = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from mbp.errors import MbpError
from mbp.expr.nodes import Expr, Output, Var, variables
from mbp.invariants.vocabulary import VOCABULARY
from mbp.rulebook import RULEBOOK
from mbp.verify.arithmetic import FLOAT64, Arithmetic, Array
from mbp.verify.evaluate import Environment, Interpreter
from mbp.verify.instances import (
    Curve,
    curve,
    deficient_ranks,
    random_point,
    random_sizes,
    random_variation,
)
from mbp.verify.solving import UnsolvedError

_MOST_ATTEMPTS = 1000
_MOST_UNSOLVED = 20


@dataclass(frozen=True)
class Instance:
    """Sizes, an admissible point of some variables and an admissible direction through it."""

    arithmetic: Arithmetic
    sizes: Mapping[str, int]
    point: Mapping[Var, Array]
    direction: Mapping[Var, Array]
    curves: Mapping[Var, Curve]

    def at(self, t: Any) -> Environment:
        """The environment at X(t) of every variable."""
        return {**self.sizes, **{x: along(t) for x, along in self.curves.items()}}


def random_instance(
    exprs: Sequence[Expr],
    rng: np.random.Generator,
    arithmetic: Arithmetic = FLOAT64,
    tall: bool = False,
) -> Instance:
    """A random admissible instance of the variables of `exprs` at which all of them are finite.

    `tall` prefers sizes with more rows than columns. Raises MbpError when no instance with finite
    values is found.
    """
    unsolved = 0
    for _ in range(_MOST_ATTEMPTS):
        seed = int(rng.integers(2**63))
        rough = _instance(exprs, np.random.default_rng(seed), FLOAT64, tall)
        try:
            finite = _is_finite(exprs, rough.at(0.0))
        except UnsolvedError:
            unsolved += 1
            if unsolved == _MOST_UNSOLVED:
                raise
            continue
        if finite:
            if arithmetic is FLOAT64:
                return rough
            return _instance(exprs, np.random.default_rng(seed), arithmetic, tall)
    raise MbpError(f"no admissible instance gives {', '.join(map(str, exprs))} a finite value")


def _instance(
    exprs: Sequence[Expr],
    rng: np.random.Generator,
    at: Arithmetic,
    tall: bool,
) -> Instance:
    sizes = random_sizes(exprs, rng, tall=tall)
    ranks = deficient_ranks(exprs, sizes)
    point, direction, curves = {}, {}, {}
    for x in variables(*exprs):
        X = random_point(x, sizes, rng, at, ranks.get(x))
        dX = random_variation(x, X, rng, at)
        point[x], direction[x], curves[x] = X, dX, curve(x, X, dX, at)
    return Instance(at, sizes, point, direction, curves)


def _is_finite(exprs: Sequence[Expr], env: Environment) -> bool:
    interpreter = Interpreter(env)
    with np.errstate(all="ignore"):
        try:
            return all(np.isfinite(interpreter.value(Y)).all() for Y in exprs)
        except np.linalg.LinAlgError:
            return False


class _Branch(Interpreter):
    """Evaluates near a base point, on its branch of every decomposition."""

    def __init__(self, env: Environment, base: BasePoint) -> None:
        super().__init__(env, base.arithmetic)
        self._base = base

    def near(self, node: Output) -> tuple[Array, ...]:
        """The decomposition's outputs at the base point."""
        return self._base.outputs(node, tuple(self._base.values(node.args)))

    def outputs(self, node: Output, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The decomposition's outputs, what it leaves free as at the base point."""
        key = node.rule, node.args
        if key not in self._decompositions:
            self._decompositions[key] = tuple(
                Y if blocks is None else aligned(Y, Y0, blocks, self.arithmetic)
                for Y, Y0, blocks in zip(
                    super().outputs(node, inputs),
                    self.near(node),
                    self._base.free_blocks(node),
                    strict=True,
                )
            )
        return self._decompositions[key]


class BasePoint(Interpreter):
    """Evaluates at the base point, and knows which columns of a frame may rotate there."""

    def __init__(self, env: Environment, arithmetic: Arithmetic) -> None:
        super().__init__(env, arithmetic)
        self._free: dict[Any, list[list[list[int]] | None]] = {}

    def free_blocks(self, node: Output) -> list[list[list[int]] | None]:
        """For each output, its columns in blocks that may rotate; None where nothing is free."""
        key = node.rule, node.args
        if key not in self._free:
            rule = RULEBOOK.decompositions[node.rule]
            inputs = self.values(node.args)
            values = (*inputs, *self.outputs(node, tuple(inputs)))
            letters = (*rule.inputs, *rule.outputs)
            env = {x: A.astype(float) for x, A in zip(letters, values, strict=True)}
            self._free[key] = [
                _rotating(rule.equations, Y, env) if _is_frame(Y) else None for Y in rule.outputs
            ]
        return self._free[key]


def _is_frame(Y: Var) -> bool:
    """Whether the columns of an output of a decomposition are free up to signs or rotations."""
    known = VOCABULARY.closure(Y.properties)
    return "full_column_rank" in known and not known & {
        "symmetric",
        "lower_triangular",
        "upper_triangular",
    }


def _rotating(
    equations: Sequence[tuple[Expr, Expr]], Y: Var, env: Mapping[Var, Array]
) -> list[list[int]]:
    """Blocks of columns of Y whose rotation leaves the equations true, tried pair by pair."""
    n = env[Y].shape[1]
    connected = np.eye(n, dtype=np.bool_)
    for j, k in combinations(range(n), 2):
        turned = env[Y].copy()
        turned[:, [j, k]] = turned[:, [j, k]] @ np.array([[0.8, -0.6], [0.6, 0.8]])
        at = Interpreter({**env, Y: turned})
        gaps = [(at.value(left) - at.value(right), at.value(left)) for left, right in equations]
        holds = all(np.abs(gap).max() <= 1e-9 * (1 + np.abs(A).max()) for gap, A in gaps)
        connected[j, k] = connected[k, j] = holds
    return [[int(k) for k in block] for block in {tuple(np.flatnonzero(row)) for row in connected}]


def aligned(Y: Array, Y0: Array, blocks: Sequence[list[int]], arithmetic: Arithmetic) -> Array:
    """The frame Y with each block of columns turned to be nearest to that of Y0."""
    overlap = arithmetic.pinv(Y0) @ Y
    result = Y.copy()
    for block in blocks:
        U, _, V = arithmetic.svd(overlap[np.ix_(block, block)])
        result[:, block] = Y[:, block] @ (V @ U.T)
    return result


def directional_derivatives(exprs: Sequence[Expr], instance: Instance) -> list[Array]:
    """d/dt of each expression at t = 0 along the instance's curves.

    In mpmath's arithmetic by one central difference, with an error near the 2/3 power of the
    rounding error; in float64 by three of them, extrapolated (Richardson).
    """
    at = instance.arithmetic
    base = BasePoint(instance.at(0.0), at)

    def difference(h: Any) -> list[Array]:
        ahead, behind = (_Branch(instance.at(t), base).values(exprs) for t in (h, -h))
        return [(there - back) / (2 * h) for there, back in zip(ahead, behind, strict=True)]

    if at is not FLOAT64:
        return difference(at.matrix(at.epsilon ** (1 / 3))[0, 0])
    table = [difference(2.0**-k) for k in (7, 8, 9)]
    for order in (4, 16):
        table = [
            [(order * near - far) / (order - 1) for near, far in zip(nearer, farther, strict=True)]
            for farther, nearer in pairwise(table)
        ]
    return table[0]
