"""Evaluates expressions to numbers: an interpreter of every node, independent of all algebra.

Nothing here derives or simplifies; each node is computed from its definition in
`mbp.expr.nodes`, in float64 or in mpmath's arithmetic of any precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp

from mbp.errors import MbpError, ShapeError
from mbp.expr import scalar
from mbp.expr.dims import ONE, Dim, shape_text
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
    Vec,
    Zeros,
    both,
    col,
    row,
)
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, Array
from mbp.numeric.decompositions import outputs_of
from mbp.numeric.divided import DividedDifference

Environment = Mapping[Any, Any]
"""Values of nodes (variables, variations, whatever is to be fixed) and, by name, dimensions."""


def evaluate(expr: Expr, env: Environment, arithmetic: Arithmetic = FLOAT64) -> Array:
    """The value of `expr` (rows×cols; a scalar is 1×1) where `env` fixes some of its nodes.

    `env` maps nodes to arrays and names of dimensions to integers; dimensions that an array
    shows need not be given. Raises MbpError for a variable, variation or dimension without a
    value, ShapeError when an array does not have its node's shape.
    """
    return Interpreter(env, arithmetic).value(expr)


def evaluate_all(
    exprs: Iterable[Expr], env: Environment, arithmetic: Arithmetic = FLOAT64
) -> list[Array]:
    """The values of several expressions; raises what `evaluate` does."""
    return Interpreter(env, arithmetic).values(exprs)


class Interpreter:
    """Values of expressions in one environment; what they share is computed once."""

    def __init__(self, env: Environment, arithmetic: Arithmetic = FLOAT64) -> None:
        self.arithmetic = arithmetic
        self.dims: dict[str, int] = {k: int(v) for k, v in env.items() if isinstance(k, str)}
        self._sizes: dict[Dim, int] = {}
        self._decompositions: dict[Any, tuple[Array, ...]] = {}
        fixed = {node: given for node, given in env.items() if isinstance(node, Expr)}
        self._values: dict[Expr, Array] = {
            node: _oriented(arithmetic.matrix(given), node) for node, given in fixed.items()
        }
        for node, value in self._values.items():
            for dim, size in zip(node.shape, value.shape, strict=True):
                if dim.is_Symbol:
                    self.dims.setdefault(dim.name, size)
        for node, value in self._values.items():
            if (self.size(node.rows), self.size(node.cols)) != value.shape:
                raise ShapeError(
                    f"{node} is {shape_text(*node.shape)} with {self.dims}, "
                    f"but its value is {shape_text(*map(sp.Integer, value.shape))}"
                )

    def size(self, dim: Dim) -> int:
        """The integer that a symbolic dimension stands for; raises MbpError if unknown."""
        if dim not in self._sizes:
            value = dim.xreplace(
                {s: sp.Integer(self.dims[s.name]) for s in dim.free_symbols if s.name in self.dims}
            )
            if not value.is_Integer:
                raise MbpError(f"the dimension {value} has no value")
            self._sizes[dim] = int(value)
        return self._sizes[dim]

    def value(self, expr: Expr) -> Array:
        """The value of `expr`."""
        stack = [expr]
        while stack:
            node = stack[-1]
            if node in self._values:
                stack.pop()
                continue
            missing = [arg for arg in node.args if arg not in self._values]
            if missing and type(node) in _RULES:
                stack.extend(missing)
                continue
            self._values[node] = self._compute(node)
            stack.pop()
        return self._values[expr]

    def values(self, exprs: Iterable[Expr]) -> list[Array]:
        """The values of several expressions."""
        return [self.value(expr) for expr in exprs]

    def _compute(self, node: Expr) -> Array:
        rule = _RULES.get(type(node))
        if rule is None:
            raise MbpError(f"{node} has no value: give one in the environment")
        return rule(self, node, *(self._values[arg] for arg in node.args))

    def outputs(self, node: Output, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """All outputs of the decomposition that `node` is one of."""
        key = node.rule, node.args
        if key not in self._decompositions:
            self._decompositions[key] = outputs_of(
                node, inputs, self.arithmetic, self.dims, evaluate_all
            )
        return self._decompositions[key]

    def scalar(self, x: Any) -> Array:
        """A number as a 1×1 matrix."""
        return self.arithmetic.matrix([[x]])


def _oriented(value: Array, node: Expr) -> Array:
    # A list of numbers arrives as a column; it may stand for a row or for a diagonal.
    if value.shape[1] == 1 and node.cols != ONE and node.rows == ONE:
        return value.T
    return value


_RULES: dict[type[Expr], Callable[..., Array]] = {
    Number: lambda at, node: at.scalar(at.arithmetic.number(node.value)),
    DimSize: lambda at, node: at.scalar(at.size(node.data[0])),
    Eye: lambda at, node: at.arithmetic.eye(at.size(node.rows)),
    Ones: lambda at, node: at.arithmetic.matrix(np.ones((at.size(node.rows), at.size(node.cols)))),
    Zeros: lambda at, node: at.arithmetic.zeros(at.size(node.rows), at.size(node.cols)),
    Named: lambda at, node, X: X,
    Sum: lambda at, node, *terms: sum(terms[1:], terms[0]),
    Product: lambda at, node, *factors: reduce(lambda A, B: A @ B, factors),
    Scale: lambda at, node, c, X: c[0, 0] * X,
    Transpose: lambda at, node, A: A.T,
    Hadamard: lambda at, node, *factors: reduce(lambda A, B: A * B, factors),
    Inverse: lambda at, node, A: at.arithmetic.inverse(A),
    Det: lambda at, node, A: at.scalar(at.arithmetic.determinant(A)),
    Trace: lambda at, node, A: at.scalar(np.trace(A)),
    Inner: lambda at, node, A, B: at.scalar((A * B).sum()),
    Diag: lambda at, node, v: _diagonal(at, v),
    DiagVec: lambda at, node, A: np.diagonal(A).reshape(-1, 1),
    Part: lambda at, node, A: _PARTS[node.kind](A),
    Stack: lambda at, node, *blocks: np.concatenate(blocks, axis=node.data[0]),
    Kron: lambda at, node, A, B: np.kron(A, B),
    KronLeft: lambda at, node, G, B: np.einsum("ipjq,pq->ij", _blocks(G, B.shape), B),
    KronRight: lambda at, node, A, G: np.einsum(
        "ipjq,ij->pq", G.reshape(A.shape[0], -1, A.shape[1], G.shape[1] // A.shape[1]), A
    ),
    Vec: lambda at, node, A: A.T.reshape(-1, 1),
    Unvec: lambda at, node, x: x.reshape(at.size(node.cols), at.size(node.rows)).T,
    Output: lambda at, node, *inputs: at.outputs(node, inputs)[node.index],
}

_PARTS: dict[str, Callable[[Array], Array]] = {
    "sym": lambda A: (A + A.T) / 2,
    "skew": lambda A: (A - A.T) / 2,
    "diag": lambda A: _where(A, lambda i, j: i == j),
    "lower": lambda A: _where(A, lambda i, j: i >= j),
    "strictly_lower": lambda A: _where(A, lambda i, j: i > j),
    "upper": lambda A: _where(A, lambda i, j: i <= j),
    "strictly_upper": lambda A: _where(A, lambda i, j: i < j),
}


def _where(A: Array, kept: Callable[[Array, Array], Array]) -> Array:
    return np.where(kept(*np.indices(A.shape)), A, 0 * A)


def _blocks(G: Array, shape: tuple[int, ...]) -> Array:
    return G.reshape(G.shape[0] // shape[0], shape[0], G.shape[1] // shape[1], shape[1])


def _diagonal(at: Interpreter, v: Array) -> Array:
    D = at.arithmetic.zeros(len(v), len(v))
    np.fill_diagonal(D, v[:, 0])
    return D


def _logdet(at: Interpreter, node: Expr, A: Array) -> Array:
    log = at.arithmetic.entrywise(sp.log(scalar.X), (scalar.X,))
    return np.asarray(log(at.scalar(abs(at.arithmetic.determinant(A)))))


def _map(at: Interpreter, node: Expr, A: Array, *exponent: Array) -> Array:
    assert isinstance(node, Map)
    if not exponent:
        return np.asarray(at.arithmetic.entrywise(scalar.body(node.name), (scalar.X,))(A))
    return at.arithmetic.power(A, exponent[0][0, 0])


def _kernel(at: Interpreter, node: Expr, *operands: Array) -> Array:
    assert isinstance(node, Kernel)
    shape = at.size(node.rows), at.size(node.cols)
    i, j = np.indices(shape)
    symbols: list[sp.Symbol] = [I, J]
    arrays: list[Array] = [i, j]
    for k, (operand, value) in enumerate(zip(node.args, operands, strict=True)):
        if operand.is_scalar:
            symbols.append(row(k))
            arrays.append(np.broadcast_to(value, shape))
        elif operand.cols == ONE:
            symbols += [row(k), col(k)]
            # Operands of a rectangular kernel may be as long as its rows or as its columns only.
            arrays += [value[np.minimum(index, len(value) - 1), 0] for index in (i, j)]
        else:
            symbols.append(both(k))
            arrays.append(value)
    off = np.ones(shape, dtype=bool) if node.diagonal is None else i != j
    result = at.arithmetic.zeros(*shape)
    for where, body in ((off, node.entry), (~off, node.diagonal)):
        if body is not None and where.any():
            function = at.arithmetic.entrywise(body, tuple(symbols))
            result[where] = function(*(array[where] for array in arrays))
    return result


def _frechet(at: Interpreter, node: Expr, A: Array, *rest: Array) -> Array:
    assert isinstance(node, Frechet)
    count = len(node.parameters)
    parameters = [c[0, 0] for c in rest[:count]]
    eigenvalues, U = at.arithmetic.eigh(A)
    difference = DividedDifference(node.g, at.arithmetic, parameters)
    values = list(eigenvalues[:, 0])
    frames = [U.T @ X @ U for X in rest[count:]]
    n, p = len(values), node.order
    table = at.arithmetic.zeros(1, n ** (p + 1)).reshape((n,) * (p + 1))
    for path in np.ndindex(*table.shape):
        table[path] = difference(*(values[k] for k in path))
    if p == 0:
        return (U * table) @ U.T
    # Sum over the inner indices of the path from i to j, one direction for each of its steps.
    for k, Y in enumerate(frames):
        table = table * Y.reshape((1,) * k + (n, n) + (1,) * (p - 1 - k))
    return np.asarray(U @ table.sum(axis=tuple(range(1, p))) @ U.T)


_RULES[LogDet] = _logdet
_RULES[Map] = _map
_RULES[Kernel] = _kernel
_RULES[Frechet] = _frechet
