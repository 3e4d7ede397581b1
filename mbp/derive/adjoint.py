"""Step 2: moves a linear map across the inner product, one identity (67)–(72) at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Frechet, Hadamard, Product, Stack, Sum, Variation, topological
from mbp.invariants.infer import is_
from mbp.rulebook import RULEBOOK, bind_dims, key_of


@dataclass(frozen=True)
class Moved:
    """cotangent : node = Σ cotangent_k : operand_k; one summand, with the identity used."""

    operand: Expr
    cotangent: Expr
    by: str


def holds_variation(node: Expr, known: dict[Expr, bool]) -> bool:
    """Whether a variation d(x) occurs in `node`; `known` remembers the answers."""
    for below in topological(node):
        if below not in known:
            known[below] = isinstance(below, Variation) or any(known[a] for a in below.args)
    return known[node]


def move(node: Expr, cotangent: Expr, active: tuple[int, ...]) -> Iterator[Moved]:
    """cotangent : node as inner products with the operands at `active`, the linear ones.

    Raises MbpError for a map without an adjoint identity, naming it.
    """
    match node:
        case Sum():
            for k in active:
                yield Moved(node.args[k], cotangent, "linearity")
        case Product():
            for k in active:
                left = node.args[:k]
                right = node.args[k + 1 :]
                factors = [_transposed(A) for A in reversed(left)]
                factors.append(cotangent)
                factors += [_transposed(A) for A in reversed(right)]
                yield Moved(node.args[k], _product(node.args[k], factors), "(68)")
        case Hadamard():
            for k in active:
                others = (*node.args[:k], *node.args[k + 1 :])
                yield Moved(node.args[k], build.hadamard(*others, cotangent), "(71)")
        case Stack(data=(axis,)):
            for k in active:
                yield Moved(node.args[k], _block(node, axis, k, cotangent), "(72)")
        case Frechet():
            for k in active:
                yield Moved(node.args[k], _turned(node, k, cotangent), "(68), (71)")
        case _:
            yield from _by_identity(node, cotangent, active)


def _transposed(A: Expr) -> Expr:
    return A if is_(A, "symmetric") else build.transpose(A)


def _product(operand: Expr, factors: list[Expr]) -> Expr:
    if operand.is_scalar:
        return build.tr(build.matmul(*factors))
    return build.matmul(*factors)


def _block(node: Expr, axis: int, k: int, cotangent: Expr) -> Expr:
    blocks = []
    for j, block in enumerate(node.args):
        size = block.shape[axis]
        blocks.append(build.eye(size) if j == k else build.zeros(size, node.args[k].shape[axis]))
    if axis == 1:
        return build.matmul(cotangent, build.vstack(*blocks))
    return build.matmul(build.hstack(*(build.transpose(B) for B in blocks)), cotangent)


def _turned(node: Frechet, k: int, cotangent: Expr) -> Expr:
    # Divided differences are symmetric in their points, so the path through X₁, …, X_p closed by
    # the cotangent may start at any of them: it is read from X_k's column round to X_k's row.
    first = len(node.args) - node.order
    if k < first:
        raise MbpError(f"{node} is not linear in {node.args[k]}")
    X = node.directions
    j = k - first
    before = [build.transpose(A) for A in reversed(X[:j])]
    after = [build.transpose(A) for A in reversed(X[j + 1 :])]
    return build.frechet(node.g, node.args[0], node.parameters, *before, cotangent, *after)


def _by_identity(node: Expr, cotangent: Expr, active: tuple[int, ...]) -> Iterator[Moved]:
    identity = RULEBOOK.identity_by_operation.get(key_of(node))
    if identity is None:
        raise MbpError(f"no adjoint identity for the linear map {node}")
    dims: dict[sp.Symbol, Dim] = {}
    replacement: dict[Expr, Expr] = {identity.cotangent: cotangent}
    for letter, arg in zip(identity.map.args, node.args):
        bind_dims(letter, arg, dims)
        replacement[letter] = arg
    for k in active:
        letter = identity.map.args[k]
        if letter not in identity.adjoint:
            raise MbpError(f"the identity {identity.name} has no adjoint in {letter}")
        moved = build.instantiate(identity.adjoint[letter], replacement, dims)
        yield Moved(node.args[k], moved, identity.name)
