"""Moves scalar factors to where they multiply the fewest entries."""

from __future__ import annotations

from collections.abc import Sequence

from mbp.plan.graph import Graph
from mbp.plan.value import Form, Value, shared, topological


def with_sunken_scalars(graph: Graph, programs: Sequence[Sequence[Value]]) -> dict[Value, Value]:
    """What stands for each value of the programs once every scalar multiplies a small operand.

    A product that nothing else uses is scaled through its smaller factor, twice a symmetric part
    is A + Aᵀ. A program is given by its results.
    """
    new: dict[Value, Value] = {}
    kept: set[Value] = set()
    in_common = shared(programs)
    for v in topological(result for results in programs for result in results):
        args = tuple(new[arg] for arg in v.args)
        new[v] = graph.rebuilt(v, args)
        if v.op == "scale" and v.form is Form.MATRIX:
            new[v] = _sunk(graph, args[0], args[1], kept)
        if v in in_common:
            kept.add(new[v])
    return new


def _sunk(graph: Graph, c: Value, X: Value, kept: set[Value]) -> Value:
    """c X with the scalar inside X where that is cheaper; a sign stays in front."""
    if X in kept or (c.op == "number" and c.data[0] == -1):
        return graph.scale(c, X)
    match X.op:
        case "add" if all(_is_sinkable(graph, term) for term in X.args):
            return graph.add(*(_sunk(graph, c, term, kept) for term in X.args))
        case "matmul" | "outer":
            left, right = X.args
            if _entries(graph, left) <= _entries(graph, right):
                if _entries(graph, left) < _entries(graph, X):
                    return graph.rebuilt(X, (_sunk(graph, c, left, kept), right))
            elif _entries(graph, right) < _entries(graph, X):
                return graph.rebuilt(X, (left, _sunk(graph, c, right, kept)))
        case "scale_rows":
            D, A = X.args
            return graph.rebuilt(X, (graph.scale(c, D), A))
        case "scale_cols":
            A, D = X.args
            return graph.rebuilt(X, (A, graph.scale(c, D)))
        case "spread" | "class_sums":
            E, A = X.args
            if _entries(graph, A) < _entries(graph, X):
                return graph.rebuilt(X, (E, _sunk(graph, c, A, kept)))
        case "transpose":
            return graph.transpose(_sunk(graph, c, X.args[0], kept))
        case "part" if X.data[0] == "sym" and c.op == "number" and c.data[0] == 2:
            A = X.args[0]
            return graph.add(A, graph.transpose(A))
    return graph.scale(c, X)


def _is_sinkable(graph: Graph, X: Value) -> bool:
    """Whether the scalar can go where it multiplies fewer entries than X has."""
    if X.op in ("transpose", "scale"):
        return _is_sinkable(graph, X.args[-1])
    if X.op in ("matmul", "outer", "scale_rows", "scale_cols", "spread", "class_sums"):
        return min(_entries(graph, A) for A in X.args) < _entries(graph, X)
    return False


def _entries(graph: Graph, v: Value) -> int:
    rows = graph.size(v.rows)
    return rows if v.form is Form.DIAGONAL else rows * graph.size(v.cols)
