"""Chooses which products are stored by columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mbp.expr.dims import ONE
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Value, topological


def with_narrow_products_turned(
    graph: Graph, programs: Sequence[Sequence[Value]]
) -> dict[Value, Value]:
    """What stands for each value of the programs once narrow products A B are (BᵀAᵀ)ᵀ.

    Libraries are quicker with the narrow factor in front. Results stay stored by rows, as their
    readers expect, and with them what they are computed from entry by entry. A program is given by
    its results.
    """
    results = [result for program in programs for result in program]
    by_rows = _entry_by_entry(results)
    return _with_turned(graph, results, lambda v: v not in by_rows and _is_narrow(graph, v))


def with_products_as_read(
    graph: Graph, programs: Sequence[Sequence[Value]]
) -> dict[Value, Value]:
    """What stands for each value of the programs once tall products read only as (A B)ᵀ are BᵀAᵀ.

    So a tall matrix that is stored by columns meets no factor that is, too: that product takes up
    to six times as long. A program is given by its results.
    """
    results = [result for program in programs for result in program]
    readers = (v for v in topological(results) if v.op != "transpose")
    read_as_is = set(results).union(*(v.args for v in readers))
    return _with_turned(graph, results, lambda v: v not in read_as_is and _is_tall(graph, v))


def _with_turned(
    graph: Graph, results: Sequence[Value], is_turned: Callable[[Value], bool]
) -> dict[Value, Value]:
    """What stands for each value below `results` once the products that ask for it are turned."""
    new: dict[Value, Value] = {}
    for v in topological(results):
        args = tuple(new[arg] for arg in v.args)
        if v.op == "transpose":
            new[v] = graph.transpose(args[0])
        elif v.op == "matmul" and is_turned(v):
            new[v] = _turned(graph, v, args)
        else:
            new[v] = graph.rebuilt(v, args)
    return new


def _turned(graph: Graph, product: Value, factors: tuple[Value, ...]) -> Value:
    """(BᵀAᵀ)ᵀ for the product A B with these factors."""
    left, right = (graph.transpose(factor) for factor in factors)
    shape = (product.cols, product.rows)
    return graph.transpose(graph.make("matmul", right, left, shape=shape))


def _is_tall(graph: Graph, product: Value) -> bool:
    return graph.size(product.cols) < graph.size(product.rows)


def _is_narrow(graph: Graph, product: Value) -> bool:
    r, k, c = (graph.size(n) for n in (product.rows, product.args[0].cols, product.cols))
    return c < r and (k > _TALL * r or (product.cols != ONE and r > _NARROW * c))


def _entry_by_entry(results: Iterable[Value]) -> set[Value]:
    """What the results' storage follows from: their terms and factors, entry by entry."""
    found: set[Value] = set()
    stack = list(results)
    while stack:
        v = stack.pop()
        if v not in found:
            found.add(v)
            if v.op in _ENTRY_BY_ENTRY:
                stack.extend(v.args)
    return found


_ENTRY_BY_ENTRY = (
    "add", "entrywise", "map", "multiply", "power", "scale", "scale_cols", "scale_rows",
)  # fmt: skip

_TALL = 8
"""A sum over this many times as many terms as it has rows is a sum over a tall matrix's rows."""

_NARROW = 64
"""From this many rows to a column on, a product takes half the time if stored by columns."""
