"""How a built-in layer is declared: its outputs have letters, its call gives them in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mbp.api import Layer, layer
from mbp.expr.nodes import Expr


def lettered(**declarations: str) -> Callable[[Callable[..., dict[str, Expr]]], Layer]:
    """Decorator like `mbp.layer`: of the letters' dict a call gives the values, one or a tuple."""

    def made(function: Callable[..., dict[str, Expr]]) -> Layer:
        definition = layer(**declarations)(function).definition
        return Layer(replace(definition, as_dict=False))

    return made
