"""A derivation: the recorded proof of a layer's variation and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mbp.expr.nodes import Expr, Var
from mbp.definition import Definition


@dataclass(frozen=True)
class Step:
    """One line of the proof: lhs = rhs, what justifies it, and a word to the reader.

    Both sides may contain d(x) of inputs, of the expressions in `Derivation.named` and of the
    outputs; each line can be evaluated on a random admissible instance. `heading` opens a new
    part of the proof ("Step 1: …"); a line of pure text has neither side.
    """

    lhs: Expr | None
    rhs: Expr | None
    by: tuple[str, ...] = ()
    note: str = ""
    heading: str = ""


@dataclass(frozen=True)
class Derivation:
    """A layer's variation and gradients with their proof.

    variations: per output, an expression linear in d(input) (the forward-mode rule).
    gradients: per input, the projected gradient, linear in the cotangents.
    functionals: per input, the coefficient of d(input) before the projection.
    cotangents: per output, the variable G or G_Y.
    where: names for kernels and outputs of decompositions that occur in the above.
    conditions: what must hold, in the vocabulary of conditions.
    gauges: unknowns that no equation determines, and how they were fixed.
    """

    definition: Definition
    cotangents: Mapping[str, Var]
    variations: Mapping[str, Expr]
    functionals: Mapping[str, Expr]
    gradients: Mapping[str, Expr]
    where: Mapping[str, Expr] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    gauges: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
