"""Numeric derivatives along admissible curves: the witness that no formula takes part in.

Outputs of decompositions are followed along the smooth branch through the base point. What a
decomposition leaves free is fixed by continuity: columns of a frame (orthonormal or invertible
outputs) get the sign that keeps them near the base point's, and a block of columns that may
rotate among themselves, such as the completion U₂ of a full SVD, is turned back by the
orthogonal polar factor of its overlap with the base point's block, so that U₂ᵀdU₂ = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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

_MOST_ATTEMPTS = 1000


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
    for _ in range(_MOST_ATTEMPTS):
        seed = int(rng.integers(2**63))
        rough = _instance(exprs, np.random.default_rng(seed), FLOAT64, tall)
        if _is_finite(exprs, rough.at(0.0)):
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

    def __init__(self, env: Environment, base: Interpreter) -> None:
        super().__init__(env, base.arithmetic)
        self._base = base

    def outputs(self, node: Output, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The decomposition's outputs, its free signs and rotations as at the base point."""
        key = node.rule, node.args
        if key not in self._decompositions:
            there = self._base.outputs(node, tuple(self._base.values(node.args)))
            self._decompositions[key] = tuple(
                aligned(Y, Y0, self.arithmetic) if _is_frame(letter) else Y
                for letter, Y, Y0 in zip(
                    RULEBOOK.decompositions[node.rule].outputs,
                    super().outputs(node, inputs),
                    there,
                    strict=True,
                )
            )
        return self._decompositions[key]


def _is_frame(Y: Var) -> bool:
    known = VOCABULARY.closure(Y.properties)
    return "full_column_rank" in known and not known & {
        "symmetric",
        "lower_triangular",
        "upper_triangular",
    }


def aligned(Y: Array, Y0: Array, arithmetic: Arithmetic) -> Array:
    """The frame Y with its columns' signs, and rotations within blocks, nearest to those of Y0."""
    overlap = arithmetic.pinv(Y0) @ Y
    result = Y.copy()
    for block in _blocks(np.abs(overlap.astype(float)) > 1e-3):
        U, _, V = arithmetic.svd(overlap[np.ix_(block, block)])
        result[:, block] = Y[:, block] @ (V @ U.T)
    return result


def _blocks(connected: Array) -> list[list[int]]:
    """The connected components of a relation between indices."""
    reached = (connected | connected.T | np.eye(len(connected), dtype=np.bool_)).astype(int)
    for _ in range(len(connected)):
        reached = (reached @ reached > 0).astype(int)
    blocks = {tuple(int(k) for k in np.flatnonzero(row)) for row in reached}
    return [list(block) for block in sorted(blocks)]


def directional_derivatives(exprs: Sequence[Expr], instance: Instance) -> list[Array]:
    """d/dt of each expression at t = 0 along the instance's curves.

    In mpmath's arithmetic by one central difference, with an error near the 2/3 power of the
    rounding error; in float64 by three of them, extrapolated (Richardson).
    """
    at = instance.arithmetic
    base = Interpreter(instance.at(0.0), at)

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
