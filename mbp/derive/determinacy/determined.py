"""Whether equations determine their outputs, counted in numbers at random points of small sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sympy as sp

from mbp.decomposition import Decomposition
from mbp.errors import MbpError
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Var, Variation, variables
from mbp.invariants.vocabulary import VOCABULARY

if TYPE_CHECKING:
    from mbp.derive.determinacy.variety import Variety

_STARTS = 12
_TOLERANCE = 1e-8


def flaw(definition: Decomposition, outputs: tuple[Var, ...], known: set[Var]) -> str | None:
    """Why the equations do not determine `outputs` where they hold, if they do not.

    `known` are outputs that are determined already; of the equations those take part that hold
    no others.
    """
    import numpy as np

    there = known | set(outputs)
    sides = tuple(
        pair for pair in definition.equations if set(definition.outputs) & _inside(pair) <= there
    )
    inside = {x for pair in sides for x in _inside(pair)}
    kept = tuple(y for y in definition.outputs if y in there)
    inputs = tuple(x for x in definition.inputs if x in inside)
    whole = replace(definition, inputs=inputs, outputs=kept, equations=sides)
    names = ", ".join(y.name for y in outputs)
    empty: list[str] = []
    varieties = list(_varieties(whole))
    for variety in varieties:
        try:
            values = variety.point(np.random.default_rng(0), _STARTS)
        except MbpError as error:
            empty.append(str(error))
            continue
        given = (*inputs, *(y for y in kept if y in known))
        last = replace(variety, definition=replace(whole, inputs=given, outputs=outputs))
        if len(last.gauge(values)):
            return f"the equations leave {names} free: under-determined"
        if variety.restricted(values):
            return f"the equations for {names} restrict the inputs: inconsistent"
    return empty[0] if len(empty) == len(varieties) else None


def residual(definition: Decomposition, variations: Mapping[str, Expr]) -> float:
    """The largest residual of the varied equations with `variations`, relative to their terms.

    nan where a variation is not finite at a random point.
    """
    import numpy as np

    from mbp.numeric.evaluate import evaluate

    found = [0.0]
    for variety in _varieties(definition):
        try:
            values = variety.point(np.random.default_rng(0), _STARTS)
        except MbpError:
            continue
        along = np.random.default_rng(1).normal(size=len(N := variety.tangents(values))) @ N
        changes = variety.split(along)
        env: dict[Any, Any] = {**variety.sizes, **values}
        env |= {Variation(x): changes[x] for x in definition.inputs}
        changes |= {y: evaluate(variations[y.name], env) for y in definition.outputs}
        size = float(np.max([1.0, *(np.abs(X).max() for X in changes.values())]))
        found.append(float(np.abs(variety.varied(values, changes)).max()) / size)
    return float(np.max(found))  # unlike `max`, it keeps nan


def moves(definition: Decomposition, output: Var) -> bool:
    """Whether the output varies at all where the equations hold."""
    import numpy as np

    variety = next(_varieties(definition))
    try:
        values = variety.point(np.random.default_rng(0), _STARTS)
    except MbpError:
        return False
    tangents = variety.tangents(values)
    return any(np.abs(variety.split(row)[output]).max() > _TOLERANCE for row in tangents)


def _inside(sides: tuple[Expr, Expr]) -> set[Var]:
    return {*variables(sides[0]), *variables(sides[1])}


def _varieties(definition: Decomposition) -> Iterator[Variety]:
    from mbp.derive.determinacy.variety import Variety  # numbers count what no frame could show

    for sizes in small_sizes(definition):
        yield Variety(definition, sizes, _rank(definition, sizes))


def _rank(definition: Decomposition, sizes: dict[str, int]) -> int:
    """A rank for the matrices of declared rank: what a letter of full rank says, or 1."""
    ranked = definition.constant_rank | {x for pair in definition.equal_rank for x in pair}
    letters = (*definition.inputs, *definition.outputs)
    outer = {n for x in letters if x.name in ranked for n in x.shape}
    for x in letters:
        for name, side in (("full_column_rank", x.cols), ("full_row_rank", x.rows)):
            if name in VOCABULARY.closure(x.properties) and (x.name in ranked or side not in outer):
                return int(side.subs({n: sizes[n.name] for n in side.free_symbols}))
    return 1


def small_sizes(definition: Decomposition) -> list[dict[str, int]]:
    """Small numbers for the dimension names: rising by 1, and in the other order by 2.

    Without a gap, n = k + 1 would make equations determine a vector that are not enough for more.
    """
    letters = (*definition.inputs, *definition.outputs)
    names = sorted({s for x in letters for n in x.shape for s in n.free_symbols}, key=str)
    at_least = dimension_order(definition)
    found = []
    for gap, order in ((1, names), (2, names[::-1])):
        sizes: dict[str, int] = {}
        for n in sorted(order, key=lambda n: sum(at_least(n, other) for other in names)):
            sizes[n.name] = 2 + gap * len(sizes)
        found.append(sizes)
    return found


def dimension_order(definition: Decomposition) -> Callable[[Dim, Dim], bool]:
    """`at_least(a, b)`: whether dimensions are known to satisfy a >= b."""
    known = set(definition.at_least)
    for x in (*definition.inputs, *definition.outputs):
        properties = VOCABULARY.closure(x.properties)
        if {"orthonormal_columns", "full_column_rank"} & properties:
            known.add(x.shape)
        if "full_row_rank" in properties:
            known.add(x.shape[::-1])

    def at_least(a: Dim, b: Dim) -> bool:
        if a == b or sp.sympify(a - b).is_nonnegative:
            return True
        reached = {a}
        while fresh := {q for p, q in known if p in reached} - reached:
            reached |= fresh
        return b in reached

    return at_least
