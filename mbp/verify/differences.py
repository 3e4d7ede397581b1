"""Numeric derivatives along admissible curves: the witness that no formula takes part in.

Outputs of decompositions are followed along the smooth branch through the base point, by Newton's
method on the defining equations. Its steps are orthogonal to whatever the equations leave free
there (signs, the rotation of the completion U₂ of a full SVD), so that U₂ᵀdU₂ = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mbp.errors import MbpError
from mbp.expr.nodes import Expr, Output, Var, variables
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, Array
from mbp.numeric.evaluate import Environment, Interpreter, evaluate_all
from mbp.numeric.instances import (
    Curve,
    curve,
    deficient_ranks,
    random_point,
    random_sizes,
    random_variation,
)
from mbp.numeric.solving import Linearised, Solver, UnsolvedError
from mbp.rulebook import RULEBOOK

_MOST_ATTEMPTS = 1000
_MOST_UNSOLVED = 20

_FIRST_STEP = 2.0**-6
_FEWEST_HALVINGS, _MOST_HALVINGS = 4, 16
_HIGHEST_ORDER = 3

Decomposed = Mapping[tuple[str, tuple[Expr, ...]], tuple[Array, ...]]
"""The outputs of decompositions, by rule and arguments."""


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


class BasePoint(Interpreter):
    """Evaluates at the base point; `outputs` may hold those of decompositions there."""

    def __init__(
        self,
        env: Environment,
        arithmetic: Arithmetic,
        outputs: Decomposed | None = None,
    ) -> None:
        super().__init__(env, arithmetic)
        self._env = env
        self._decompositions.update(outputs or {})
        self._linear: dict[Any, Linearised] = {}

    def changed(self, env: Environment, outputs: Decomposed) -> BasePoint:
        """The same point with other or further values of nodes and of decompositions."""
        return BasePoint(
            {**self._env, **env}, self.arithmetic, {**self._decompositions, **outputs}
        )

    def outputs_near(self, node: Output, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The decomposition's outputs at `inputs`, nearest to those at the base point.

        Raises UnsolvedError where none are near, as of an eigenvalue that splits.
        """
        rule, at = RULEBOOK.decompositions[node.rule], self.arithmetic
        key, here = (node.rule, node.args), tuple(self.values(node.args))
        start = self.outputs(node, here)
        if key not in self._linear:
            self._linear[key] = Solver(rule, here, self.dims, at, evaluate_all).linearised(start)
        return Solver(rule, inputs, self.dims, at, evaluate_all).near(start, self._linear[key])


class _Branch(Interpreter):
    """Evaluates near a base point, on its branch of every decomposition."""

    def __init__(self, env: Environment, base: BasePoint) -> None:
        super().__init__(env, base.arithmetic)
        self._base = base

    def outputs(self, node: Output, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The decomposition's outputs on the branch, or any where no branch goes on."""
        key = node.rule, node.args
        if key not in self._decompositions:
            try:
                self._decompositions[key] = self._base.outputs_near(node, inputs)
            except UnsolvedError:
                self._decompositions[key] = super().outputs(node, inputs)
        return self._decompositions[key]


def directional_derivatives(
    exprs: Sequence[Expr], instance: Instance, base: BasePoint | None = None
) -> list[Array]:
    """d/dt of each expression at t = 0 along the instance's curves.

    In mpmath's arithmetic by one central difference, with an error near the 2/3 power of the
    rounding error; in float64 by Ridders' extrapolation, which halves the step until its own
    estimate of the error stops falling. `base` may hold outputs of decompositions at t = 0,
    which say what branch to follow.
    """
    at = instance.arithmetic
    base = base or BasePoint(instance.at(0.0), at)

    def difference(h: Any) -> list[Array]:
        try:
            ahead, behind = (_Branch(instance.at(t), base).values(exprs) for t in (h, -h))
        except np.linalg.LinAlgError:  # so large a step leaves the domain
            start = _Branch(instance.at(0.0), base).values(exprs)
            return [np.full_like(value, np.nan) for value in start]
        return [(there - back) / (2 * h) for there, back in zip(ahead, behind, strict=True)]

    if at is not FLOAT64:
        return difference(at.matrix(at.epsilon ** (1 / 3))[0, 0])
    step, found = _within_domain(difference)
    best, least = found, np.inf
    previous = [[found]]
    for k in range(1, _MOST_HALVINGS):
        row = [difference(step / 2**k)]
        for order, farther in enumerate(previous[-1][:_HIGHEST_ORDER], start=1):
            weight = 4.0**order
            row.append([
                (weight * near - far) / (weight - 1)
                for near, far in zip(row[-1], farther, strict=True)
            ])
        error = max(_gap(row[-1], row[-2]), _gap(row[-1], previous[-1][-1]))
        if error < least:
            best, least = row[-1], error
        elif error > 2 * least and k > _FEWEST_HALVINGS:
            break
        previous.append(row)
    return best


class NoDifferenceError(MbpError):
    """Expressions that are finite nowhere around a point, so that nothing can be differenced."""


def _within_domain(difference: Callable[[Any], list[Array]]) -> tuple[float, list[Array]]:
    """The largest step that stays where the expressions are finite, with its difference."""
    for k in range(_MOST_HALVINGS):
        step = _FIRST_STEP / 2**k
        with np.errstate(all="ignore"):
            try:
                found = difference(step)
            except np.linalg.LinAlgError:  # what LAPACK makes of NaN
                continue
        if all(np.isfinite(dY).all() for dY in found):
            return step, found
    raise NoDifferenceError("no finite difference: the expressions are finite at a point alone")


def _gap(found: list[Array], other: list[Array]) -> float:
    gaps = [float(np.abs(A - B).max(initial=0.0)) for A, B in zip(found, other, strict=True)]
    return max((gap if np.isfinite(gap) else np.inf for gap in gaps), default=0.0)
