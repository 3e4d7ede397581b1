"""What a claim's two sides come to at one admissible instance: numbers alone, no formula of ours.

Derivatives are numeric, along admissible curves (`mbp.verify.differences`); a gradient is judged
as a functional on an admissible direction, and by whether it lies in the admissible directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from mpmath.libmp import NoConvergence

from mbp.derive.deriver import derive
from mbp.errors import MbpError
from mbp.expr.nodes import Expr, Var, Variation, topological
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, Array
from mbp.numeric.evaluate import Interpreter
from mbp.numeric.solving import UnsolvedError
from mbp.referee.conditions import Trial
from mbp.referee.sampling import directions, moving_only
from mbp.referee.statement import RELATIONS, Claim, Comparison, Measure
from mbp.verify.differences import Instance, NoDifferenceError, directional_derivatives

_LARGEST = 1e9
"""A number beyond this, among inputs of order one, has lost its digits: nothing is judged there."""

_SPANNED = 1e-6
"""A gradient may leave the admissible directions by this part of it, all computed in float64."""

_MARGIN = 1e-9
"""What a premise must hold by, and what a comparison may fail by."""


_NUMERIC = (np.linalg.LinAlgError, NoConvergence, ArithmeticError, ValueError)
_UNDEFINED_THERE = (UnsolvedError, NoDifferenceError)


def _raise_unless_undefined(error: Exception) -> None:
    # What the arithmetics raise where an expression has no value, and nothing else.
    if isinstance(error, MbpError) and not isinstance(error, _UNDEFINED_THERE):
        raise error


class Status(Enum):
    """How one instance comes out."""

    AGREES = "agrees"
    FUNCTIONAL = "agrees as a functional"
    DIFFERS = "differs"
    UNDEFINED = "undefined"


@dataclass(frozen=True)
class Outcome:
    """The status at an instance and the relative error; `vanishes` if the truth is zero there."""

    status: Status
    error: float = 0.0
    vanishes: bool = False


UNDEFINED = Outcome(Status.UNDEFINED)


def tolerance(at: Arithmetic) -> float:
    """The relative error up to which two sides agree, numeric derivatives included."""
    return 1e-5 if at is FLOAT64 else 1e-16


def outcome(claim: Claim, trial: Trial, instance: Instance) -> Outcome:
    """What the claim comes to at an instance; undefined where its true side has no value."""
    with np.errstate(all="ignore"):
        try:
            values = Values(claim, trial, instance)
            if not values.premise():
                return UNDEFINED
            return values.gradient() if claim.target is None else values.compared()
        except _NUMERIC as error:
            _raise_unless_undefined(error)
            return UNDEFINED


class Values:
    """Everything that a claim speaks of, evaluated at one instance."""

    def __init__(self, claim: Claim, trial: Trial, instance: Instance) -> None:
        self.claim = claim
        self.trial = trial
        self.instance = instance
        self.at = instance.arithmetic
        self.interpreter = Interpreter(self._environment(), self.at)

    def _environment(self) -> dict[Any, Any]:
        claim, instance = self.claim, self.instance
        env: dict[Any, Any] = dict(instance.at(0.0))
        nodes = list(topological(*claim.sides))
        named = [v for v in claim.variations if v.args[0] not in instance.direction]
        env |= {Variation(x): dX for x, dX in instance.direction.items()}
        if named:
            derived = directional_derivatives([v.args[0] for v in named], instance)
            env |= dict(zip(named, derived, strict=True))
        for leaf, name in claim.setting.gradients.items():
            if leaf in nodes:
                env[leaf] = self.true_gradient(claim.setting.inputs[name])
        if any(isinstance(node, Measure) for node in nodes):
            env |= self._measured(nodes, env)
        return env

    def _measured(self, nodes: list[Expr], env: dict[Any, Any]) -> dict[Expr, Array]:
        interpreter = Interpreter(env, self.at)
        found: dict[Expr, Array] = {}
        for node in nodes:
            if isinstance(node, Measure):
                _, s, _, rank = self.at.rank_split(interpreter.value(node.args[0]))
                found[node] = self.at.matrix([[rank if node.name == "rank" else s[0, 0]]])
        return found

    # --- comparisons ------------------------------------------------------------------------

    def premise(self) -> bool:
        """Whether what the claim supposes is so, by a margin."""
        given = self.claim.given
        return given is None or self._compares(given, -_MARGIN)

    def _compares(self, given: Comparison, slack: float) -> bool:
        left, right = (float(self.interpreter.value(A)[0, 0]) for A in (given.lhs, given.rhs))
        if given.relation in ("==", "!="):
            equal = abs(left - right) <= _MARGIN * max(1.0, abs(left), abs(right))
            return equal == (given.relation == "==")
        slack = slack if given.relation.startswith(">") else -slack
        return RELATIONS[given.relation](left, right - slack)

    def compared(self) -> Outcome:
        """Target against formula."""
        claim = self.claim
        assert claim.target is not None
        if not self._defined(claim.target, *claim.differentiated):
            lacking = self._lacks_value(claim.target) and self._defined(claim.formula)
            return Outcome(Status.DIFFERS, float("inf")) if lacking else UNDEFINED
        if not self._defined(claim.formula):
            return Outcome(Status.DIFFERS, float("inf"))
        left, right = self.interpreter.value(claim.target), self.interpreter.value(claim.formula)
        if claim.relation != "==":
            comparison = Comparison(claim.target, claim.relation, claim.formula)
            good = self._compares(comparison, _MARGIN)
            gap = float(abs(left - right)[0, 0])
            return Outcome(Status.AGREES if good else Status.DIFFERS, 0.0 if good else gap)
        sizes = self.at.norm(left), self.at.norm(right)
        scale = self._scale(max(sizes), claim.target, claim.formula)
        error = self.at.norm(left - right) / scale if scale else 0.0
        good = error <= tolerance(self.at)
        vanishes = sizes[0] <= tolerance(self.at) * max(scale, sizes[0], 1e-300)
        return Outcome(Status.AGREES if good else Status.DIFFERS, error, vanishes)

    def _scale(self, size: float, *sides: Expr) -> float:
        """What an error is relative to: the sides, or where these vanish their ingredients."""
        largest = max(self._norms(*sides), default=0.0)
        return size if size > self._noise() * largest else largest

    def _noise(self) -> float:
        return 1e-7 if self.at is FLOAT64 else 1e-20

    def _norms(self, *sides: Expr) -> list[float]:
        return [self.at.norm(self.interpreter.value(node)) for node in topological(*sides)]

    def _defined(self, *exprs: Expr) -> bool:
        try:
            norms = self._norms(*exprs)
        except _NUMERIC as error:
            _raise_unless_undefined(error)
            return False
        return all(np.isfinite(norm) and norm < _LARGEST for norm in norms)

    def _lacks_value(self, target: Expr) -> bool:
        """Whether an identity's left side has no value though every input has full rank.

        Large numbers alone do not count, nor does a deficient rank, which is a null set.
        """
        claim = self.claim
        if claim.variations or claim.differentiated:
            return False
        if any(min(X.shape) > self.at.rank_split(X)[3] for X in self.instance.point.values()):
            return False
        try:
            norms = self._norms(target)
        except _NUMERIC:
            return True
        largest = 1e12 if self.at is FLOAT64 else 1e30
        return not all(np.isfinite(norm) and norm < largest for norm in norms)

    # --- gradients --------------------------------------------------------------------------

    def gradient(self) -> Outcome:
        """The claimed gradient against the numeric derivative along an admissible direction."""
        claim = self.claim
        x = claim.variable
        X, dX = self.instance.point[x], self.instance.direction[x]
        if not self._defined(*claim.setting.outputs.values()):
            return UNDEFINED
        still = moving_only(self.instance, x, dX, self.instance.curves[x])
        pairs = self._functional(still)
        forward = [self.at.norm(dY) for _, dY in pairs]
        if not all(np.isfinite(size) and size < _LARGEST for size in forward):
            return UNDEFINED
        if not self._defined(claim.formula):
            return Outcome(Status.DIFFERS, float("inf"))
        M = self.interpreter.value(claim.formula)
        true = sum((G * dY).sum() for G, dY in pairs)
        terms = sum(float(abs(G * dY).sum()) for G, dY in pairs), float(abs(M * dX).sum())
        ingredients = [*forward, *self._norms(claim.formula), self.at.norm(X)]
        largest = max(ingredients) * max(self.at.norm(dX), 1e-300)
        size = max(terms) if max(terms) > self._noise() * largest else largest
        error = abs(float(true - (M * dX).sum())) / size if size else 0.0
        if not error <= tolerance(self.at):
            return Outcome(Status.DIFFERS, error)
        vanishes = terms[0] <= tolerance(self.at) * size
        if self._is_admissible(M):
            return Outcome(Status.AGREES, error, vanishes)
        return Outcome(Status.FUNCTIONAL, error, vanishes)

    def _functional(self, still: Instance) -> list[tuple[Array, Array]]:
        setting = self.claim.setting
        derived = directional_derivatives(list(setting.outputs.values()), still)
        cotangents = [self.interpreter.value(setting.cotangents[name]) for name in setting.outputs]
        return list(zip(cotangents, derived, strict=True))

    def _is_admissible(self, M: Array) -> bool:
        """Whether M is the projected gradient, given that it is right as a functional.

        It must lie in the span of the directions that x admits. Where the rank of x is deficient
        more than one matrix may do; then the derived gradient does as well.
        """
        X = self.instance.point[self.claim.variable].astype(float)
        if self._spans(X, M):
            return True
        if min(X.shape) == FLOAT64.rank_split(X)[3]:
            return False
        try:
            derivation = derive(self.claim.setting.definition)
        except MbpError:
            return False
        gradient = derivation.gradients[self.claim.variable.name]
        N = self._at_cotangents(gradient, derivation.cotangents)
        return self.at.norm(M - N) <= _SPANNED * self.at.norm(M)

    def _at_cotangents(self, gradient: Expr, letters: Mapping[str, Var]) -> Array:
        env: dict[Any, Any] = dict(self.instance.at(0.0))
        for name, G in self.claim.setting.cotangents.items():
            env[letters[name]] = self.interpreter.value(G)
        return Interpreter(env, self.at).value(gradient)

    def _spans(self, X: Array, M: Array) -> bool:
        flat = M.astype(float).reshape(-1)
        rng = np.random.default_rng(0)
        found = directions(self.claim.variable, X, self.trial, rng, FLOAT64, X.size + 2)
        U, s, _ = np.linalg.svd(
            np.stack([dX.reshape(-1) for dX, _ in found], axis=1), full_matrices=False
        )
        U = U[:, s > 1e-9 * s[0]] if s[0] else U[:, :0]
        return bool(np.linalg.norm(flat - U @ (U.T @ flat)) <= _SPANNED * np.linalg.norm(flat))

    def true_gradient(self, x: Var) -> Array:
        """The projected gradient in x of the outputs against their cotangents, by differences.

        It lies in the admissible directions of x and has the right inner product with each.
        """
        at, X = self.at, self.instance.point[x]
        rng = np.random.default_rng(0)
        found = directions(x, X, self.trial, rng, at, X.size)
        flat = np.stack([dX.astype(float).reshape(-1) for dX, _ in found], axis=1)
        count = int(np.linalg.matrix_rank(flat, tol=1e-9))
        if count == 0:
            return at.zeros(*X.shape)
        env = dict(self.instance.at(0.0))
        self.interpreter = Interpreter(env, at)
        products = []
        for dX, along in found[:count]:
            pairs = self._functional(moving_only(self.instance, x, dX, along))
            products.append(sum((G * dY).sum() for G, dY in pairs))
        columns = np.stack([dX.reshape(-1) for dX, _ in found[:count]], axis=1)
        weights = at.inverse(columns.T @ columns) @ at.matrix(products)
        return (columns @ weights).reshape(X.shape)


