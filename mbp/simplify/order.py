"""One total order of expressions, the same in every run, that decides between equal forms."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mbp.expr.nodes import (
    DimSize,
    Expr,
    Eye,
    Kernel,
    Named,
    Number,
    Ones,
    Output,
    Transpose,
    Var,
    Variation,
    topological,
)

Key = tuple[Any, ...]

_RANKS: dict[type[Expr], int] = {
    Number: 0, DimSize: 1, Var: 2, Output: 3, Variation: 4, Kernel: 5, Eye: 7, Ones: 8,
}  # fmt: skip
_OTHERS = 6


def order(e: Expr) -> Key:
    """The sort key of `e`: simple expressions first, then by name."""
    if e.args and not _order.cache_info().currsize:
        for node in topological(e):
            _order(node)
    return _order(e)


@lru_cache(maxsize=1 << 17)
def _order(e: Expr) -> Key:
    if isinstance(e, Transpose):
        return (*_order(e.args[0]), 1)
    if isinstance(e, Named):
        return (_RANKS[Var], type(e).__name__, str(e.data), 0)
    rank = _RANKS.get(type(e), _OTHERS)
    return (rank, type(e).__name__, str(e.data), len(e.args), *(_order(arg) for arg in e.args))
