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
from mbp.numeric.arithmetic import FLOAT64, Array
from mbp.numeric.instances import Curve
from mbp.referee.conditions import NOTHING, Trial
from mbp.referee.numpy_text import NumpyText, Untold, array_text
from mbp.referee.sampling import moving_only, sample
from mbp.referee.statement import Claim
from mbp.referee.witness import Status, Values, outcome
from mbp.verify.differences import Instance, directional_derivatives

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
    kernels = any("np.where" in line for line in program)
    tools = ["import functools"] * any("functools" in line for line in program)
    quiet = ["np.seterr(divide='ignore', invalid='ignore')  # on diagonals not used"] * kernels
    return "\n".join([*tools, "import numpy as np", *quiet, *arrays, *program])


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
            *before, derivative = self._derivative(Y, still, name)
            yield from before
            yield f"left += np.sum({weight}{derivative})"
        yield from self._letters(self.claim.formula)
        yield f"right = np.sum(({self._text(self.claim.formula)}) * d{x.name})  # as claimed"

    def _sides(self, target: Expr) -> Iterator[str]:
        below = set(topological(*(v.args[0] for v in self.claim.variations)))
        for x, dX in self.instance.direction.items():
            if x in below:
                self.names[Variation(x)] = f"d{x.name}"
                yield f"d{x.name} = {array_text(dX)}"
        varied = [v for v in self.claim.variations if not isinstance(v.args[0], Var)]
        known = {A: name for name, A in self.claim.setting.names.items()}
        for k, v in enumerate(varied):
            name = known.get(v.args[0], f"Y{k + 1}" if len(varied) > 1 else "Y")
            *before, derivative = self._derivative(v.args[0], self.instance, name)
            yield from before
            yield f"d_{name} = {derivative}  # the derivative along the direction"
            self.names[v] = f"d_{name}"
        yield from self._letters(target, self.claim.formula)
        yield f"left = {self._text(target)}"
        yield f"right = {self._text(self.claim.formula)}"

    def _letters(self, *sides: Expr) -> Iterator[str]:
        """The claim's letters that its sides speak of, each in those before it."""
        names = {A: name for name, A in self.claim.setting.names.items()
                 if A.args and A not in sides and name not in self.names.values()}  # fmt: skip
        for A in topological(*sides):
            if A in names:
                yield f"{names[A]} = {self._text(A)}"
                self.names[A] = names[A]

    def _derivative(self, Y: Expr, instance: Instance, name: str) -> list[str]:
        """What defines a function of the moving letters, and its difference quotient."""
        moving = [x for x, dX in instance.direction.items() if np.any(dX) and x in topological(Y)]
        if self._is_plain(Y, instance):
            try:
                plain: dict[Expr, str] = {x: x.name for x in instance.point}
                body = NumpyText(plain, instance.sizes).of(Y)
                arguments = ", ".join(x.name for x in moving)
                ahead, behind = (
                    ", ".join(f"{x.name} {sign} h * d{x.name}" for x in moving) for sign in "+-"
                )
            except Untold:
                pass
            else:
                return [
                    f"def f_{name}({arguments}): return {body}",
                    f"h = {_STEP}",
                    f"(f_{name}({ahead}) - f_{name}({behind})) / (2 * h)",
                ]
        (dY,) = directional_derivatives([Y], instance)
        return [array_text(dY)]

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

    def _text(self, A: Expr) -> str:
        try:
            return NumpyText(self.names, self.instance.sizes).of(A)
        except Untold:
            return array_text(self.values.interpreter.value(A))
