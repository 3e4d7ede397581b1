"""Moves scalar and diagonal factors to where they multiply the fewest entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import sympy as sp

from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Form, Value, shared, topological


def with_sunken_factors(graph: Graph, programs: Sequence[Sequence[Value]]) -> dict[Value, Value]:
    """What stands for each value of the programs once every factor multiplies a small operand.

    A product that nothing else uses is scaled through its smaller factor, half of a symmetric part
    too; twice a symmetric part is A + Aᵀ. The diagonal of A D B goes into the smaller of A and B.
    A program is given by its results.
    """
    new: dict[Value, Value] = {}
    kept: set[Value] = set()
    in_common = shared(programs)
    for v in topological(result for results in programs for result in results):
        args = tuple(new[arg] for arg in v.args)
        new[v] = _with_diagonal_sunk(graph, graph.rebuilt(v, args), kept)
        if v.op == "scale" and v.form is Form.MATRIX:
            new[v] = _sunk(graph, args[0], args[1], kept)
        if (
            v.op == "part"
            and v.data[0] == "sym"
            and args[0] not in kept
            and _is_sinkable(graph, args[0])
        ):
            half = _sunk(graph, graph.number(sp.Rational(1, 2)), args[0], kept)
            new[v] = graph.add(half, graph.transpose(half))
        if v in in_common:
            kept.add(new[v])
    return new


def _with_diagonal_sunk(graph: Graph, v: Value, kept: set[Value]) -> Value:
    """A (D B) for a product (A D) B with more entries in A than in B, and its mirror image."""
    if v.op != "matmul":
        return v
    left, right = v.args
    if _entries(graph, left) > _entries(graph, right):
        A, D = _unscaled(graph, left, kept)
        return v if D is None else graph.product((A, graph.product((D, right))))
    if _entries(graph, left) < _entries(graph, right):
        B, D = _unscaled(graph, graph.transpose(right), kept)
        return v if D is None else graph.product((graph.product((left, D)), graph.transpose(B)))
    return v


def _unscaled(graph: Graph, X: Value, kept: set[Value]) -> tuple[Value, Value | None]:
    """A and D for X = A D that nothing else uses; X and nothing for any other."""
    bare = X.args[0] if X.op == "transpose" else X
    if X in kept or bare in kept:
        return X, None
    if X.op == "scale_cols":
        A, D = X.args
        return A, D
    if X is not bare and bare.op == "scale_rows":
        D, B = bare.args
        return graph.transpose(B), D
    return X, None


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


def with_doubled_parts(
    graph: Graph, results: Mapping[str, Value], given: frozenset[Value]
) -> dict[str, Value]:
    """The results, a factor 2 taken into a symmetric part that what it multiplies is linear in.

    2 f(A_sym) is f(A + Aᵀ), if nothing else needs what lies between. `given` stay as they are.
    """
    users: dict[Value, set[Value]] = defaultdict(set)
    order = list(topological(results.values(), given))
    for v in order:
        for arg in v.args:
            users[arg].add(v)
    between: set[Value] = set()
    halved: dict[Value, Value] = {}
    for v in order:
        if v.op != "scale" or v.form is not Form.MATRIX or (c := _half(graph, v.args[0])) is None:
            continue
        for s in topological([v.args[1]], given):
            if s.op != "part" or s.data[0] != "sym":
                continue
            path = _linear_path(v.args[1], s, given)
            outside = between.union(results.values())
            if path and not path & outside and all(users[u] <= path | {v} for u in path):
                between |= path
                halved[v] = c
                break
    new: dict[Value, Value] = {}
    for v in order:
        args = tuple(new.get(arg, arg) for arg in v.args)
        if v in halved:
            new[v] = graph.scale(halved[v], args[1])
        elif v in between and v.op == "part" and not any(arg in between for arg in v.args):
            new[v] = graph.add(args[0], graph.transpose(args[0]))
        else:
            new[v] = graph.rebuilt(v, args)
    return {name: new.get(v, v) for name, v in results.items()}


def _half(graph: Graph, c: Value) -> Value | None:
    """c / 2 where c is ±2 or ±2 times a scalar."""
    number, rest = (c, None) if c.op == "number" else (c.args[0], c) if c.op == "scale" else (c, c)
    if number.op != "number" or abs(number.data[0]) != 2:
        return None
    half = graph.number(number.data[0] / 2)
    return half if rest is None else graph.scale(half, rest.args[1])


def _linear_path(X: Value, s: Value, given: frozenset[Value]) -> set[Value]:
    """What lies between s and X, both included, if X is linear in s; else nothing."""
    path = {s}
    for v in topological([X], given):
        varied = [arg in path for arg in v.args]
        if v is s or not any(varied):
            continue
        if not (all(varied) if v.op == "add" else v.op in _MULTILINEAR and sum(varied) == 1):
            return set()
        path.add(v)
    return path if X in path else set()


_MULTILINEAR = (
    "matmul", "multiply", "outer", "scale", "scale_rows", "scale_cols", "transpose", "part",
    "row_sum", "sum", "spread", "class_sums",
)  # fmt: skip


def _entries(graph: Graph, v: Value) -> int:
    rows = graph.size(v.rows)
    return rows if v.form is Form.DIAGONAL else rows * graph.size(v.cols)
