"""Spells values that would cancel as the residuals that they are the squares of."""

from __future__ import annotations

from mbp.expr import build
from mbp.expr.nodes import Expr, Inner, Output, Product, Sum, Trace, fold
from mbp.invariants.infer import is_, is_palindrome
from mbp.simplify import normal, simplify


def residual_form(Y: Expr) -> tuple[Expr, frozenset[Expr]]:
    """Y without the cancellation in the distance of two projectors, and the residuals in it.

    ‖P − Q‖² = tr P − tr Q + 2 tr (X − PX) M (X − PX)ᵀ for Q = X M Xᵀ, where the expanded form
    tr P + tr Q − 2 tr PQ cancels as the ranges meet. The residuals are to be formed as they are.
    """
    residuals: set[Expr] = set()

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Inner) and args[0] is args[1] and isinstance(args[0], Sum):
            distance = _projector_distance(args[0])
            if distance is not None:
                residuals.add(distance[1])
                return distance[0]
        return build.rebuild(node, args)

    return fold(Y, rebuilt), frozenset(residuals)


def with_residuals(e: Expr) -> tuple[Expr, frozenset[Expr]]:
    """e with ‖X − PX‖² for ‖X‖² − tr XᵀPX, P a projector, and the residuals X − PX in it.

    The expanded form cancels as X comes to lie in P's range.
    """
    residuals: set[Expr] = set()

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if not (isinstance(same, Sum) and same.is_scalar):
            return same
        terms = list(same.args)
        for term in same.args:
            found = _projection(term)
            if found is None:
                continue
            X, PX = found
            c = build.negate(build.coefficient(term)[0])
            square = normal(build.scale(c, build.inner(X, X)))
            whole = next((other for other in terms if normal(other) is square), None)
            if whole is not None:
                residual = build.subtract(X, PX)
                residuals.add(residual)
                terms = [other for other in terms if other not in (term, whole)]
                terms.append(build.scale(c, build.inner(residual, residual)))
        return build.add(*terms)

    return fold(e, rebuilt), frozenset(residuals)


def _projection(term: Expr) -> tuple[Expr, Expr] | None:
    """(X, PX) of a multiple of tr XᵀPX for a projector P that is an output."""
    _, body = build.coefficient(term)
    whole = body.args[0] if isinstance(body, Trace) else body
    factors = whole.args if isinstance(whole, Product) else ()
    for k, P in enumerate(factors):
        if isinstance(P, Output) and is_(P, "projector"):
            around = (*factors[k + 1 :], *factors[:k])
            if len(around) % 2 == 0 and is_palindrome(around):
                X = build.matmul(*around[: len(around) // 2])
                return X, build.matmul(P, X)
    return None


def _projector_distance(difference: Sum) -> tuple[Expr, Expr] | None:
    """‖P − Q‖² and its residual, for a difference of two projectors of which one is thin."""
    terms = [build.coefficient(term) for term in difference.args]
    opposite = {c for c, _ in terms} == {build.number(1), build.number(-1)}
    if len(terms) != 2 or not opposite or not all(is_(P, "projector") for _, P in terms):
        return None
    (_, first), (_, second) = terms
    for literal, other in ((first, second), (second, first)):
        P, Q = simplify(literal), normal(other)
        if isinstance(P, Output) and isinstance(Q, Product) and is_palindrome(Q.args):
            half = len(Q.args) // 2
            X = build.matmul(*Q.args[:half])
            residual = build.subtract(X, build.matmul(P, X))
            middle = Q.args[half : len(Q.args) - half]
            weighted = build.matmul(residual, *middle) if middle else residual
            ranks = build.subtract(build.tr(P), simplify(build.tr(other)))
            twice = build.scale(build.number(2), build.inner(weighted, residual))
            return build.add(ranks, twice), residual
    return None
