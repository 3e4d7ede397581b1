"""Chooses among the plans of one map: other definitions of it, other orders for other shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy as sp

from mbp.derive.derivation import Derivation
from mbp.derive.deriver import derive
from mbp.derive.deriver import second as derive_second
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr
from mbp.invariants.infer import declared
from mbp.plan.cost import LayerCost, plan_cost
from mbp.plan.kronecker import of_kronecker
from mbp.plan.program import SIDE, Plan, Wide, planned, representative_sizes
from mbp.plan.push_through import pushed_through


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
    at = representative_sizes(derivation, sizes)
    cheaper = of_kronecker(derivation.definition)
    found = None
    if cheaper is not derivation.definition:
        other = derive(cheaper)
        if set(other.gradients) == set(derivation.gradients):
            found = planned(other, second and derive_second(other), sizes, has_lu)
            found = replace(found, derivation=derivation, second_derivation=second)
    found = found or planned(derivation, second, sizes, has_lu)
    found = _through_vectors(found, sizes, has_lu) or found
    if sizes is not None:
        return found
    wide = _by_definition(derivation, has_lu) or _by_order(found, derivation, at, has_lu)
    return replace(found, wide=wide)


def layer_cost(derivation: Derivation, sizes: Mapping[str, int] | None = None) -> LayerCost:
    """The cost of a derived layer as it is emitted, planned for `sizes` or for m ≫ d.

    With sizes for which the layer is wide, that of the plan for wide inputs, if there is one.
    """
    found = plan(derivation)
    if sizes is not None and found.wide is not None:
        rows, *cols = (sizes.get(n.name) for n in (found.wide.rows, *found.wide.cols))
        if rows is not None and all(n is not None and rows < n for n in cols):
            return plan_cost(found.wide.plan)
    return plan_cost(plan(derivation, None, sizes) if sizes else found)


def _through_vectors(found: Plan, sizes: Mapping[str, int] | None, has_lu: bool) -> Plan | None:
    """The plan with functions of x xᵀ + εI taken through xᵀx, which no shape makes larger.

    Second derivatives are those of the definition as given.
    """
    derivation = found.derivation
    pushed = pushed_through(derivation.definition)
    if pushed is None or pushed.shape[0] != ONE:
        return None
    other = derive(pushed.definition)
    if set(other.gradients) != set(derivation.gradients):
        return None
    return replace(
        planned(other, None, sizes, has_lu),
        derivation=derivation,
        second_derivation=found.second_derivation,
        second=found.second_alone,
        second_variation=found.second_variation_alone,
        second_alone=found.second_alone,
        second_variation_alone=found.second_variation_alone,
    )


def _by_definition(derivation: Derivation, has_lu: bool) -> Wide | None:
    """The plan for inputs of the other shape, where another definition of the map is cheaper."""
    pushed = pushed_through(derivation.definition)
    if pushed is None:
        return None
    rows, cols = pushed.shape
    if not (rows.is_Symbol and cols.is_Symbol):
        return None
    sizes = {rows.name: SIDE, cols.name: _WIDE * SIDE}
    definition = of_kronecker(pushed.definition)
    other = derive(definition)
    if set(other.gradients) != set(derivation.gradients):
        return None
    # The other definition may hide that something does not vary.
    other = replace(
        other,
        gradients=_zero_as(derivation.gradients, other.gradients),
        variations=_zero_as(derivation.variations, other.variations),
    )
    return Wide(planned(other, None, sizes, has_lu), rows, (cols,))


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
    sides: dict[Dim, list[Dim]] = {}
    for rows, cols in dict.fromkeys(tall):
        sides.setdefault(rows, []).append(cols)
    alone = [(rows, (n,)) for rows, columns in sides.items() for n in columns]
    together = [(rows, tuple(columns)) for rows, columns in sides.items() if len(columns) > 1]
    for choices in (alone, together):
        best, least = None, sp.Rational(1, 2)
        for rows, cols in choices:
            sizes = {n.name: size for n, size in at.items()} | {rows.name: SIDE}
            sizes |= {n.name: SIDE * _WIDE if n in cols else SIDE // _WIDE for n in sides[rows]}
            other = planned(derivation, None, sizes, has_lu)
            before, after = _flops(found, sizes), _flops(other, sizes)
            if after < least * before:
                best, least = Wide(other, rows, cols), after / before
        if best is not None:
            return best
    return None


_WIDE = 8
"""The columns to a row of wide inputs, at which plans for them are ordered."""


def _flops(plan: Plan, sizes: Mapping[str, int]) -> sp.Expr:
    cost = plan_cost(plan, sizes).at(sizes)
    flops = cost.forward.flops + cost.backward.flops
    return flops.subs(dict.fromkeys(flops.free_symbols, SIDE // _WIDE))  # ranks


def _zero_as(known: Mapping[str, Expr], other: Mapping[str, Expr]) -> dict[str, Expr]:
    return {name: known[name] if build.is_zero(known[name]) else A for name, A in other.items()}
