"""Writes expressions as NumPy, for a reader to paste: no name but `np` and the letters given."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

import numpy as np
import sympy as sp
from sympy.printing.numpy import NumPyPrinter

from mbp.expr import scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    I,
    Inner,
    Inverse,
    J,
    Kernel,
    Kron,
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
    Vec,
    Zeros,
    both,
    col,
    row,
)
from mbp.numeric.arithmetic import Array

_PARTS = {
    "sym": "(({0}) + ({0}).T) / 2",
    "skew": "(({0}) - ({0}).T) / 2",
    "diag": "({0}) * np.eye(*({0}).shape)",
    "lower": "np.tril({0})",
    "strictly_lower": "np.tril({0}, -1)",
    "upper": "np.triu({0})",
    "strictly_upper": "np.triu({0}, 1)",
}

_OUTPUTS = {
    ("eig", 0): "np.linalg.eigh({0})[1]",
    ("eig", 1): "np.diag(np.linalg.eigh({0})[0])",
    ("svd", 0): "np.linalg.svd({0}, full_matrices=False)[0]",
    ("svd", 1): "np.diag(np.linalg.svd({0})[1])",
    ("svd", 2): "np.linalg.svd({0})[2].T",
    ("svd_full", 0): "np.linalg.svd({0})[0]",
    ("svd_full", 1): "np.diag(np.linalg.svd({0})[1])",
    ("svd_full", 2): "np.linalg.svd({0})[2].T",
    ("pinv", 0): "np.linalg.pinv({0}, 1e-9)",
    ("projector", 0): "({0}) @ np.linalg.pinv({0}, 1e-9)",
    ("cholesky", 0): "np.linalg.cholesky({0})",
}


class Untold(Exception):  # noqa: N818 - no fault, only a node that has no NumPy text here
    """A node that is not written as NumPy."""


class NumpyText:
    """Texts of expressions at given sizes, the nodes in `names` by their name."""

    def __init__(self, names: Mapping[Expr, str], sizes: Mapping[str, int]) -> None:
        self._done = dict(names)
        self._sizes = sizes

    def of(self, node: Expr) -> str:
        """`node` as an expression of two-dimensional arrays; raises Untold if it has no text."""
        # Every part is bracketed; unparsing drops the brackets that say nothing.
        return ast.unparse(ast.parse(self._part(node), mode="eval"))

    def _part(self, node: Expr) -> str:
        if node not in self._done:
            self._done[node] = self._written(node)
        return self._done[node]

    def size(self, n: Dim) -> int:
        """A dimension's size."""
        return int(n.xreplace({s: sp.Integer(self._sizes[s.name]) for s in n.free_symbols}))

    def _written(self, node: Expr) -> str:
        match node:
            case Number(data=(value,)):
                return f"np.array([[{float(value)!r}]])"
            case DimSize(data=(n,)):
                return f"np.array([[{self.size(n)}.0]])"
            case Eye() | Ones() | Zeros():
                return f"np.{_CONSTANTS[type(node)]}({self._shape(node)})"
            case Output(data=(rule, index, *_)) if (rule, index) in _OUTPUTS:
                return "(" + _OUTPUTS[rule, index].format(self._part(node.args[0])) + ")"
        args = [self._part(arg) for arg in node.args]
        written = _WRITTEN.get(type(node))
        if written is None:
            raise Untold
        return f"({written(self, node, args)})"

    def _shape(self, node: Expr) -> str:
        rows, cols = self.size(node.rows), self.size(node.cols)
        return str(rows) if isinstance(node, Eye) else f"({rows}, {cols})"


_CONSTANTS: dict[type[Expr], str] = {Eye: "eye", Ones: "ones", Zeros: "zeros"}


def _scalar_function(g: sp.Expr, x: str) -> str:
    printed = NumPyPrinter({"fully_qualified_modules": True}).doprint(g)
    if "Not supported" in printed or "scipy" in printed:
        raise Untold
    return f"(lambda x: {printed.replace('numpy.', 'np.')})({x})"


def _factor(c: Expr, written: str) -> str:
    """A scalar where any 1×1 array or plain number will do."""
    return f"({float(c.value)!r})" if isinstance(c, Number) else written


def _map(at: NumpyText, node: Expr, args: list[str]) -> str:
    assert isinstance(node, Map)
    if node.name == "pow":
        return f"{args[0]} ** {_factor(node.args[1], args[1])}"
    return _scalar_function(scalar.body(node.name), args[0])


def _frechet(at: NumpyText, node: Expr, args: list[str]) -> str:
    assert isinstance(node, Frechet)
    if node.order != 0 or node.parameters:
        raise Untold
    values = _scalar_function(node.g, "w")
    return f"(lambda w, V: (V * {values}) @ V.T)(*np.linalg.eigh({args[0]}))"


def _kernel(at: NumpyText, node: Expr, args: list[str]) -> str:
    assert isinstance(node, Kernel)
    if node.rows != node.cols:
        raise Untold
    named: dict[sp.Symbol, str] = {I: "np.arange(n).reshape(-1, 1)", J: "np.arange(n)"}
    for k, (operand, arg) in enumerate(zip(node.args, args, strict=True)):
        column = operand.cols == 1 and not operand.is_scalar
        named |= {row(k): arg, col(k): f"{arg}.T" if column else arg, both(k): arg}
    off = _over(node.entry, named)
    n = at.size(node.rows)
    if node.diagonal is None:
        return f"(lambda n: {off} + np.zeros((n, n)))({n})"
    on = _over(node.diagonal, named)
    return f"(lambda n: np.where(np.eye(n) == 1, {on}, {off}))({n})"


def _over(g: sp.Expr, named: Mapping[sp.Symbol, str]) -> str:
    symbols = sorted(g.free_symbols, key=lambda s: s.name)
    printed = NumPyPrinter({"fully_qualified_modules": True}).doprint(g).replace("numpy.", "np.")
    if "Not supported" in printed or "scipy" in printed:
        raise Untold
    arguments = ", ".join(named[s] for s in symbols)
    return f"(lambda {', '.join(s.name for s in symbols)}: {printed})({arguments})"


Written = Callable[[NumpyText, Expr, list[str]], str]

_WRITTEN: dict[type[Expr], Written] = {
    Named: lambda at, node, args: args[0],
    Sum: lambda at, node, args: " + ".join(args),
    Product: lambda at, node, args: " @ ".join(args),
    Scale: lambda at, node, args: f"{_factor(node.args[0], args[0])} * {args[1]}",
    Transpose: lambda at, node, args: f"{args[0]}.T",
    Hadamard: lambda at, node, args: " * ".join(args),
    Inverse: lambda at, node, args: f"np.linalg.inv({args[0]})",
    Det: lambda at, node, args: f"np.array([[np.linalg.det({args[0]})]])",
    LogDet: lambda at, node, args: f"np.array([[np.linalg.slogdet({args[0]})[1]]])",
    Trace: lambda at, node, args: f"np.array([[np.trace({args[0]})]])",
    Inner: lambda at, node, args: f"np.array([[({args[0]} * {args[1]}).sum()]])",
    Diag: lambda at, node, args: f"np.diag({args[0]}[:, 0])",
    DiagVec: lambda at, node, args: f"np.diag({args[0]}).reshape(-1, 1)",
    Part: lambda at, node, args: _PARTS[node.data[0]].format(args[0]),
    Stack: lambda at, node, args: f"np.concatenate([{', '.join(args)}], {node.data[0]})",
    Kron: lambda at, node, args: f"np.kron({args[0]}, {args[1]})",
    Vec: lambda at, node, args: f"{args[0]}.T.reshape(-1, 1)",
    Unvec: lambda at, node, args: (
        f"{args[0]}.reshape({at.size(node.cols)}, {at.size(node.rows)}).T"
    ),
    Map: _map,
    Frechet: _frechet,
    Kernel: _kernel,
}


def array_text(A: Array, digits: int = 12) -> str:
    """An array as NumPy reads it back, whole numbers short."""
    rows = [", ".join(f"{float(x):.{digits}g}" for x in row) for row in np.asarray(A)]
    return f"np.array([{', '.join(f'[{row}]' for row in rows)}], dtype=float)"
