"""How large a layer's terms are before they cancel: what rounding errors are relative to."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Hadamard,
    Inner,
    Kron,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Vec,
    topological,
)

_MULTIPLIED = (Hadamard, Inner, Kron, Product, Scale)
_ADDED = (Diag, DiagVec, Part, Stack, Sum, Trace, Transpose, Unvec, Vec)


def magnitude(Y: Expr, norms: Mapping[Expr, float]) -> float:
    """The norm that Y could have if nothing cancelled in its sums and products.

    `norms` are those of the values of Y and all below it; what is neither a sum nor a product
    counts as it is.
    """
    found: dict[Expr, float] = {}
    for node in topological(Y):
        sizes = [found[arg] for arg in node.args]
        if isinstance(node, _MULTIPLIED):
            found[node] = prod(sizes)
        elif isinstance(node, _ADDED):
            found[node] = sum(sizes)
        else:
            found[node] = norms[node]
    return found[Y]
