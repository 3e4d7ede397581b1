"""Says what a layer costs: operations, bytes moved and bytes kept, as formulas and in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sympy as sp

from mbp.derive.derivation import Derivation
from mbp.errors import MbpError
from mbp.plan.choice import layer_cost
from mbp.plan.cost import LayerCost


def parsed_sizes(text: str, derivation: Derivation) -> dict[str, int]:
    """Sizes written as m=196,d=64; raises MbpError for what is no size of the layer."""
    known = sizes_of(derivation)
    sizes: dict[str, int] = {}
    for item in text.split(","):
        name, equals, number = (part.strip() for part in item.partition("="))
        if not equals or not number.isdigit() or int(number) == 0:
            raise MbpError(f"--at {item!r} is no size; write it as {known[0]}=64")
        if name not in known:
            raise MbpError(f"--at {item!r}: the layer's dimensions are {', '.join(known)}")
        sizes[name] = int(number)
    return sizes


def sizes_of(derivation: Derivation) -> list[str]:
    """The names of a layer's dimensions."""
    inputs = derivation.definition.inputs.values()
    return sorted({n.name for x in inputs for side in x.shape for n in side.free_symbols})


def cost_lines(derivation: Derivation, sizes: Mapping[str, int] | None = None) -> Iterator[str]:
    """The cost of one sample, as formulas and for `sizes`."""
    yield "Cost of one sample in float64, to leading order, factorizations by their time"
    yield from _formulas(layer_cost(derivation))
    if sizes:
        yield f"at {', '.join(f'{name} = {size}' for name, size in sizes.items())}"
        yield from _formulas(layer_cost(derivation, sizes).at(sizes))


def _formulas(cost: LayerCost) -> Iterator[str]:
    for name, part in (("forward", cost.forward), ("backward", cost.backward)):
        yield f"    {name:8}  {formula(part.flops)} flops, {formula(part.bytes)} bytes moved"
    yield f"    {'saved':8}  {formula(cost.saved)} bytes"


def formula(polynomial: sp.Expr) -> str:
    """A polynomial in the dimensions, or a number with its thousands apart."""
    if polynomial.is_number:
        return f"{round(float(polynomial)):,}".replace(",", " ")
    return str(polynomial)


def cost_table(derivation: Derivation, sizes: Mapping[str, int] | None = None) -> dict[str, object]:
    """The same for programs."""
    cost = layer_cost(derivation, sizes)
    if sizes:
        cost = cost.at(sizes)
    return {
        "forward": {"flops": str(cost.forward.flops), "bytes": str(cost.forward.bytes)},
        "backward": {"flops": str(cost.backward.flops), "bytes": str(cost.backward.bytes)},
        "saved": str(cost.saved),
        "at": dict(sizes or {}),
    }
