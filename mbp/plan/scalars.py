"""Moves scalar factors to where they multiply the fewest entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mbp.plan.graph import Graph
from mbp.plan.value import Form, Value, topological


def with_sunken_scalars(graph: Graph, roots: Iterable[Value]) -> dict[Value, Value]:
    """What stands for each value below `roots` once every scalar multiplies a small operand.

    A product that nothing else uses is scaled through its smaller factor, twice a symmetric part
    is A + Aᵀ.
    """
    values = list(topological(roots))
    uses = Counter(arg for v in values for arg in dict.fromkeys(v.args))
    new: dict[Value, Value] = {}
    shared: set[Value] = set()
    for v in values:
        args = tuple(new[arg] for arg in v.args)
        new[v] = v if args == v.args else _rebuilt(graph, v, args)
        if v.op == "scale" and v.form is Form.MATRIX:
            new[v] = _sunk(graph, args[0], args[1], shared)
        if uses[v] > 1:
            shared.add(new[v])
    return new


def _rebuilt(graph: Graph, v: Value, args: tuple[Value, ...]) -> Value:
    return graph.make(v.op, *args, data=v.data, shape=(v.rows, v.cols), form=v.form)


def _sunk(graph: Graph, c: Value, X: Value, shared: set[Value]) -> Value:
    """c X with the scalar inside X where that is cheaper; a sign stays in front."""
    if X in shared or (c.op == "number" and c.data[0] == -1):
        return graph.scale(c, X)
    match X.op:
        case "add" if all(_is_sinkable(graph, term) for term in X.args):
            return graph.add(*(_sunk(graph, c, term, shared) for term in X.args))
        case "matmul" | "outer":
            left, right = X.args
            if _entries(graph, left) <= _entries(graph, right):
                if _entries(graph, left) < _entries(graph, X):
                    return _rebuilt(graph, X, (_sunk(graph, c, left, shared), right))
            elif _entries(graph, right) < _entries(graph, X):
                return _rebuilt(graph, X, (left, _sunk(graph, c, right, shared)))
        case "scale_rows":
            D, A = X.args
            return _rebuilt(graph, X, (graph.scale(c, D), A))
        case "scale_cols":
            A, D = X.args
            return _rebuilt(graph, X, (A, graph.scale(c, D)))
        case "spread" | "class_sums":
            E, A = X.args
            if _entries(graph, A) < _entries(graph, X):
                return _rebuilt(graph, X, (E, _sunk(graph, c, A, shared)))
        case "transpose":
            return graph.transpose(_sunk(graph, c, X.args[0], shared))
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
