"""What a decomposition is: inputs, outputs with invariants, defining equations, assumptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mbp.errors import MbpError, RuleError
from mbp.expr.dims import Dim, dim, shape_text
from mbp.expr.nodes import Expr, Output, Var, variables
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.resources import rules_table

_RANK_CONSTANT = re.compile(r"rank\(\s*(\w+)\s*\)\s+constant")
_RANK_EQUAL = re.compile(r"rank\(\s*(\w+)\s*\)\s*==\s*rank\(\s*(\w+)\s*\)")
_COMPARISON = re.compile(r"(\w+)\s*(>=|<=)\s*(\w+)")


@dataclass(frozen=True)
class Decomposition:
    """An implicitly defined map; `assumes` holds dimension and rank predicates only."""

    name: str
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    equations: tuple[tuple[Expr, Expr], ...]
    assumes: tuple[str, ...] = ()
    constant_rank: frozenset[str] = field(default=frozenset(), compare=False)
    equal_rank: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    at_least: frozenset[tuple[Dim, Dim]] = field(default=frozenset(), compare=False)
    file: str = field(default="", compare=False)

    def refusal(self, reason: str) -> RuleError:
        """The error that refuses this definition, by file and name."""
        return RuleError(f"{_place(self.name, self.file)}: {reason}")


def read_decomposition(name: str, table: Mapping[str, Any]) -> Decomposition:
    """The decomposition `name` written as in `rules/decompositions.toml`.

    Raises RuleError, naming the entry, for missing keys, unknown names, shapes that disagree,
    predicates that are not understood and outputs that no equation mentions.
    """
    file = table.get("file", "")
    place = _place(name, file)
    try:
        inputs = tuple(declare(key, text) for key, text in table["input"].items())
        outputs = tuple(declare(key, text) for key, text in table["output"].items())
        names = {x.name: x for x in (*inputs, *outputs)}
        if not isinstance(table["defines"], list):
            raise MbpError("defines is a list of equations, as in defines = ['L @ L.T = A']")
        equations = tuple(_equation(text, names) for text in table["defines"])
    except KeyError as error:
        raise RuleError(f"{place}: the key {error} is missing") from None
    except MbpError as error:
        raise RuleError(f"{place}: {error}") from None
    found = Decomposition(name, inputs, outputs, equations, file=file)
    for y in outputs:
        if not any(y in variables(*sides) for sides in equations):
            raise found.refusal(f"no equation determines the output {y.name}")
    for left, right in equations:
        if set(outputs).isdisjoint(variables(left, right)):
            raise found.refusal(f"the equation {left} = {right} holds no output")
    constant, equal, order = set(), [], set()
    for predicate in table.get("assumes", ()):
        if match := _RANK_CONSTANT.fullmatch(predicate.strip()):
            constant.add(match[1])
        elif match := _RANK_EQUAL.fullmatch(predicate.strip()):
            equal.append((match[1], match[2]))
        elif match := _COMPARISON.fullmatch(predicate.strip()):
            pair = (dim(match[1]), dim(match[3]))
            order.add(pair if match[2] == ">=" else pair[::-1])
        else:
            raise found.refusal(
                f"the assumption {predicate!r} is not understood; known are 'm >= n', "
                "'rank(A) constant' and 'rank(P) == rank(A)'"
            )
    for letter in [*constant, *(x for pair in equal for x in pair)]:
        if letter not in names:
            raise found.refusal(f"an assumption names {letter!r}, which is not declared")
    return Decomposition(
        name, inputs, outputs, equations, tuple(table.get("assumes", ())),
        frozenset(constant), tuple(equal), frozenset(order), file,
    )


def outputs_of(role: str, *inputs: Expr) -> tuple[Expr, ...]:
    """The outputs at `inputs` of the built-in decomposition that has a `role` for the solver.

    Roles: "eigenframe" (frame, spectrum), "singular_frames" (left, spectrum, right) and
    "generalized_inverse".
    """
    tables = rules_table("decompositions").items()
    name, table = next((name, table) for name, table in tables if table.get("role") == role)
    declared = [declare(key, text) for key, text in table["input"].items()]
    dims: dict[Dim, Dim] = {}
    for x, value in zip(declared, inputs, strict=True):
        dims |= dict(zip(x.shape, value.shape, strict=True))
    letters = [declare(key, text) for key, text in table["output"].items()]
    return tuple(
        Output(*inputs, data=(
            name, k, y.name, y.rows.xreplace(dims), y.cols.xreplace(dims), y.properties,
            len(letters),
        ))
        for k, y in enumerate(letters)
    )


def _place(name: str, file: str) -> str:
    return f"{file}: [{name}]" if file else f"decomposition {name!r}"


def _equation(text: str, names: Mapping[str, Expr]) -> tuple[Expr, Expr]:
    sides = text.replace("==", "=").split("=")
    if len(sides) != 2:
        raise MbpError(f"{text!r} is not an equation 'left = right'")
    left, right = (parse(side, names) for side in sides)
    if left.shape != right.shape:
        raise MbpError(
            f"the equation {text!r} sets a {shape_text(*left.shape)} matrix equal to "
            f"a {shape_text(*right.shape)} one"
        )
    return left, right
