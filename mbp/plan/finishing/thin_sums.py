"""Computes a sum of thin products as one product of their factors, joined."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from mbp.expr.dims import ONE
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Form, Value, shared, topological


def with_joined_factors(graph: Graph, programs: Sequence[Sequence[Value]]) -> dict[Value, Value]:
    """What stands for each value of the programs once A B + u vᵀ is [A u][B; vᵀ].

    So no term is formed for itself. Only products that nothing else uses are joined, and only
    where the joined factors have fewer entries than the sum. A program is given by its results.
    """
    new: dict[Value, Value] = {}
    kept: set[Value] = set()
    in_common = shared(programs)
    for v in topological(result for results in programs for result in results):
        new[v] = graph.rebuilt(v, tuple(new[arg] for arg in v.args))
        if v.op == "add" and v.form is Form.MATRIX:
            new[v] = _joined(graph, new[v], kept)
        if v in in_common:
            kept.add(new[v])
    return new


def _joined(graph: Graph, total: Value, kept: set[Value]) -> Value:
    """The sum with its thin products as one, and what repeats along its columns with them."""
    factors: list[tuple[Value, Value]] = []
    pair: tuple[Value, Value] | None
    rest: list[Value] = []
    for term in total.args:
        if term.shape == (ONE, total.cols) and total.rows != ONE:
            pair = graph.make("ones", shape=(total.rows, ONE)), term
        else:
            pair = _factors(graph, term, kept) if term.shape == total.shape else None
        if pair is None:
            rest.append(term)
        else:
            factors.append(pair)
    inner = sum(graph.size(left.cols) for left, _ in factors)
    rows, cols = graph.size(total.rows), graph.size(total.cols)
    if len(factors) < 2 or (rows + cols) * inner > rows * cols:
        return total
    width = sum((left.cols for left, _ in factors), sp.Integer(0))
    left = graph.make("stack", *(a for a, _ in factors), data=(1,), shape=(total.rows, width))
    right = graph.make("stack", *(b for _, b in factors), data=(0,), shape=(width, total.cols))
    return graph.add(graph.make("matmul", left, right, shape=total.shape), *rest)


def _factors(graph: Graph, term: Value, kept: set[Value]) -> tuple[Value, Value] | None:
    """The factors of a product that only one sum uses, a coefficient in the smaller of them."""
    if term in kept:
        return None
    match term.op:
        case "scale":
            pair = _factors(graph, term.args[1], kept)
            if pair is None:
                return None
            left, right = pair
            if graph.size(left.rows) <= graph.size(right.cols):
                return graph.scale(term.args[0], left), right
            return left, graph.scale(term.args[0], right)
        case "transpose":
            pair = _factors(graph, term.args[0], kept)
            return pair and (graph.transpose(pair[1]), graph.transpose(pair[0]))
        case "matmul" | "outer":
            left, right = term.args
            return graph.dense(left), graph.dense(right)
    return None
