"""How long an expression is in print: what makes one of two equal forms the more readable."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    Inner,
    Inverse,
    Kernel,
    Kron,
    KronLeft,
    KronRight,
    LogDet,
    Map,
    Named,
    Number,
    Ones,
    Output,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Var,
    Variation,
    Vec,
    Zeros,
)

_LENGTHS: dict[type[Expr], int] = {
    Var: 1, Output: 1, Variation: 3, Kernel: 1, Number: 1, DimSize: 4, Eye: 0, Ones: 3, Zeros: 1,
    Transpose: 2, Scale: 3, Inverse: 5, Det: 5, LogDet: 8, Trace: 4, Inner: 5, Diag: 6,
    DiagVec: 6, Part: 5, Stack: 8, Kron: 6, KronLeft: 11, KronRight: 12, Vec: 5, Unvec: 8,
    Frechet: 6,
}  # fmt: skip


@lru_cache(maxsize=1 << 16)
def length(e: Expr) -> int:
    """About how many characters `e` takes in print; names count as one letter."""
    if isinstance(e, Named):
        return 1
    inside = sum(length(arg) for arg in e.args)
    match e:
        case Sum():
            return inside + 3 * (len(e.args) - 1) + 2
        case Product() | Hadamard():
            return inside + 3 * (len(e.args) - 1)
        case Transpose(args=(Sum() | Product(),)):
            return inside + 6  # a reader turns all of it in the head
        case Map(data=(name, *_)):
            return inside + (6 if name == "pow" else len(name) + 2)
        case Number():
            return len(str(e.value))
        case Output() if e.data[-1] == 1:
            return inside + len(e.rule) + 2
        case Output() | Variation():
            return _LENGTHS[type(e)]
        case Scale(args=(Number(data=(-1,)), X)):
            return length(X) + 1
        case Frechet():
            return inside + 6 + (12 if e.order else 0)
    return inside + _LENGTHS[type(e)]


def shortest(candidates: Iterable[Expr]) -> Expr:
    """The shortest form, the first among equals."""
    return min(candidates, key=length)
