"""A layer: named inputs with declared properties, and its outputs as expressions of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mbp.expr.nodes import Expr, Var


@dataclass(frozen=True)
class Definition:
    """What a layer computes: the currency between the user's words and the deriver.

    `inputs` and `outputs` are in the order of the signature; `defaults` holds default values of
    scalar constants; `doc` is the author's sentence.
    """

    name: str
    inputs: Mapping[str, Var]
    outputs: Mapping[str, Expr]
    defaults: Mapping[str, float] = field(default_factory=dict)
    doc: str = ""
    as_dict: bool = False

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The inputs that have a gradient, in order."""
        return tuple(
            name
            for name, x in self.inputs.items()
            if "constant" not in x.properties and "partition" not in x.properties
        )
