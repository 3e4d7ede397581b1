"""Takes what is computed from a Kronecker product to its factors, so that it is not formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import sympy as sp

from mbp.definition import Definition
from mbp.expr import build, scalar
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Eye, Frechet, Kron, Product, Sum, Transpose, fold
from mbp.invariants.infer import is_
from mbp.simplify.rules import node_rewrite


def of_kronecker(definition: Definition) -> Definition:
    """The definition with what is computed from A ⊗ B, and from sums, computed from A and B.

    Inverses, determinants and traces by the rules in rules/rewrites.toml, matrix functions by
    `_split`; the definition itself where nothing applies.
    """

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if isinstance(same, Frechet) and same.order == 0:
            return _of_factors(same)
        if isinstance(same, Product | Transpose) or not any(map(_is_kronecker, same.args)):
            return same
        by_factors = node_rewrite(same)
        return same if by_factors is None else by_factors.expression()

    outputs = {name: fold(Y, rebuilt) for name, Y in definition.outputs.items()}
    changed = any(Y is not definition.outputs[name] for name, Y in outputs.items())
    return replace(definition, outputs=outputs) if changed else definition


def _is_kronecker(X: Expr) -> bool:
    return isinstance(X.args[0] if isinstance(X, Transpose) else X, Kron)


def _of_factors(function: Frechet) -> Expr:
    """g(A ⊗ B) or g(A ⊗ I + I ⊗ B) in functions of A and B, itself where g does not split.

    The eigenvalues are the products a_i b_j, or the sums a_i + b_j, of those of A and B.
    """
    K = function.args[0]
    if isinstance(K, Kron) and all(is_(A, "positive_semidefinite") for A in K.args):
        a, b = sp.symbols("a b", positive=True)
        factors: Sequence[Expr] = K.args
        split = _split(function.g.subs(scalar.X, a * b), {a: sp.Integer(1), b: sp.Integer(1)})
    elif (summands := kronecker_sum(K)) is not None:
        a, b = sp.symbols("a b", real=True)
        factors = summands
        split = _split(function.g.subs(scalar.X, a + b), {a: sp.Integer(0), b: sp.Integer(0)})
    else:
        return function
    if split is None:
        return function
    A, B = (
        build.frechet(g.subs(s, scalar.X), factor, function.parameters)
        for g, s, factor in zip(split.parts, (a, b), factors)
    )
    if split.is_product:
        return build.kron(A, B)
    return build.add(build.kron(A, build.eye(B.rows)), build.kron(build.eye(A.rows), B))


class _Split(NamedTuple):
    """f and k of g(a, b) = f(a) k(b), or of g(a, b) = f(a) + k(b)."""

    parts: tuple[sp.Expr, sp.Expr]
    is_product: bool


def _split(g: sp.Expr, at: dict[sp.Symbol, sp.Expr]) -> _Split | None:
    """g(a, b) as a product or a sum, read off where one of the two is fixed, g being finite."""
    (a, a0), (b, b0) = at.items()
    f, k, c = g.subs(b, b0), g.subs(a, a0), g.subs(at)
    if any(part.has(sp.zoo, sp.oo, sp.nan) for part in (f, k, c)):
        return None
    if c != 0 and sp.simplify(g * c - f * k) == 0:
        return _Split((f, sp.simplify(k / c)), is_product=True)
    is_sum = sp.simplify(g - f - k + c) == 0
    return _Split((f, sp.simplify(k - c)), is_product=False) if is_sum else None


def kronecker_sum(K: Expr) -> tuple[Expr, Expr] | None:
    """X and Y, symmetric, of K = X ⊗ I + I ⊗ Y; a multiple of the identity goes to X."""
    words = [(c, _factors_of(body)) for c, body in _terms(K)]
    first = next((word[0] for _, word in words if not isinstance(word[0], Eye)), None)
    if first is None or not first.is_square:
        return None
    lefts, rights = [], []
    for c, word in words:
        halves = _cut(word, first.rows)
        if halves is None:
            return None
        A, B = halves
        if isinstance(B, Eye):
            lefts.append(build.scale(c, A))
        elif isinstance(A, Eye):
            rights.append(build.scale(c, B))
        else:
            return None
    if not lefts or not rights:
        return None
    X, Y = build.add(*lefts), build.add(*rights)
    return (X, Y) if is_(X, "symmetric") and is_(Y, "symmetric") else None


def has_factor_frame(K: Expr) -> bool:
    """Whether a sum has the eigenvectors U ⊗ V of smaller matrices: X ⊗ I + I ⊗ Y, cX ⊗ Y + εI."""
    terms = _terms(K)
    rest = [body for _, body in terms if not isinstance(body, Eye)]
    if 1 == len(rest) < len(terms) and isinstance(rest[0], Kron):
        return all(is_(factor, "symmetric") for factor in rest[0].args)
    return kronecker_sum(K) is not None


def _terms(K: Expr) -> list[tuple[Expr, Expr]]:
    """(c, X) for each term cX of a sum, or of a multiple of one."""
    c, X = build.coefficient(K)
    if not isinstance(X, Sum):
        return [(c, X)]
    return [(build.scale(c, d), body) for term in X.args for d, body in _terms(term)]


def _factors_of(X: Expr) -> tuple[Expr, ...]:
    """A, B, … of X = A ⊗ B ⊗ …"""
    if not isinstance(X, Kron):
        return (X,)
    return tuple(factor for arg in X.args for factor in _factors_of(arg))


def _cut(word: tuple[Expr, ...], n: Dim) -> tuple[Expr, Expr] | None:
    """A of n rows and B of the product A ⊗ B of `word`, if it can be cut there."""
    head, *tail = word
    rest = sp.cancel(head.rows / n)
    if rest == 1:
        left = head
    elif isinstance(head, Eye) and rest.is_polynomial():
        left, tail = build.eye(n), [build.eye(sp.expand(rest)), *tail]
    else:
        return None
    return left, _kron(tail) if tail else build.eye(1)


def _kron(factors: Sequence[Expr]) -> Expr:
    if all(isinstance(A, Eye) for A in factors):
        return build.eye(sp.expand(sp.prod([A.rows for A in factors])))
    return reduce(lambda B, A: build.kron(A, B), reversed(factors))
