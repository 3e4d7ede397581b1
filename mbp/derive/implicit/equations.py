"""The polynomial equations that are solved: the defining ones, and what properties state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.derive.implicit.polynomial import Polynomial, add, polynomial, properties, scaled
from mbp.errors import MbpError
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Equation:
    """An undifferentiated equation p = 0, left = right, with what states it.

    An equation that is no polynomial in the unknowns says so as its `obstacle`.
    """

    p: Polynomial
    left: Expr
    right: Expr
    source: str
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
    try:
        first, second = (polynomial(X, unknown, merge) for X in (left, right))
    except MbpError as error:
        return Equation({}, left, right, source, str(error))
    return Equation(add(first, scaled(sp.Integer(-1), second)), left, right, source)


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
        if e.p:
            yield e
