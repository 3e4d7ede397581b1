"""The vocabulary of conditions that a formula may need besides its declarations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from mbp.expr import build
from mbp.expr.nodes import Var
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Has:
    """`X symmetric`: the value of the variable has one property more, its variation has not."""

    name: str
    prop: str

    def __str__(self) -> str:
        return f"{self.name} {self.prop}"


@dataclass(frozen=True)
class Varies:
    """`dX symmetric`: the variation has the property."""

    name: str
    prop: str

    def __str__(self) -> str:
        return f"d{self.name} {self.prop}"


@dataclass(frozen=True)
class Sizes:
    """`m = n` or `m >= n`."""

    left: sp.Symbol
    relation: str
    right: sp.Symbol

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


Condition = Has | Varies | Sizes


@dataclass(frozen=True)
class Trial:
    """A set of conditions to try, as what it makes of each variable."""

    conditions: tuple[Condition, ...] = ()

    def declared(self, x: Var) -> Var:
        """`x` with the properties that the conditions add."""
        return self._with(x, self._properties(Has, x))

    def varied(self, x: Var) -> Var | None:
        """`x` as its variation is restricted, if that is otherwise than its declaration says."""
        props = self._properties(Varies, x)
        return self._with(x, props) if props else None

    def allows_singular(self, x: Var) -> bool:
        """Whether the conditions make x semidefinite, its boundary included."""
        return any(
            isinstance(c, Has) and c.name == x.name and c.prop == "positive_semidefinite"
            for c in self.conditions
        )

    def equal(self) -> Mapping[str, str]:
        """Names of dimensions that stand for the same size as another."""
        found: dict[str, str] = {}
        for c in self._sizes():
            if c.relation == "=":
                first = found.get(c.left.name, c.left.name)
                found = {one: first if other == c.right.name else other
                         for one, other in found.items()}  # fmt: skip
                found[c.right.name] = first
        return found

    def admits(self, sizes: Mapping[str, int]) -> bool:
        """Whether the sizes satisfy what the conditions say of them."""
        return all(
            sizes[c.left.name] >= sizes[c.right.name]
            for c in self._sizes()
            if c.left.name in sizes and c.right.name in sizes
        )

    def _sizes(self) -> Iterable[Sizes]:
        return (c for c in self.conditions if isinstance(c, Sizes))

    def _properties(self, kind: type[Has] | type[Varies], x: Var) -> list[str]:
        return [c.prop for c in self.conditions if isinstance(c, kind) and c.name == x.name]

    def _with(self, x: Var, props: Iterable[str]) -> Var:
        names = {*x.properties, *props}
        ordered = tuple(name for name in VOCABULARY.names if name in names)
        return build.var(x.name, x.rows, x.cols, ordered)


NOTHING = Trial()
