"""In whose terms a definition is solved: an output or its transpose, with what is stated of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mbp.decomposition import Decomposition
from mbp.expr import build
from mbp.expr.nodes import Expr, Var
from mbp.invariants.vocabulary import VOCABULARY

Pairs = tuple[tuple[Expr, Expr], ...]

_TURNED = {"lower_triangular": "upper_triangular", "upper_triangular": "lower_triangular",
           "full_column_rank": "full_row_rank", "full_row_rank": "full_column_rank",
           "invertible": "invertible"}  # fmt: skip
"""The properties of a transpose, for outputs whose transposes are tried."""


@dataclass(frozen=True)
class Restated:
    """A definition in the unknowns that it is solved for, and the way back to its outputs.

    `unknowns` has the unknown of each output, and the output in terms of it.
    """

    definition: Decomposition
    unknowns: Mapping[Var, tuple[Var, Expr]]

    def back(self, e: Expr) -> Expr:
        """`e` in the outputs."""
        # An unknown is its output or the output's transpose, so that the same turn leads back.
        return build.substitute(e, {
            x: build.substitute(there, {x: y}) for y, (x, there) in self.unknowns.items()
        })

    def variation(self, y: Var, variations: Mapping[str, Expr]) -> Expr:
        """The variation of an output, given those of the unknowns by name."""
        x, there = self.unknowns[y]
        dy = self.back(variations[x.name])
        return dy if there is x else build.transpose(dy)


def restated(definition: Decomposition) -> Restated:
    """`definition` in its unknowns, without the equations that became properties of them."""
    unknowns = {y: _unknown(y, definition.equations) for y in definition.outputs}
    names: dict[Expr, Expr] = {y: there for y, (_, there) in unknowns.items()}
    letters = tuple(x for x, _ in unknowns.values())
    equations = tuple(
        pair for pair in _substituted(definition.equations, names)
        if not any(_is_unit_diagonal(pair, x) for x in letters)
    )
    return Restated(replace(definition, outputs=letters, equations=equations), unknowns)


def _unknown(y: Var, equations: Pairs) -> tuple[Var, Expr]:
    """The unknown in whose terms an output is solved, and the output as an expression of it.

    It has the properties that the defining equations state in so many words. Orthonormal rows
    and a unit upper triangle are those of the transpose.
    """
    stated = _stated(y, equations)
    if set(y.properties) <= set(_TURNED) and not stated:
        turned = build.var(
            f"{y.name}t", y.cols, y.rows, tuple(_TURNED[name] for name in y.properties)
        )
        found = _stated(turned, _substituted(equations, {y: build.transpose(turned)}))
        if found:
            letter = build.var(turned.name, *turned.shape, (*turned.properties, *found))
            return letter, build.transpose(letter)
    letter = build.var(y.name, *y.shape, tuple(dict.fromkeys([*y.properties, *stated])))
    return letter, letter


def _substituted(equations: Pairs, names: dict[Expr, Expr]) -> Pairs:
    return tuple(
        (build.substitute(left, names), build.substitute(right, names))
        for left, right in equations
    )


def _stated(x: Var, equations: Pairs) -> list[str]:
    """The properties that the equations state of x, where they state all that these imply."""
    stated = {
        name for name in VOCABULARY.names
        if (x.is_square or not VOCABULARY[name].square)
        and (sides := VOCABULARY[name].equation_of(x)) is not None
        and any(sides in (pair, pair[::-1]) for pair in equations)
    }
    if any(_is_unit_diagonal(pair, x) for pair in equations):
        stated.add("unit_lower_triangular")
    known = stated | VOCABULARY.closure(x.properties)
    # XX = X alone does not make X symmetric: what else the property says must be stated as well.
    return [
        name for name in sorted(stated)
        if all(
            VOCABULARY[other].equation is None or other in known
            for other in VOCABULARY.closure([name]) - {name}
        )
    ]


def _is_unit_diagonal(pair: tuple[Expr, Expr], x: Var) -> bool:
    """Whether the pair says what makes a lower triangular x unit lower triangular."""
    return "lower_triangular" in VOCABULARY.closure(x.properties) and any(
        (build.diagpart(side), build.eye(x.rows)) in (pair, pair[::-1])
        for side in (x, build.transpose(x))
    )
