"""The properties of `rules/invariants.toml` as objects, and the logic between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mbp.errors import PropertyError
from mbp.expr import build
from mbp.expr.nodes import Expr, Product, Sum
from mbp.expr.parser import parse
from mbp.resources import rules_table


@dataclass(frozen=True)
class Property:
    """One property of a matrix X: what it states, what follows, and its tangent projection.

    `equation` is "LHS == RHS" in X (n its number of columns); `tangent` the projection of M onto
    the variations of X that keep the property to first order (§4.2 of the paper).
    """

    name: str
    implies: tuple[str, ...] = ()
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    square: bool = False
    equation: str | None = None
    tangent: str | None = None

    def equation_of(self, X: Expr) -> tuple[Expr, Expr] | None:
        """The two sides of the equation that the property states about X."""
        if self.equation is None:
            return None
        left, right = (_with(side, X) for side in self.equation.split("=="))
        return left, right

    def varied_equation(self, X: Expr) -> tuple[Expr, Expr] | None:
        """The two sides of the equation's variation, linear in d(X)."""
        sides = self.equation_of(X)
        if sides is None:
            return None
        return _vary(sides[0], X), _vary(sides[1], X)

    @property
    def is_curved(self) -> bool:
        """Whether the admissible variations depend on X, not only on its shape."""
        return self.tangent is not None and re.search(r"\bX\b", self.tangent) is not None

    def project(self, M: Expr, X: Expr) -> Expr:
        """The orthogonal projection of M onto the admissible variations of X."""
        return M if self.tangent is None else _with(self.tangent, X, M)


def _with(text: str, X: Expr, M: Expr | None = None) -> Expr:
    n = build.var("n", 1, 1)
    template = parse(text, {"X": _X, "M": _M, "n": n})
    replacement: dict[Expr, Expr] = {_X: X, build.eye("n"): build.eye(X.cols)}
    if M is not None:
        replacement[_M] = M
    return build.substitute(template, replacement)


_X = build.var("X", "n", "n")
_M = build.var("M", "n", "n")


def _vary(side: Expr, X: Expr) -> Expr:
    # The equations are polynomial in X, so the product rule is all that is needed.
    if side is X:
        return build.variation(X)
    if X not in set(_below(side)):
        return build.zeros(*side.shape)
    if isinstance(side, Sum):
        return build.add(*(_vary(term, X) for term in side.args))
    if isinstance(side, Product):
        return build.add(
            *(
                build.matmul(*side.args[:k], _vary(factor, X), *side.args[k + 1 :])
                for k, factor in enumerate(side.args)
            )
        )
    return build.rebuild(
        side, tuple(_vary(arg, X) if not arg.is_scalar else arg for arg in side.args)
    )


def _below(root: Expr) -> Iterable[Expr]:
    from mbp.expr.nodes import topological

    return topological(root)


class Vocabulary:
    """All properties by name, with implications closed under `implies` and `with`."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._properties: dict[str, Property] = {}
        self.extend(tables)

    def extend(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds properties; raises PropertyError for a name taken, unknown, or a cycle."""
        added = {
            name: Property(
                name,
                tuple(table.get("implies", ())),
                {other: tuple(then) for other, then in table.get("with", {}).items()},
                tuple(table.get("excludes", ())),
                bool(table.get("square", False)),
                table.get("equation"),
                table.get("tangent"),
            )
            for name, table in tables.items()
        }
        for name in added:
            if name in self._properties:
                raise PropertyError(f"the property {name!r} is defined twice")
        merged = {**self._properties, **added}
        for prop in added.values():
            for other in (*prop.implies, *prop.together, *prop.excludes):
                if other not in merged:
                    raise PropertyError(
                        f"the property {prop.name!r} names an unknown one, {other!r}"
                    )
        for name in added:
            _check_acyclic(name, merged)
        self._properties = merged
        self.__dict__.pop("_stronger", None)

    def snapshot(self) -> Mapping[str, Property]:
        """The properties now, for `restore`."""
        return self._properties

    def restore(self, properties: Mapping[str, Property]) -> None:
        """Puts back what `snapshot` gave."""
        self._properties = dict(properties)
        self.__dict__.pop("_stronger", None)

    def __getitem__(self, name: str) -> Property:
        return self._properties[name]

    def __contains__(self, name: str) -> bool:
        return name in self._properties

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the rules file."""
        return tuple(self._properties)

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """Everything that follows from `names`, themselves included."""
        known: set[str] = set()
        fresh = list(names)
        while fresh:
            name = fresh.pop()
            if name in known:
                continue
            known.add(name)
            fresh.extend(self[name].implies)
            for one in known:
                for other, then in self[one].together.items():
                    if other in known:
                        fresh.extend(t for t in then if t not in known)
        return frozenset(known)

    def contradiction(self, names: Iterable[str]) -> tuple[str, str] | None:
        """Two of the properties implied by `names` that exclude each other, if there are."""
        known = self.closure(names)
        for name in self.names:
            if name in known:
                for other in self[name].excludes:
                    if other in known:
                        return name, other
        return None

    def minimal(self, names: Iterable[str]) -> tuple[str, ...]:
        """The properties of `names` that no other one of them implies, in canonical order."""
        known = self.closure(names)
        return tuple(
            name
            for name in self.names
            if name in known
            and not any(name in self.closure([other]) for other in known if other != name)
        )

    @cached_property
    def _stronger(self) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(o for o in self.names if o != name and name in self[o].implies)
            for name in self.names
        }

    def stronger(self, name: str) -> tuple[str, ...]:
        """The properties that directly imply `name`."""
        return self._stronger[name]


def _check_acyclic(start: str, properties: Mapping[str, Property]) -> None:
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            raise PropertyError(f"implications run in a circle: {' → '.join([*path, name])}")
        path.append(name)
        for other in properties[name].implies:
            visit(other)
        path.pop()

    visit(start)


VOCABULARY = Vocabulary(rules_table("invariants"))
"""The properties in force; rule packs extend it."""
