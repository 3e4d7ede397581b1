"""The polynomial equations that are solved: the defining ones, and what properties state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.derive.implicit.polynomial import Polynomial, add, polynomial, properties, scaled
from mbp.errors import MbpError
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Part, variables
from mbp.invariants import infer
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Equation:
    """An undifferentiated equation p = 0, left = right, with what states it.

    Of a `diagonal` equation only the diagonal of p vanishes. An equation that is no polynomial
    in the unknowns says so as its `obstacle`.
    """

    p: Polynomial
    left: Expr
    right: Expr
    source: str
    diagonal: bool = False
    obstacle: str = ""

    @property
    def rows(self) -> Dim:
        """The equation's rows."""
        return self.left.rows

    @property
    def cols(self) -> Dim:
        """The equation's columns."""
        return self.left.cols


def equation(
    left: Expr, right: Expr, source: str, unknown: frozenset[Expr], merge: bool = False
) -> Equation:
    """left = right as a polynomial in letters, products of known factors merged with `merge`."""
    inside = [
        side.args[0] if isinstance(side, Part) and side.kind == "diag"
        and not unknown.isdisjoint(variables(side)) else side
        for side in (left, right)
    ]
    # A diagonal equated with what is diagonal says nothing about the other entries.
    diagonal = any(X is not side for X, side in zip(inside, (left, right), strict=True)) and all(
        X is not side or infer.has(side, "diagonal")
        for X, side in zip(inside, (left, right), strict=True)
    )
    try:
        first, second = (
            polynomial(X, unknown, merge) for X in (inside if diagonal else (left, right))
        )
    except MbpError as error:
        return Equation({}, left, right, source, diagonal, str(error))
    return Equation(add(first, scaled(sp.Integer(-1), second)), left, right, source, diagonal)


def invariants(x: Expr, unknown: frozenset[Expr]) -> Iterator[Equation]:
    """The polynomial equations that the properties of x state; patterns of zeros are not."""
    seen = set()
    for name in sorted(properties(x)):
        if name in ("symmetric", "antisymmetric"):
            continue
        sides = VOCABULARY[name].equation_of(x)
        if sides is None or sides in seen:
            continue
        seen.add(sides)
        e = equation(*sides, f"{x} {name}", unknown | {x})
        if e.p and not e.diagonal:
            yield e
