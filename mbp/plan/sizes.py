"""The sizes that programs are ordered at."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from mbp.derive.derivation import Derivation
from mbp.expr.dims import ONE
from mbp.expr.nodes import topological


def representative_sizes(
    derivation: Derivation, sizes: Mapping[str, int] | None = None
) -> dict[sp.Symbol, int]:
    """A size for each dimension: rows of tall inputs large, classes of a partition few.

    Inputs are taken to be tall, unless of full row rank, so that X (m×n) and B (n×k) make m the
    largest and k the least; where two contradict each other the first is believed.
    """
    inputs = list(derivation.definition.inputs.values())
    used = {n for x in inputs for n in x.shape if n.is_Symbol}
    for node in topological(*derivation.definition.outputs.values()):
        used |= node.rows.free_symbols | node.cols.free_symbols
    narrower: dict[sp.Symbol, set[sp.Symbol]] = {n: set() for n in used}
    classes: set[sp.Symbol] = set()
    for x in inputs:
        rows, cols = x.shape[::-1] if "full_row_rank" in x.properties else x.shape
        if rows != cols and rows.is_Symbol and cols != ONE:
            narrower[rows] |= {n for n in cols.free_symbols if not _is_below(narrower, n, rows)}
            if "partition" in x.properties:
                classes |= cols.free_symbols

    def height(n: sp.Symbol) -> int:
        return max((1 + height(k) for k in narrower[n]), default=0)

    chosen = {n: SIDE * _TALL ** height(n) for n in used}
    chosen |= dict.fromkeys(classes, _CLASSES)
    return {n: (sizes or {}).get(n.name, chosen[n]) for n in chosen}


def _is_below(narrower: Mapping[sp.Symbol, set[sp.Symbol]], n: sp.Symbol, rows: sp.Symbol) -> bool:
    """Whether `rows` is known to be no larger than n."""
    return n == rows or any(_is_below(narrower, k, rows) for k in narrower[n])


SIDE, _TALL, _CLASSES = 64, 16, 8
"""The sizes that programs are ordered at: a matrix's side, rows over columns, classes."""
