"""The entries of kernels: tables of a function of vectors, and quotients over gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp

from mbp.expr.dims import ONE
from mbp.expr.nodes import I, J, Kernel, both, col, row
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Value

Symbols = Mapping[sp.Symbol, Value]
"""What stands for the symbols of an entry: columns for rows, rows for columns."""


def kernel(graph: Graph, node: Kernel, operands: Sequence[Value]) -> Value:
    """The m×n kernel of `node` at the values of its operands, its parity noted in the graph."""
    symbols = _symbols(graph, node, operands)
    whole = _over_gaps(graph, node, symbols)
    if whole is None:
        whole = graph.entrywise(_resolved(node.entry), symbols, node.shape)
        if node.diagonal is not None:
            on_diagonal = _on_diagonal(graph, node, node.diagonal, symbols)
            whole = graph.make("with_diagonal", whole, on_diagonal, shape=node.shape)
    parity = _parity(node)
    if parity:
        graph.parity[whole.args[1] if whole.op == "scale" else whole] = parity
    return whole


def _symbols(graph: Graph, node: Kernel, operands: Sequence[Value]) -> Symbols:
    symbols: dict[sp.Symbol, Value] = {}
    for k, (operand, v) in enumerate(zip(node.args, operands, strict=True)):
        if operand.is_scalar:
            symbols[row(k)] = v
        elif operand.cols == ONE:
            symbols[row(k)], symbols[col(k)] = v, graph.transpose(v)
        else:
            symbols[both(k)] = graph.dense(v)
    symbols[I] = graph.make("indices", shape=(node.rows, ONE))
    symbols[J] = graph.transpose(graph.make("indices", shape=(node.cols, ONE)))
    return symbols


def _on_diagonal(graph: Graph, node: Kernel, entry: sp.Expr, symbols: Symbols) -> Value:
    """The diagonal of an n×n kernel as a column, or as a number."""
    if entry.is_number:
        return graph.number(entry)
    at = dict(symbols)
    for k in range(len(node.args)):
        if row(k) in at:
            at[col(k)] = at[row(k)]
        if both(k) in at:
            at[both(k)] = graph.diagonal_of(at[both(k)])
    at[J] = at[I]
    return graph.entrywise(entry, at, (node.rows, ONE))


def _over_gaps(graph: Graph, node: Kernel, symbols: Symbols) -> Value | None:
    """The kernel as a number over gaps that vanish at ties, if it is one."""
    if node.diagonal != 0 or not node.entry.is_rational_function():
        return None
    number, gaps = sp.fraction(_resolved(node.entry))
    tied = {col(k): row(k) for k in range(len(node.args))}
    factors = [factor.as_base_exp()[0] for factor in sp.Mul.make_args(gaps)]
    differences = [f for f in factors if sp.expand(f.xreplace(tied)) == 0]
    if not number.is_number or len(differences) != 1:
        return None
    quotient = graph.gap_kernel(
        graph.entrywise(gaps, symbols, node.shape),
        graph.entrywise(differences[0], symbols, node.shape),
        _reach(graph, differences[0], symbols),
    )
    return graph.scale(graph.number(number), quotient)


def _reach(graph: Graph, polynomial: sp.Expr, symbols: Symbols) -> Value:
    """A bound of what a polynomial of vectors is the difference of."""
    bounds: dict[Value, int] = {}
    for monomial, coefficient in sp.expand(polynomial).as_coefficients_dict().items():
        bound = graph.number(abs(coefficient))
        for factor in sp.Mul.make_args(monomial):
            base, p = factor.as_base_exp()
            if base in symbols:
                size = graph.power(graph.magnitude(symbols[base]), graph.number(p))
                bound = graph.scale(size, bound)
        bounds[bound] = bounds.get(bound, 0) + 1
    counted = (graph.scale(graph.number(sp.Integer(n)), v) for v, n in bounds.items())
    return graph.add(*counted)


def _parity(node: Kernel) -> int:
    """1 for a symmetric kernel of vectors, −1 for an antisymmetric one, otherwise 0."""
    if any(node.entry.has(both(k)) for k in range(len(node.args))):
        return 0
    swap = {row(k): col(k) for k in range(len(node.args)) if not node.args[k].is_scalar}
    swap |= {column: line for line, column in swap.items()} | {I: J, J: I}
    mirrored = node.entry.xreplace(swap)
    if sp.simplify(mirrored - node.entry) == 0:
        return 1
    is_odd = node.diagonal == 0 and sp.simplify(mirrored + node.entry) == 0
    return -1 if is_odd else 0


def _resolved(entry: sp.Expr) -> sp.Expr:
    # λ_i² − λ_j² is computed as (λ_i − λ_j)(λ_i + λ_j), which does not cancel.
    if not entry.is_rational_function():
        return entry
    numerator, denominator = sp.fraction(sp.together(entry))
    return sp.factor(numerator) / sp.factor(denominator)
