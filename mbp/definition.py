"""A layer: named inputs with declared properties, and its outputs as expressions of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mbp.expr import build, scalar
from mbp.expr.dims import dim_names
from mbp.expr.nodes import Expr, Frechet, Var, topological
from mbp.intermediates import with_intermediates
from mbp.invariants.infer import is_

_MOST_FACTORS = 64


@dataclass(frozen=True)
class Definition:
    """What a layer computes: the currency between the user's words and the deriver.

    `inputs` and `outputs` are in the order of the signature; `defaults` holds default values of
    scalar constants; `doc` is the author's sentence. An integer power of a matrix that is not
    known to be symmetric is kept as a product: only symmetric ones have an eigenframe. Outputs
    that would be too long multiplied out have their intermediates named.
    """

    name: str
    inputs: Mapping[str, Var]
    outputs: Mapping[str, Expr]
    defaults: Mapping[str, float] = field(default_factory=dict)
    doc: str = ""
    as_dict: bool = False

    def __post_init__(self) -> None:
        outputs = {name: _multiplied_out(Y) for name, Y in self.outputs.items()}
        dims = (dim_names(*x.shape) for x in self.inputs.values())
        taken = {*self.inputs, *outputs}.union(*dims)
        outputs = with_intermediates(outputs, taken)
        object.__setattr__(self, "outputs", outputs)

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The inputs that have a gradient, in order."""
        return tuple(
            name
            for name, x in self.inputs.items()
            if "constant" not in x.properties and "partition" not in x.properties
        )


def _multiplied_out(e: Expr) -> Expr:
    products: dict[Expr, Expr] = {}
    for node in topological(e):
        if not isinstance(node, Frechet) or node.order:
            continue
        factor = build.substitute(node.args[0], products)
        base, p = node.g.as_base_exp()
        power = base == scalar.X and p.is_Integer and abs(p) <= _MOST_FACTORS
        if power and not is_(factor, "symmetric"):
            factor = build.inv(factor) if p < 0 else factor
            products[node] = build.matmul(*[factor] * abs(int(p)))
    return build.substitute(e, products)
