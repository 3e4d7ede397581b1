"""Symbolic matrix dimensions: positive integer SymPy expressions such as m, 3, m + n, m*n."""

from __future__ import annotations

import keyword
from functools import cache
from typing import TypeAlias

import sympy as sp

from mbp.errors import ShapeError

Dim: TypeAlias = sp.Expr
ONE: Dim = sp.Integer(1)


@cache
def dim(value: str | int | sp.Expr) -> Dim:
    """The dimension named or counted by `value`.

    Raises ShapeError for anything but a positive integer or a name.
    """
    if isinstance(value, str):
        factors = value.split("*")
        if len(factors) > 1:
            return sp.expand(sp.Mul(*(dim(factor) for factor in factors)))
        if value.isidentifier() and not keyword.iskeyword(value):
            return sp.Symbol(value, integer=True, positive=True)
        if not value.isdecimal():
            raise ShapeError(
                f"{value!r} is not a dimension: use a positive integer or a name that is no keyword"
            )
        value = int(value)
    if isinstance(value, int):
        if value <= 0:
            raise ShapeError(f"dimension {value} is not positive")
        return sp.Integer(value)
    return sp.expand(value)


def dim_names(*dims: Dim) -> list[str]:
    """The names that occur in `dims`, sorted."""
    return sorted({symbol.name for d in dims for symbol in d.free_symbols})


def shape_text(rows: Dim, cols: Dim) -> str:
    """A shape as an error message shows it: `m×d`."""
    return f"{rows}×{cols}"
