"""Applies A ⊗ B factor by factor.

A matrix of nq rows is n blocks of q rows; row (j, b) of it is row b of block j.
"""

from __future__ import annotations

from mbp.plan.values.algebra import Algebra
from mbp.plan.values.value import Form, Value, Word


def applied(graph: Algebra, K: Value, X: Value) -> Value:
    """(A ⊗ B) X = (A ⊗ I)(I ⊗ B) X in the cheaper order (Matrix Cookbook (511), (520)).

    A is m×n, B p×q and X nq×c.
    """
    A, B = K.args
    c = graph.size(X.cols)
    within = cost_within(graph, B, X) + _flops(graph, A) * graph.size(B.rows) * c
    across = cost_across(graph, A, X) + _flops(graph, B) * graph.size(A.rows) * c
    if within <= across:
        return across_blocks(graph, A, within_blocks(graph, B, X))
    return within_blocks(graph, B, across_blocks(graph, A, X))


def within_blocks(graph: Algebra, B: Value, X: Value) -> Value:
    """(I ⊗ B) X, B times each block of X: p×q and nq×c give np×c."""
    done = graph.dense(graph.product(_within(graph, B, X)))
    return graph.transpose(graph.with_rows(done, X.cols))


def across_blocks(graph: Algebra, A: Value, X: Value) -> Value:
    """(A ⊗ I) X, the blocks of X combined by A: m×n and nq×c give mq×c."""
    done = graph.dense(graph.product(_across(graph, A, X)))
    return graph.with_cols(done, X.cols)


def cost_within(graph: Algebra, B: Value, X: Value) -> float:
    """The flops of (I ⊗ B) X, none where it exists already."""
    rows, turned = _within(graph, B, X)
    exists = graph.known((rows, turned)) is not None
    return 0.0 if exists else _flops(graph, B) * graph.size(rows.rows)


def cost_across(graph: Algebra, A: Value, X: Value) -> float:
    """The flops of (A ⊗ I) X, none where it exists already."""
    _, blocks = _across(graph, A, X)
    exists = graph.known((A, blocks)) is not None
    return 0.0 if exists else _flops(graph, A) * graph.size(blocks.cols)


def _within(graph: Algebra, B: Value, X: Value) -> Word:
    return graph.with_cols(graph.transpose(X), B.cols), graph.transpose(B)


def _across(graph: Algebra, A: Value, X: Value) -> Word:
    return A, graph.with_rows(X, A.cols)


def flops(graph: Algebra, K: Value) -> float:
    """The flops of A ⊗ B applied to a column."""
    A, B = K.args
    a, b = _flops(graph, A), _flops(graph, B)
    n, p, m, q = (graph.size(side) for side in (A.cols, B.rows, A.rows, B.cols))
    return min(b * n + a * p, a * q + b * m)


def _flops(graph: Algebra, A: Value) -> float:
    """The flops of a factor applied to a column."""
    if A.form is Form.KRONECKER:
        return flops(graph, A)
    if A.form is Form.DIAGONAL:
        return 0.0 if A.op == "ones" else float(graph.size(A.rows))
    return 2.0 * graph.size(A.rows) * graph.size(A.cols)
