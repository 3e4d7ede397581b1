"""The numbers made of dimensions that a layer divides by, which the module is to refuse at 0."""

from __future__ import annotations

import sympy as sp

from mbp.definition import Definition
from mbp.expr.dims import Dim
from mbp.expr.nodes import DimSize, Expr, Map, Number, Scale, Sum, topological


def divisors(layer: Definition) -> list[Dim]:
    """What a layer divides by, or takes the logarithm of, that is made of its dimensions alone."""
    sizes = map(_divisor, topological(*layer.outputs.values()))
    return [size for size in dict.fromkeys(sizes) if size is not None and size.free_symbols]


def _divisor(node: Expr) -> Dim | None:
    match node:
        case Map(data=("pow",), args=(A, Number(data=(p,)))) if p < 0:
            return _size(A)
        case Map(data=("log",), args=(A,)):
            return _size(A)
    return None


def _size(A: Expr) -> Dim | None:
    """A number made of dimensions, but for what does not vanish; None for any other expression."""
    match A:
        case DimSize(data=(n,)) | Number(data=(n,)):
            return n
        case Map(data=("sqrt",), args=(B,)):
            return _size(B)
        case Scale(args=args) | Sum(args=args):
            sizes = [_size(arg) for arg in args]
            if None in sizes:
                return None
            return sp.Add(*sizes) if isinstance(A, Sum) else sp.Mul(*sizes).as_coeff_Mul()[1]
    return None
