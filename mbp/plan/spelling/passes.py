"""The expressions of each pass, spelled so that nothing cancels or is factored twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.plan.lowering.ranges import of_factors
from mbp.plan.spelling.complements import (
    complemented,
    projected_squares,
    with_complements,
    with_squares,
)
from mbp.plan.spelling.determinants import with_determinants
from mbp.plan.spelling.multiples import Multiples
from mbp.plan.spelling.residual import Projected, projected_factors, residual_form, with_residuals
from mbp.simplify import simplify


@dataclass(frozen=True)
class Passes:
    """What each pass computes, by the pass and by name; `outputs` are the layer's own.

    `residuals` are differences that are formed, because what they expand to would cancel; those of
    `projected` wherever they occur in a product; of the projectors in `complemented` I − Π is
    applied, not expanded.
    """

    expressions: Mapping[str, Mapping[str, Expr]]
    outputs: tuple[Expr, ...]
    residuals: frozenset[Expr]
    projected: Projected
    complemented: frozenset[Expr]

    @property
    def roots(self) -> tuple[Expr, ...]:
        """The expressions of all passes."""
        return tuple(e for found in self.expressions.values() for e in found.values())


def spelled(outputs: Mapping[str, Expr], others: Mapping[str, Mapping[str, Expr]]) -> Passes:
    """The passes of a layer as they are to be computed: forward, of `outputs`, and `others`."""
    squares, residuals = projected_squares(outputs.values())
    multiples = Multiples()
    forward: dict[str, Expr] = {}
    for name, Y in outputs.items():
        without, formed = residual_form(with_squares(Y, squares))
        least = with_determinants(without if formed or squares else simplify(Y))
        forward[name] = multiples.rewritten(least)
        residuals |= {multiples.rewritten(R) for R in formed}
    passes: dict[str, dict[str, Expr]] = {}
    for kind, part in {"forward": forward, **others}.items():
        passes[kind] = {}
        for name, e in part.items():
            least = with_determinants(with_squares(of_factors(e), squares))
            factored = multiples.rewritten(least)
            passes[kind][name], formed = with_residuals(factored)
            residuals |= formed
    own = tuple(passes["forward"].values())
    left = complemented(e for part in passes.values() for e in part.values())
    if left:
        passes = {
            kind: {name: with_complements(e) for name, e in part.items()}
            for kind, part in passes.items()
        }
    projected = projected_factors((e for part in passes.values() for e in part.values()), left)
    residuals |= {build.matmul(C, *X) for C, words in projected.items() for X in words}
    return Passes(passes, own, residuals, projected, left)
