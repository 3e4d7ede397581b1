"""What a program costs, as polynomials in the dimensions: operations and bytes moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sympy as sp

from mbp.expr.dims import ONE, Dim
from mbp.plan.program import Plan, Program
from mbp.plan.values.value import Form, Value

_BYTES = 8  # of a float64


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, a multiplication and an addition being two, and bytes moved.

    Factorizations count the operations that a matrix product does in the same time.
    """

    flops: sp.Expr
    bytes: sp.Expr

    def __add__(self, other: Cost) -> Cost:
        return Cost(sp.expand(self.flops + other.flops), sp.expand(self.bytes + other.bytes))

    def at(self, sizes: Mapping[str, int]) -> Cost:
        """The cost with some dimensions given."""
        values = {sp.Symbol(n, integer=True, positive=True): k for n, k in sizes.items()}
        return Cost(self.flops.subs(values), self.bytes.subs(values))


@dataclass(frozen=True)
class LayerCost:
    """The cost of a layer's passes on one sample, and the bytes kept from forward to backward."""

    forward: Cost
    backward: Cost
    saved: sp.Expr

    def at(self, sizes: Mapping[str, int]) -> LayerCost:
        """The cost with some dimensions given."""
        saved = Cost(sp.Integer(0), self.saved).at(sizes).bytes
        return LayerCost(self.forward.at(sizes), self.backward.at(sizes), saved)


def plan_cost(planned: Plan, sizes: Mapping[str, int] | None = None) -> LayerCost:
    """The cost of a plan's forward and backward passes and of what it saves.

    Matrices that are factorized count as tall, except those that are wide at `sizes`.
    """
    saved = sum((_entries(v) for v in planned.saved), sp.Integer(0))
    forward, backward = (cost(p, sizes or {}) for p in (planned.forward, planned.backward))
    return LayerCost(forward, backward, sp.expand(_BYTES * saved))


def cost(program: Program, sizes: Mapping[str, int]) -> Cost:
    """The leading-order cost of a program."""
    total = Cost(sp.Integer(0), sp.Integer(0))
    for value in program.values:
        if value.op not in _FREE and value.form is not Form.NUMBER:
            moved = _entries(value) + sum((_entries(arg) for arg in value.args), sp.Integer(0))
            total += Cost(_flops(value, sizes), _BYTES * moved)
    return total


_FREE = (
    "input", "number", "size", "item", "column", "vector", "scalar", "transpose", "as_column",
    "as_diagonal", "ones", "zeros", "eye", "indices",
)  # fmt: skip


def _entries(v: Value) -> sp.Expr:
    if v.form in (Form.NUMBER, Form.CALL) or v.op in ("ones", "zeros"):
        return sp.Integer(0)
    return v.rows if v.form is Form.DIAGONAL else v.rows * v.cols


# A factorization counts the flops that a matrix product does in its time, as measured on one
# core at n = 128 (benchmarks/factorizations.py): more than its own, which run slower.


def _decomposition(m: Dim, n: Dim, function: str) -> sp.Expr:
    if function.endswith("qr"):
        return 8 * m * n**2
    if function.endswith(("svd", "pinv")):
        return 12 * m * n**2 + 28 * n**3
    if function.endswith("cholesky"):
        return 2 * n**3
    return 20 * n**3


def _orthogonal_frame(m: Dim, n: Dim) -> sp.Expr:
    # A = QR with Q, and the singular value decomposition of the triangle R.
    return _decomposition(m, n, "qr") + _decomposition(n, n, "svd")


def _right_frame(m: Dim, n: Dim) -> sp.Expr:
    # The same without Q.
    return 4 * m * n**2 + _decomposition(n, n, "svd")


_FACTORIZATIONS: dict[str, Callable[[Dim, Dim], sp.Expr]] = {
    "orthogonal_frame": _orthogonal_frame,
    "right_frame": _right_frame,
    "range_frame": lambda m, n: _decomposition(m, n, "eigh"),
    "svd_frame": lambda m, n: _decomposition(m, n, "svd"),
    "eigh": lambda m, n: _decomposition(m, n, "eigh"),
}

_FLOPS: dict[str, Callable[[Value], sp.Expr]] = {
    "matmul": lambda v: 2 * v.rows * v.args[0].cols * v.cols,
    "spread": lambda v: _entries(v),
    "class_sums": lambda v: v.args[0].rows * v.cols,
    "cholesky": lambda v: 2 * v.rows**3,
    "lu_factor": lambda v: 2 * v.args[0].rows ** 3,
    "cholesky_inverse": lambda v: 4 * v.rows**3,
    "inverse": lambda v: 6 * v.rows**3,
    "det": lambda v: 2 * v.args[0].rows ** 3,
    "logdet": lambda v: 2 * v.args[0].rows ** 3,
    "lu_det": lambda v: v.args[0].rows,
    "lu_logdet": lambda v: v.args[0].rows,
    "cholesky_solve": lambda v: 5 * v.rows**2 * v.cols,
    "solve": lambda v: 2 * v.rows**3 + 4 * v.rows**2 * v.cols,
    "lu_solve": lambda v: 4 * v.rows**2 * v.cols,
    "triangular_solve": lambda v: 5 * v.rows**2 * v.cols / 2,
    "paths": lambda v: 3 * v.rows**3,
    "row_sum": lambda v: v.rows * v.args[0].cols,
    "sum": lambda v: v.args[0].rows * (ONE if v.args[0].form is Form.DIAGONAL else v.args[0].cols),
    "add": lambda v: _entries(v) * (len(v.args) - 1),
    "multiply": lambda v: _entries(v) * (len(v.args) - 1),
    "entrywise": lambda v: _entries(v) * max(1, int(v.data[0].count_ops())),
}


def _flops(v: Value, sizes: Mapping[str, int]) -> sp.Expr:
    if v.op == "call":
        flops = _decomposition(*_sides(v.args[0], sizes), v.data[0])
    elif v.op in _FACTORIZATIONS:
        flops = _FACTORIZATIONS[v.op](*_sides(v.args[0], sizes))
    else:
        flops = _FLOPS[v.op](v) if v.op in _FLOPS else _entries(v)
    return sp.expand(flops)


def _sides(A: Value, sizes: Mapping[str, int]) -> tuple[Dim, Dim]:
    """Rows and columns of A, for a wide one those of Aᵀ."""
    rows, cols = A.shape
    at = {sp.Symbol(n, integer=True, positive=True): k for n, k in sizes.items()}
    is_wide = (rows - cols).subs(at).is_negative
    return (cols, rows) if is_wide else (rows, cols)
