"""A small instance at which a formula fails, as a NumPy program that shows it.

The letters are arrays; a derivative is taken by a central difference where the expression can be
written in NumPy and its value does not depend on the signs of eigenvectors, and is printed as
numbers where not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from mbp.expr.nodes import Expr, Output, Var, Variation, topological
from mbp.invariants.vocabulary import VOCABULARY
from mbp.referee.conditions import NOTHING, Trial
from mbp.referee.numpy_text import NumpyText, Untold, array_text
from mbp.referee.sampling import moving_only, sample
from mbp.referee.statement import Claim
from mbp.referee.witness import Status, Values, outcome
from mbp.verify.arithmetic import FLOAT64, Array
from mbp.verify.differences import Instance, directional_derivatives
from mbp.verify.instances import Curve

_FREE = {"positive", "nonnegative", "constant", "symmetric", "antisymmetric", "diagonal",
         "lower_triangular", "upper_triangular", "invertible", "positive_definite",
         "positive_semidefinite", "full_column_rank", "full_row_rank"}  # fmt: skip
_STEP = "1e-6"


def counterexample(claim: Claim, seed: int, trial: Trial = NOTHING) -> str:
    """A NumPy program that prints both sides and their relative difference at an instance."""
    instance = _rounded(claim, trial, _smallest(claim, trial, seed))
    program = list(_Program(claim, trial, instance).lines())
    arrays = [f"{x.name} = {array_text(X)}" for x, X in instance.point.items()
              if any(re.search(rf"\b{x.name}\b", line) for line in program)]  # fmt: skip
    return "\n".join(["import numpy as np", *arrays, *program])


def _smallest(claim: Claim, trial: Trial, seed: int) -> Instance:
    """The failing instance with the fewest numbers among a few, `seed` one of them."""
    found = [sample(claim, trial, seed, FLOAT64)]
    for other in range(12):
        there = sample(claim, trial, other, FLOAT64)
        if outcome(claim, trial, there).status is Status.DIFFERS:
            found.append(there)
    return min(found, key=lambda one: sum(X.size for X in one.point.values()))


def _rounded(claim: Claim, trial: Trial, instance: Instance) -> Instance:
    """The instance with short numbers, if it fails with them as well."""
    point, direction, curves = dict(instance.point), dict(instance.direction), {}
    for x, X in instance.point.items():
        free = set(VOCABULARY.closure(trial.declared(x).properties)) <= _FREE
        if free and FLOAT64.rank_split(X)[3] == min(X.shape):
            point[x], direction[x] = X.round(1), direction[x].round(1)
            curves[x] = _line(point[x], direction[x])
        else:
            curves[x] = instance.curves[x]
    short = Instance(FLOAT64, instance.sizes, point, direction, curves)
    return short if outcome(claim, trial, short).status is Status.DIFFERS else instance


def _line(X: Array, dX: Array) -> Curve:
    return lambda t: X + t * dX


class _Program:
    def __init__(self, claim: Claim, trial: Trial, instance: Instance) -> None:
        self.claim = claim
        self.instance = instance
        with np.errstate(all="ignore"):
            self.values = Values(claim, trial, instance)
        self.names: dict[Expr, str] = {x: x.name for x in instance.point}
        self.numpy = NumpyText(self.names, instance.sizes)

    def lines(self) -> Iterator[str]:
        """The program, line by line."""
        if self.claim.target is None:
            yield from self._gradient()
        else:
            yield from self._sides(self.claim.target)
        yield "print(left, right, np.linalg.norm(left - right) / np.linalg.norm(left), sep='\\n')"

    def _gradient(self) -> Iterator[str]:
        x = self.claim.variable
        setting = self.claim.setting
        dX = self.instance.direction[x]
        yield f"d{x.name} = {array_text(dX)}"
        still = moving_only(self.instance, x, dX, self.instance.curves[x])
        yield "left = 0  # the derivative of the outputs along the direction"
        for name, Y in setting.outputs.items():
            G = setting.cotangents[name]
            weight = f"{G.name} * " if isinstance(G, Var) else ""
            yield f"left += np.sum({weight}{self._derivative(Y, still, f'd{name}')})"
        formula = self._text(self.claim.formula)
        yield f"right = np.sum({formula} * d{x.name})  # the claimed gradient on it"

    def _sides(self, target: Expr) -> Iterator[str]:
        for x, dX in self.instance.direction.items():
            if Variation(x) in self.claim.variations:
                self.names[Variation(x)] = f"d{x.name}"
                yield f"d{x.name} = {array_text(dX)}"
        taken = 0
        for v in self.claim.variations:
            if not isinstance(v.args[0], Var):
                taken += 1
                yield f"derivative{taken} = {self._derivative(v.args[0], self.instance, None)}"
                self.names[v] = f"derivative{taken}"
        self.numpy = NumpyText(self.names, self.instance.sizes)
        yield f"left = {self._text(target)}"
        yield f"right = {self._text(self.claim.formula)}"

    def _derivative(self, Y: Expr, instance: Instance, name: str | None) -> str:
        moving = [x for x, dX in instance.direction.items() if np.any(dX)]
        if self._is_plain(Y, instance):
            try:
                ahead, behind = (self._at(Y, moving, sign) for sign in ("+", "-"))
                return f"({ahead} - {behind}) / (2 * {_STEP})"
            except Untold:
                pass
        (dY,) = directional_derivatives([Y], instance)
        return array_text(dY)

    def _is_plain(self, Y: Expr, instance: Instance) -> bool:
        """Whether moving along a straight line and evaluating is the derivative."""
        frames = any(isinstance(A, Output) and A.rule not in ("pinv", "projector")
                     for A in topological(Y))  # fmt: skip
        step = float(_STEP)
        lines = all(
            np.allclose(instance.curves[x](step), X + step * instance.direction[x], atol=1e-15)
            for x, X in instance.point.items()
        )
        return lines and not frames

    def _at(self, Y: Expr, moving: list[Var], sign: str) -> str:
        names: dict[Expr, str] = {x: x.name for x in self.instance.point}
        names |= {x: f"({x.name} {sign} {_STEP} * d{x.name})" for x in moving}
        return NumpyText(names, self.instance.sizes).of(Y)

    def _text(self, A: Expr) -> str:
        try:
            return self.numpy.of(A)
        except Untold:
            return array_text(self.values.interpreter.value(A))
