"""Outputs of decompositions as their rules compute them: an expression, or one call for all."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr, Output
from mbp.invariants.infer import is_
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Form, Value
from mbp.rulebook import RULEBOOK, Forward, bind_dims


def expression(node: Output) -> Expr | None:
    """The expression that computes the output, if its rule gives one."""
    forward = _forward(node)
    if forward.function is not None:
        return None
    rule = RULEBOOK.decompositions[node.rule]
    dims: dict[sp.Symbol, Dim] = {}
    for x, A in zip(rule.inputs, node.args, strict=True):
        bind_dims(x, A, dims)
    replacement: dict[Expr, Expr] = dict(zip(rule.inputs, node.args))
    return build.instantiate(forward.expressions[node.index], replacement, dims)


def called(graph: Graph, node: Output, operands: Sequence[Value]) -> Value:
    """The output of the function that the rule names, called with the operands as matrices."""
    forward = _forward(node)
    call = graph.make(
        "call", *map(graph.dense, operands),
        data=(forward.function, _options(forward, node), len(forward.returns)),
        shape=(ONE, ONE), form=Form.CALL,
    )  # fmt: skip
    place = position(node)
    turned = forward.returns[place].endswith(".T")
    data = (place, f"{node.name}t" if turned else node.name)
    if "diagonal" in node.properties:
        item = graph.make("item", call, data=data, shape=node.shape, form=Form.RAW)
        return graph.make("column", item, shape=node.shape, form=Form.DIAGONAL)
    shape = (node.cols, node.rows) if turned else node.shape
    item = graph.make("item", call, data=data, shape=shape)
    return graph.transpose(item) if turned else item


def is_svd(node: Expr) -> bool:
    """Whether a singular value decomposition gives the node; what it is called is all one."""
    return isinstance(node, Output) and _calls(node, "torch.linalg.svd")


def is_eigh(node: Output) -> bool:
    """Whether a symmetric eigenvalue decomposition gives the output."""
    return _calls(node, "torch.linalg.eigh")


def position(node: Output) -> int:
    """Where among its forward's results an output stands."""
    names = [name.removesuffix(".T") for name in _forward(node).returns]
    if node.name not in names:
        raise MbpError(f"the rule {node.rule}: `returns` does not give {node.name}")
    return names.index(node.name)


def _calls(node: Output, function: str) -> bool:
    forward = RULEBOOK.forward(node.rule)
    return forward is not None and forward.function == function


def _forward(node: Output) -> Forward:
    forward = RULEBOOK.forward(node.rule)
    if forward is None:
        raise MbpError(f"the rule {node.rule} has no `forward`, so no code can be emitted")
    return forward


def _options(forward: Forward, node: Output) -> tuple[tuple[str, str], ...]:
    """The keyword arguments of a torch function, as texts."""
    options = {key: repr(option) for key, option in forward.options.items()}
    if forward.function == "torch.linalg.pinv":
        options["rtol"] = "rtol"  # the module's own run-time option
        if is_(node.args[0], "symmetric"):
            options["hermitian"] = "True"
    return tuple(sorted(options.items()))
