"""What a claim is: a setting of letters, two sides or a gradient; and what a verdict says."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import sympy as sp

from mbp.definition import Definition
from mbp.errors import MbpError, ShapeError
from mbp.expr.dims import ONE, Dim, dim_names, shape_text
from mbp.expr.nodes import Data, Expr, Map, Shape, Var, Variation, topological
from mbp.expr.parser import parse
from mbp.expr.text import text
from mbp.rulebook import RULEBOOK


class Kind(StrEnum):
    """The five verdicts, from best to worst."""

    HOLDS = "holds"
    HOLDS_WHEN = "holds when"
    PROJECTION = "holds up to a projection"
    WRONG = "wrong"
    ILL_FORMED = "ill-formed"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one claim.

    conditions: what must hold besides the declarations, in the vocabulary of conditions.
    error: the largest relative error of the two sides; None where they cannot be compared.
    correct: the right formula, where the claimed one is not.
    mend: the one slip that explains the fault, with the mended formula.
    counterexample: a NumPy program that shows the two sides differ, or the shapes that do.
    by: what the judgement rests on.
    """

    kind: Kind
    conditions: tuple[str, ...] = ()
    error: float | None = None
    correct: str | None = None
    mend: str | None = None
    counterexample: str | None = None
    by: str = ""

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return self.kind.value

    @property
    def holds(self) -> bool:
        """Whether the formula holds without any structural condition."""
        return self.kind is Kind.HOLDS

    def data(self) -> dict[str, object]:
        """The verdict as plain values, by the keys of the command line's contract."""
        return {
            "verdict": self.verdict,
            "conditions": list(self.conditions),
            "error": self.error,
            "correct": self.correct,
            "mend": self.mend,
            "counterexample": self.counterexample,
        }

    def __str__(self) -> str:
        from mbp.referee.present import verdict_text

        return verdict_text(self)


class Measure(Map):
    """A number read off a matrix that has no variation: its rank, its spectral norm."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return ONE, ONE


def _measure(name: str) -> Callable[[Expr], Expr]:
    return lambda A: Measure(A, data=(name,))


MEASURES: Mapping[str, Callable[..., Expr]] = {
    name: _measure(name) for name in ("rank", "norm2")
}


@dataclass(frozen=True, eq=False)
class Setting:
    """The variables, outputs, cotangents and letters that a claim's texts may speak of.

    gradients: for each variable grad_X the input whose true gradient it stands for.
    assumed: pairs of dimensions of which the first is stated not to be less than the second.
    """

    inputs: Mapping[str, Var]
    outputs: Mapping[str, Expr] = field(default_factory=dict)
    cotangents: Mapping[str, Expr] = field(default_factory=dict)
    letters: Mapping[str, Expr] = field(default_factory=dict)
    gradients: Mapping[Expr, str] = field(default_factory=dict)
    assumed: tuple[tuple[Dim, Dim], ...] = ()

    @property
    def names(self) -> dict[str, Expr]:
        """Every letter of the texts with what it stands for."""
        cotangents = {G.name: G for G in self.cotangents.values() if isinstance(G, Var)}
        derived = {x.name: x for x in self.gradients if isinstance(x, Var)}
        return {**self.letters, **self.outputs, **cotangents, **derived, **self.inputs}

    @property
    def definition(self) -> Definition:
        """The layer that the setting speaks of."""
        return Definition("claimed", self.inputs, self.outputs)

    def parse(self, text: str) -> Expr:
        """The expression written in `text`.

        Raises ShapeError where shapes do not conform, MbpError for anything else that is wrong.
        """
        expr = parse(text, self.names, {**RULEBOOK.functions, **MEASURES})
        known = set(dim_names(*(n for x in self.inputs.values() for n in x.shape)))
        for node in topological(expr):
            for name in dim_names(*node.shape):
                if name not in known:
                    raise MbpError(
                        f"no variable has the dimension {name}", text=text, column=0
                    )
            if isinstance(node, Variation):
                if any(isinstance(inside, Variation) for inside in topological(node.args[0])):
                    raise MbpError("d(…) of a variation has no meaning here", text=text, column=0)
                if any(isinstance(inside, Measure) for inside in topological(node.args[0])):
                    raise MbpError("a rank or a spectral norm is not varied", text=text, column=0)
        return expr


@dataclass(frozen=True)
class Comparison:
    """Two scalars and how they are said to compare."""

    lhs: Expr
    relation: str
    rhs: Expr


RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
}


@dataclass(frozen=True, eq=False)
class Claim:
    """One formula to judge.

    A gradient in the input `wrt` has no `target`; everything else says target `relation` formula,
    where the premise `given` holds if there is one. `text` is the formula as it was written.
    """

    setting: Setting
    formula: Expr
    text: str
    target: Expr | None = None
    wrt: str | None = None
    relation: str = "=="
    given: Comparison | None = None

    def __post_init__(self) -> None:
        shape = self.variable.shape if self.target is None else self.target.shape
        if self.formula.shape != shape:
            what = f"the gradient in {self.wrt}" if self.target is None else "the left side"
            raise ShapeError(
                f"{what} is {shape_text(*shape)}, but the formula is "
                f"{shape_text(*self.formula.shape)}",
                text=self.text,
                column=0,
            )

    @property
    def variable(self) -> Var:
        """The input of a claimed gradient."""
        assert self.wrt is not None
        return self.setting.inputs[self.wrt]

    @property
    def sides(self) -> tuple[Expr, ...]:
        """All expressions that the claim compares or supposes."""
        premise = () if self.given is None else (self.given.lhs, self.given.rhs)
        target = tuple(self.setting.outputs.values()) if self.target is None else (self.target,)
        return (*target, self.formula, *premise)

    @property
    def variations(self) -> tuple[Variation, ...]:
        """Every d(…) that the claim speaks of."""
        return tuple(node for node in topological(*self.sides) if isinstance(node, Variation))

    @property
    def differentiated(self) -> tuple[Expr, ...]:
        """The expressions, other than inputs, whose derivative the claim is about."""
        found = [v.args[0] for v in self.variations if not isinstance(v.args[0], Var)]
        if self.target is None or self.names_gradients:
            found += self.setting.outputs.values()
        return tuple(dict.fromkeys(found))

    @property
    def names_gradients(self) -> bool:
        """Whether a side speaks of the true gradient in an input, as grad_X."""
        return any(node in self.setting.gradients for node in topological(*self.sides))

    @property
    def expressions(self) -> tuple[Expr, ...]:
        """Everything that must have a value, inputs included."""
        return (*self.sides, *self.differentiated, *self.setting.inputs.values())

    @property
    def printed(self) -> str:
        """The formula in the letters that were written, with one number before each term."""
        tree = ast.parse(self.text.strip(), mode="eval")
        written = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        letters = {A: name for name, A in self.setting.names.items() if name in written}
        return text(self.formula, letters)

    def mended(self, text: str) -> Claim:
        """The same claim with another formula; raises MbpError when that cannot be read."""
        return Claim(
            self.setting, self.setting.parse(text), text, self.target, self.wrt, self.relation,
            self.given,
        )  # fmt: skip


def dimension_symbols(inputs: Iterable[Var]) -> tuple[sp.Symbol, ...]:
    """The named dimensions of some inputs, sorted by name."""
    found = {s for x in inputs for n in x.shape for s in n.free_symbols}
    return tuple(sorted(found, key=lambda s: s.name))


def spoken_of(claim: Claim) -> list[Var]:
    """The inputs that the claim's two sides, or its derivatives, depend on."""
    below = set(topological(*claim.sides, *claim.differentiated))
    return [x for x in claim.setting.inputs.values() if x in below]
