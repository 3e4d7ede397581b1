"""Chooses among the plans of one map: other definitions of it, other orders for other shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import sympy as sp

from mbp.definition import Definition
from mbp.derive.derivation import Derivation
from mbp.derive.deriver import derive
from mbp.derive.deriver import second as derive_second
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr
from mbp.invariants.infer import declared
from mbp.plan.cost import LayerCost, plan_cost
from mbp.plan.definitions.kronecker import of_kronecker
from mbp.plan.definitions.push_through import Pushed, pushed_through
from mbp.plan.program import Plan, Wide, planned
from mbp.plan.sizes import SIDE, representative_sizes


def plan(
    derivation: Derivation,
    second: Derivation | None = None,
    sizes: Mapping[str, int] | None = None,
    has_lu: bool = True,
) -> Plan:
    """The programs of a derived layer, ordered for the given sizes or for m ≫ d.

    Without sizes, a cheaper plan for wide inputs comes with it. `second` is the derivation of the
    backward pass: inputs and cotangents ↦ gradients; `has_lu` says whether the target can keep an
    LU factorization. Raises MbpError for an expression that no target computes.
    """
    found = _as_defined(derivation, second, sizes, has_lu)
    pushed = pushed_through(derivation.definition)
    if pushed is not None and _is_of_vectors(pushed):
        found, pushed = _through_vectors(found, pushed, sizes, has_lu), None
    if sizes is not None:
        return found
    at = representative_sizes(derivation)
    wide = None if pushed is None else _by_definition(derivation, pushed, has_lu)
    if wide is None:
        wide = _by_order(found, derivation, at, has_lu)
    elif _are_wide(wide.shapes, at):  # `found` then never runs for the sizes that it is ordered at
        found = _for_the_other_shapes(found, wide, has_lu)
    return replace(found, wide=wide)


def _for_the_other_shapes(found: Plan, wide: Wide, has_lu: bool) -> Plan:
    """The plan ordered for what `wide` leaves to it; second derivatives alone remain as found."""
    sizes = _sizes_of(wide.shapes, is_wide=False)
    other = _as_defined(found.derivation, found.second_derivation, sizes, has_lu)
    return replace(
        other,
        second_alone=found.second_alone,
        second_variation_alone=found.second_variation_alone,
        hints={**found.hints, **other.hints},
    )


def _as_defined(
    derivation: Derivation,
    second: Derivation | None,
    sizes: Mapping[str, int] | None,
    has_lu: bool,
) -> Plan:
    """The programs of the definition as it stands, Kronecker products aside."""
    cheaper = of_kronecker(derivation.definition)
    other = None if cheaper is derivation.definition else _derived(cheaper, derivation)
    if other is None:
        return planned(derivation, second, sizes, has_lu)
    found = planned(other, second and derive_second(other), sizes, has_lu)
    return replace(found, derivation=derivation, second_derivation=second)


def _derived(definition: Definition, derivation: Derivation) -> Derivation | None:
    """The derivation of another definition of the map, if the same inputs have a gradient."""
    other = derive(definition)
    return other if set(other.gradients) == set(derivation.gradients) else None


def layer_cost(derivation: Derivation, sizes: Mapping[str, int] | None = None) -> LayerCost:
    """The cost of a derived layer as it is emitted, planned for `sizes` or for m ≫ d.

    With sizes for which the layer is wide, that of the plan for wide inputs, if there is one.
    """
    found = plan(derivation)
    if sizes is not None and found.wide is not None:
        at = {n: sizes[n.name] for n in representative_sizes(derivation) if n.name in sizes}
        if _are_wide(found.wide.shapes, at):
            return plan_cost(found.wide.plan)
    return plan_cost(plan(derivation, None, sizes) if sizes else found)


def _through_vectors(
    found: Plan, pushed: Pushed, sizes: Mapping[str, int] | None, has_lu: bool
) -> Plan:
    """The plan with functions of x xᵀ + εI taken through xᵀx, which no shape makes larger.

    Second derivatives are those of the definition as given.
    """
    derivation = found.derivation
    other = _derived(pushed.definition, derivation)
    if other is None:
        return found
    return replace(
        planned(other, None, sizes, has_lu),
        derivation=derivation,
        second_derivation=found.second_derivation,
        second=found.second_alone,
        second_variation=found.second_variation_alone,
        second_alone=found.second_alone,
        second_variation_alone=found.second_variation_alone,
    )


def _is_of_vectors(pushed: Pushed) -> bool:
    """Whether the smaller matrices are numbers for any shape."""
    return all(rows == ONE for rows, _ in pushed.shapes)


def _by_definition(derivation: Derivation, pushed: Pushed, has_lu: bool) -> Wide | None:
    """The plan for inputs of the other shape, where another definition of the map is cheaper."""
    other = _derived(of_kronecker(pushed.definition), derivation)
    if other is None:
        return None
    # The other definition may hide that something does not vary.
    other = replace(
        other,
        gradients=_zero_as(derivation.gradients, other.gradients),
        variations=_zero_as(derivation.variations, other.variations),
    )
    return Wide(planned(other, None, _sizes_of(pushed.shapes), has_lu), pushed.shapes)


def _are_wide(shapes: Iterable[tuple[Dim, Dim]], at: Mapping[sp.Symbol, int]) -> bool:
    """Whether each of the shapes has fewer rows than columns."""
    return all(sp.sympify(rows.subs(at) < cols.subs(at)) == sp.true for rows, cols in shapes)


def _sizes_of(shapes: Iterable[tuple[Dim, Dim]], is_wide: bool = True) -> dict[str, int]:
    """Sizes at which the shapes are all wide, or all tall."""
    small, large = SIDE, _WIDE * SIDE
    sizes: dict[str, int] = {}
    for rows, cols in shapes:
        sizes |= {n.name: small if is_wide else large for n in rows.free_symbols}
        sizes[cols.name] = large if is_wide else small
    return sizes


def _by_order(
    found: Plan, derivation: Derivation, at: Mapping[sp.Symbol, int], has_lu: bool
) -> Wide | None:
    """The plan for wide inputs, where it takes less than half of what the tall one takes there.

    It asks for as few dimensions to be wide as it can.
    """
    tall = [
        x.shape
        for x in derivation.definition.inputs.values()
        if all(n.is_Symbol for n in x.shape) and at[x.rows] > at[x.cols]
        and "partition" not in declared(x)
    ]  # fmt: skip
    shapes = list(dict.fromkeys(tall))
    alone = [(shape,) for shape in shapes]
    stacked = [
        ((sp.Add(*(rows for rows, _ in together)), together[0][1]),)
        for together in _gathered(shapes, 1)
    ]
    for choices in (alone, _gathered(shapes, 0), stacked):
        best, least = None, sp.Rational(1, 2)
        for wide in choices:
            sizes = {n.name: size for n, size in at.items()}
            sizes |= {n.name: SIDE // _WIDE for rows, n in shapes if rows == wide[0][0]}
            sizes |= _sizes_of(wide)
            other = planned(derivation, None, sizes, has_lu)
            before, after = _flops(found, sizes), _flops(other, sizes)
            if after < least * before:
                best, least = Wide(other, wide), after / before
        if best is not None:
            return best
    return None


def _gathered(shapes: list[tuple[Dim, Dim]], side: int) -> list[tuple[tuple[Dim, Dim], ...]]:
    """The shapes that have one side in common, where there are several."""
    sides = dict.fromkeys(shape[side] for shape in shapes)
    found = (tuple(shape for shape in shapes if shape[side] == n) for n in sides)
    return [together for together in found if len(together) > 1]


_WIDE = 8
"""The columns to a row of wide inputs, at which plans for them are ordered."""


def _flops(plan: Plan, sizes: Mapping[str, int]) -> sp.Expr:
    cost = plan_cost(plan, sizes).at(sizes)
    flops = cost.forward.flops + cost.backward.flops
    return flops.subs(dict.fromkeys(flops.free_symbols, SIDE // _WIDE))  # ranks


def _zero_as(known: Mapping[str, Expr], other: Mapping[str, Expr]) -> dict[str, Expr]:
    return {name: known[name] if build.is_zero(known[name]) else A for name, A in other.items()}
