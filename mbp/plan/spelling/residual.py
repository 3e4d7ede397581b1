"""Spells values that would cancel as the residuals that they are the squares of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile

from mbp.expr import build
from mbp.expr.nodes import Expr, Inner, Number, Output, Product, Sum, Trace, fold, topological
from mbp.invariants.infer import is_, is_palindrome
from mbp.plan.spelling.complements import complement_of, is_range
from mbp.simplify import normal, simplify

Projected = Mapping[Expr, Mapping[tuple[Expr, ...], None]]
"""The factors X of each projector C whose CX is to be formed."""


def residual_form(Y: Expr) -> tuple[Expr, frozenset[Expr]]:
    """Y without the cancellation in what a projection leaves, and the residuals in it.

    ‖X − PX‖² is not expanded for a projector P, and ‖P − Q‖² = tr P − tr Q + 2 tr (X − PX) M
    (X − PX)ᵀ for Q = X M Xᵀ, where tr P + tr Q − 2 tr PQ cancels as the ranges meet. The
    residuals are to be formed as they are.
    """
    residuals: set[Expr] = set()

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Inner) and args[0] is args[1] and isinstance(args[0], Sum):
            distance = _projector_distance(args[0])
            if distance is not None:
                residuals.add(distance[1])
                return distance[0]
            if _is_projected(args[0]) or _is_projected(simplify(args[0])):
                residual = normal(args[0])
                residuals.add(residual)
                return build.inner(residual, residual)
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
            c = build.negate(build.coefficient(term)[0])
            for X, residual in _projections(term):
                square = normal(build.scale(c, build.inner(X, X)))
                whole = next((other for other in terms if normal(other) is square), None)
                if whole is None or term not in terms:
                    continue
                if isinstance(residual, Sum):
                    residuals.add(residual)
                terms = [other for other in terms if other not in (term, whole)]
                terms.append(build.scale(c, build.inner(residual, residual)))
        return build.add(*terms)

    return fold(e, rebuilt), frozenset(residuals)


def projected_factors(roots: Iterable[Expr], complemented: frozenset[Expr]) -> Projected:
    """Each X of a product with XᵀCX or CXXᵀC for a projector C that is a difference, as (C, X).

    But for the complements of `complemented`, which are applied as they stand.
    """
    kept = set(map(complement_of, complemented))
    found: dict[Expr, dict[tuple[Expr, ...], None]] = {}
    for node in topological(*roots):
        if not isinstance(node, Product):
            continue
        places = [at for at in _projecting(node.args) if at[1][1] not in kept]
        for k, (_, C) in places:
            before, after = node.args[:k], node.args[k + 1 :]
            pairs = zip(reversed(before), after)
            mirrored = takewhile(lambda pair: pair[0] is build.transpose(pair[1]), pairs)
            if reach := len(list(mirrored)):
                found.setdefault(C, {})[after[:reach]] = None
            for other, (_, C_) in places:
                between = node.args[k + 1 : other]
                if C_ is C and between and len(between) % 2 == 0 and is_palindrome(between):
                    found.setdefault(C, {})[between[: len(between) // 2]] = None
    return found


def by_residuals(
    factors: tuple[Expr, ...], projected: Projected
) -> tuple[int, tuple[Expr, ...]]:
    """The sign and the factors of a product, with XᵀCX as RᵀR, other CX as R, for R = CX.

    XᵀX − XᵀPX, which the product would be expanded to, cancels as X comes to lie in P's range.
    """
    for k, (sign, C) in _projecting(factors):
        for X in projected.get(C, ()):
            R, n = build.matmul(C, *X), len(X)
            left, right = factors[max(k - n, 0) : k], factors[k + 1 : k + 1 + n]
            is_left = left == tuple(build.transpose(A) for A in reversed(X))
            if is_left or right == X:
                before = (*factors[: k - n], build.transpose(R)) if is_left else factors[:k]
                after = (R, *factors[k + 1 + n :]) if right == X else factors[k + 1 :]
                rest, formed = by_residuals(before + after, projected)
                return sign * rest, formed
    return 1, factors


def _is_projected(e: Expr) -> bool:
    """Whether e is ±(I − P) X or ±(X − PX), or a transpose of these, for a projector P."""
    _, e = build.coefficient(e)
    if not isinstance(e, Sum):
        return isinstance(e, Product) and any(_projecting(e.args))
    found = build.difference(e)
    if found is None:
        return False
    _, first, second = found
    for X, PX in ((first, second), (second, first)):
        word, factors = X.args if isinstance(X, Product) else (X,), PX.args
        n = len(factors) - len(word)
        if isinstance(PX, Product) and n > 0:
            for rest, P in ((factors[n:], factors[:n]), (factors[:-n], factors[-n:])):
                if rest == word and is_(build.matmul(*P), "projector"):
                    return True
    return False


def _projecting(factors: tuple[Expr, ...]) -> Iterator[tuple[int, tuple[int, Expr]]]:
    """Where factors are ±C for a projector C that is a difference, with the sign."""
    for k, factor in enumerate(factors):
        if isinstance(factor, Sum):
            opposite = build.add(*map(build.negate, factor.args))
            for sign, C in ((1, factor), (-1, opposite)):
                if is_(C, "projector"):
                    yield k, (sign, C)


def _projections(term: Expr) -> Iterator[tuple[Expr, Expr]]:
    """(X, X − PX) of a multiple of tr XᵀPX for a projector P that is an output.

    Of X = YΠ, in tr PYΠYᵀ with another projector Π, it is (I − P) X: m×m and not to be formed.
    """
    _, body = build.coefficient(term)
    whole = body.args[0] if isinstance(body, Trace) else body
    factors = whole.args if isinstance(whole, Product) else ()
    for k, P in enumerate(factors):
        if not (isinstance(P, Output) and is_(P, "projector")):
            continue
        around = (*factors[k + 1 :], *factors[:k])
        if not is_palindrome(around):
            continue
        half, is_odd = divmod(len(around), 2)
        X = build.matmul(*around[: half + is_odd])
        if not is_odd:
            yield X, build.subtract(X, build.matmul(P, X))
        elif is_range(P) and is_range(around[half]):
            yield X, build.matmul(complement_of(P), X)


def _projector_distance(difference: Sum) -> tuple[Expr, Expr] | None:
    """‖P − Q‖² and its residual, for a difference of two projectors of which one is thin."""
    found = build.difference(difference)
    if found is None or not isinstance(found[0], Number) or abs(found[0].value) != 1:
        return None
    _, first, second = found
    if not (is_(first, "projector") and is_(second, "projector")):
        return None
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
