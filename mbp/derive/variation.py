"""Step 1: the variation of an expression, one level at a time, by rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import sympy as sp

from mbp.derive.implicit import variation_of
from mbp.errors import MbpError
from mbp.expr import build, scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import (
    Expr,
    Frechet,
    Hadamard,
    Kernel,
    Map,
    Named,
    Output,
    Product,
    Stack,
    Sum,
    Var,
    Variation,
    both,
    col,
    row,
    topological,
)
from mbp.invariants.infer import is_
from mbp.rulebook import RULEBOOK, VariationRule, bind_dims, key_of
from mbp.simplify import normal


@dataclass(frozen=True)
class Varied:
    """d(node) in terms of its operands' variations, and the names of the rules used."""

    variation: Expr
    by: tuple[str, ...]


def is_constant(node: Expr) -> bool:
    """Whether no variable below `node` varies."""
    if node not in _CONSTANT:
        for below in topological(node):
            if below not in _CONSTANT:
                _CONSTANT[below] = not _varies(below) and all(_CONSTANT[a] for a in below.args)
    return _CONSTANT[node]


_CONSTANT: WeakKeyDictionary[Expr, bool] = WeakKeyDictionary()


def _varies(node: Expr) -> bool:
    if isinstance(node, Var):
        return not {"constant", "partition"} & set(node.properties)
    return isinstance(node, Variation)


def vary(node: Expr, d: Callable[[Expr], Expr]) -> Varied:
    """The variation of `node`, given that of each operand by `d`.

    Raises MbpError for an operation without a rule, naming it.
    """
    match node:
        case Frechet():
            return _vary_matrix_function(node, d)
        case Output():
            return _vary_output(node, d)
        case Kernel():
            return _vary_kernel(node, d)
        case Product() | Hadamard():
            return Varied(_product_rule(node, d), ("product rule",))
        case Sum() | Stack():
            terms = tuple(d(arg) for arg in node.args)
            return Varied(build.rebuild(node, terms), ())
        case Named(args=(X,)):
            return Varied(d(X), ())
        case Map(data=(name,)) if key_of(node) not in RULEBOOK.variation_by_operation:
            A = node.args[0]
            slope = scalar.derivative(scalar.body(name))
            return Varied(build.multiply(build.map_scalar(slope, x=A), d(A)), (f"d({name})",))
    rule = RULEBOOK.variation_by_operation.get(key_of(node))
    if rule is None:
        raise MbpError(f"no variation rule for {node}")
    if rule.variation is None:
        return Varied(build.rebuild(node, tuple(d(arg) for arg in node.args)), ())
    return Varied(_instantiated(rule, node, d), (f"d({rule.name})",))


def varied_down_to(root: Expr, boundary: set[Expr]) -> Varied:
    """d(root) in terms of the d(·) of its variables and of the expressions of `boundary`."""
    by: dict[str, None] = {}
    known: dict[Expr, Expr] = {}

    def d(node: Expr) -> Expr:
        if node not in known:
            if is_constant(node):
                known[node] = build.zeros(*node.shape)
            elif isinstance(node, Var) or node in boundary:
                known[node] = build.variation(node)
            else:
                varied = vary(node, d)
                by.update(dict.fromkeys(varied.by))
                known[node] = varied.variation
        return known[node]

    for node in _between(root, boundary):  # bottom up: deep expressions do not recurse
        d(node)
    varied = vary(root, d)
    return Varied(varied.variation, tuple(dict.fromkeys([*by, *varied.by])))


def varied_in_letters(e: Expr) -> Expr:
    """d(e) in the d(·) of all its variables, of constant ones too."""
    known: dict[Expr, Expr] = {}
    for node in topological(e):
        if isinstance(node, Var):
            known[node] = build.variation(node)
        elif not node.args:
            known[node] = build.zeros(*node.shape)
        else:
            known[node] = vary(node, known.__getitem__).variation
    return known[e]


def _between(root: Expr, boundary: set[Expr]) -> list[Expr]:
    """The nodes below `root` and above the boundary, operands first."""
    inner: set[Expr] = set()
    stack = list(root.args)
    while stack:
        node = stack.pop()
        if node.args and node not in boundary and node not in inner:
            inner.add(node)
            stack.extend(node.args)
    return [node for node in topological(root) if node in inner]


def _instantiated(rule: VariationRule, node: Expr, d: Callable[[Expr], Expr]) -> Expr:
    assert rule.variation is not None
    dims: dict[sp.Symbol, Dim] = {}
    replacement: dict[Expr, Expr] = {}
    for operand, arg in zip(rule.expr.args, node.args):
        bind_dims(operand, arg, dims)
        replacement[operand] = arg
        replacement[build.variation(operand)] = d(arg)
    return build.instantiate(rule.variation, replacement, dims)


def _product_rule(node: Expr, d: Callable[[Expr], Expr]) -> Expr:
    # The binary rules of rules/variations.toml, used from left to right on n factors.
    terms = []
    for k, factor in enumerate(node.args):
        varied = d(factor)
        if not build.is_zero(varied):
            terms.append(build.rebuild(node, (*node.args[:k], varied, *node.args[k + 1 :])))
    return build.add(*terms) if terms else build.zeros(*node.shape)


def check_arguments(e: Expr) -> None:
    """Raises MbpError for a matrix function of what is not known to be symmetric."""
    for node in topological(e):
        if isinstance(node, Frechet) and not _is_symmetric(A := node.args[0]):
            raise MbpError(
                f"a matrix function needs a symmetric argument, which {A} is not known to be; "
                f"declare it symmetric or write sym({A})"
            )


def _is_symmetric(A: Expr) -> bool:
    # A second derivation meets arguments that were symmetric by their form before simplification.
    return is_(A, "symmetric") or (
        A.is_square and build.is_zero(normal(build.subtract(A, build.transpose(A))))
    )


def _vary_matrix_function(node: Frechet, d: Callable[[Expr], Expr]) -> Varied:
    A, parameters, X = node.args[0], node.parameters, node.directions
    terms = []
    dA = d(A)
    if not build.is_zero(dA):
        for k in range(node.order + 1):
            terms.append(build.frechet(node.g, A, parameters, *X[:k], dA, *X[k:]))
    for k, direction in enumerate(X):
        varied = d(direction)
        if not build.is_zero(varied):
            terms.append(build.frechet(node.g, A, parameters, *X[:k], varied, *X[k + 1 :]))
    for k, c in enumerate(parameters):
        dc = d(c)
        if not build.is_zero(dc):
            slope = scalar.derivative(node.g, scalar.parameter(k))
            terms.append(build.scale(dc, build.frechet(slope, A, parameters, *X)))
    total = build.add(*terms) if terms else build.zeros(*node.shape)
    return Varied(total, ("divided difference",))


def _vary_output(node: Output, d: Callable[[Expr], Expr]) -> Varied:
    rule = RULEBOOK.decompositions[node.rule]
    replacement, dims = letters_at(node, d)
    template = variation_of(rule).variations[rule.outputs[node.index].name]
    return Varied(build.instantiate(template, replacement, dims), (f"variation of {node.rule}",))


def letters_at(
    node: Output, d: Callable[[Expr], Expr]
) -> tuple[dict[Expr, Expr], dict[sp.Symbol, Dim]]:
    """What the letters and dimension names of a decomposition's rule stand for at `node`."""
    rule = RULEBOOK.decompositions[node.rule]
    outputs = RULEBOOK.call(node.rule, *node.args)
    dims: dict[sp.Symbol, Dim] = {}
    replacement: dict[Expr, Expr] = {}
    for letter, actual in zip((*rule.inputs, *rule.outputs), (*node.args, *outputs)):
        bind_dims(letter, actual, dims)
        replacement[letter] = actual
    for letter, actual in zip(rule.inputs, node.args):
        replacement[build.variation(letter)] = d(actual)
    for letter, actual in zip(rule.outputs, outputs):
        replacement[build.variation(letter)] = build.variation(actual)
    return replacement, dims


def _vary_kernel(node: Kernel, d: Callable[[Expr], Expr]) -> Varied:
    terms = []
    for k, operand in enumerate(node.args):
        varied = d(operand)
        if build.is_zero(varied):
            continue

        def slope(symbol: sp.Symbol, on_diagonal: bool) -> Expr:
            diagonal = None
            if node.diagonal is not None:
                diagonal = sp.diff(node.diagonal, symbol) if on_diagonal else sp.Integer(0)
            return build.kernel(
                sp.diff(node.entry, symbol), diagonal, node.args, node.rows, node.cols
            )

        if operand.is_scalar:
            terms.append(build.scale(varied, slope(row(k), True)))
        elif operand.cols == 1:
            terms.append(build.matmul(build.diag_matrix(varied), slope(row(k), True)))
            terms.append(build.matmul(slope(col(k), False), build.diag_matrix(varied)))
        else:
            terms.append(build.hadamard(slope(both(k), True), varied))
    total = build.add(*terms) if terms else build.zeros(*node.shape)
    return Varied(total, ("d(kernel)",))
