"""Squares of sums of products of projectors, by what each projection leaves.

‖S‖² = ‖ΠS‖² + ‖(I − Π)S‖² takes S apart, from the left and from the right, into products of
projectors Π and their complements I − Π. A sum of their squares has no cancellation left; the
traces that ‖S‖² expands to cancel as ranges come to meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mbp.expr import build
from mbp.expr.nodes import Expr, Eye, Inner, Number, Output, Product, Sum, fold, topological
from mbp.plan.lowering.ranges import projects
from mbp.simplify import normal, simplify

Letters = tuple[Expr, ...]
Words = Mapping[Letters, Expr]
"""A sum of products: the factors of each, and what is in front of it."""


def projected_squares(outputs: Iterable[Expr]) -> tuple[dict[Expr, Expr], frozenset[Expr]]:
    """A sum of squares that is ‖S‖², by its normal form, for each S in `outputs` of projectors.

    Of an S whose products all begin or end with one thin factor, S itself is formed; these too.
    """
    found: dict[Expr, Expr] = {}
    formed: set[Expr] = set()
    for node in topological(*outputs):
        if not is_square(node):
            continue
        S = normal(node.args[0])
        words = _words(S)
        parts = _apart(words) or {}
        if len(parts) > 1 and _is_thin(words):
            formed.add(S)
            found[normal(node)] = build.inner(S, S)
        elif any(map(_is_left, parts)) and all(map(_has_range, parts)):
            squares = (_square(word, c) for word, c in parts.items())
            found[normal(node)] = build.add(*squares)
    return found, frozenset(formed)


def with_squares(e: Expr, squares: Mapping[Expr, Expr]) -> Expr:
    """e with multiples of ‖S‖², expanded or not, as those of its sum of squares."""

    def rebuilt(node: Expr, args: Letters) -> Expr:
        same = build.rebuild(node, args)
        if isinstance(same, Inner | Sum) and same.is_scalar:
            for expanded, square in squares.items():
                c = ratio(normal(same), expanded)
                if c is not None:
                    return build.scale(c, square)
        return same

    return fold(e, rebuilt) if squares else e


def with_complements(e: Expr) -> Expr:
    """e with Π(I − Ψ)Y for (I − ΠΨ)Y, Y in the range of Π: what the projections leave is small."""

    def rebuilt(node: Expr, args: Letters) -> Expr:
        for k, factor in enumerate(args[:-1]) if isinstance(node, Product) else ():
            c, word = _less_than_identity(factor)
            keeps = len(word) == 2 and all(map(is_range, word))
            if keeps and normal(build.matmul(word[0], args[k + 1])) is normal(args[k + 1]):
                product = build.matmul(word[0], complement_of(word[1]))
                return build.matmul(*args[:k], build.scale(c, product), *args[k + 1 :])
        return build.rebuild(node, args)

    return fold(e, rebuilt)


def is_square(e: Expr) -> bool:
    """Whether e is ‖X‖² as it stands."""
    return isinstance(e, Inner) and e.args[0] is e.args[1]


def complement(e: Expr) -> tuple[int, Expr] | None:
    """The sign and Π of ±(I − Π), Π the projector onto a range."""
    c, word = _less_than_identity(e)
    if len(word) == 1 and is_range(word[0]) and isinstance(c, Number) and abs(c.value) == 1:
        return int(c.value), word[0]
    return None


def complemented(roots: Iterable[Expr]) -> frozenset[Expr]:
    """The projectors in `roots`, where a square has a complement of one of them as a factor."""
    nodes = list(topological(*roots))
    factors = [A.args[0].args for A in nodes if is_square(A) and isinstance(A.args[0], Product)]
    return frozenset(filter(is_range, nodes)) if any(map(_is_left, factors)) else frozenset()


def _less_than_identity(e: Expr) -> tuple[Expr, Letters]:
    """c and the factors of A for c (I − A), none for what is no such difference."""
    c, X, Y = build.difference(e) or (build.number(1), e, e)
    if isinstance(X, Eye) and not isinstance(Y, Eye):
        return c, _factors(Y)
    if isinstance(Y, Eye) and not isinstance(X, Eye):
        return build.negate(c), _factors(X)
    return build.number(1), ()


def _factors(X: Expr) -> Letters:
    return X.args if isinstance(X, Product) else (X,)


def complement_of(P: Expr) -> Expr:
    """I − P."""
    return build.subtract(build.eye(P.rows), P)


def is_range(P: Expr) -> bool:
    """Whether P is the projector onto the range of a matrix."""
    return isinstance(P, Output) and projects(P)


def _square(word: Letters, c: Expr) -> Expr:
    if all(map(_is_idempotent, word)) and not is_range(word[-1]):
        word = word[::-1]
    X = build.matmul(*word)
    square = build.tr(X) if len(word) == 1 and is_range(X) else build.inner(X, X)
    return build.scale(normal(build.scale(c, c)), square)


def _is_left(word: Letters) -> bool:
    """Whether the product is what a projection leaves of the range of another one."""
    return any(map(complement, word)) and _has_range(word)


def _has_range(word: Letters) -> bool:
    """Whether the product begins or ends with the projector onto a range, so that it is thin."""
    return bool(word) and (is_range(word[0]) or is_range(word[-1]))


def ratio(e: Expr, other: Expr) -> Expr | None:
    """The number c of e = c · other, both in normal form."""
    pairs = [
        build.scalar_factors(build.coefficient(X.args[0] if isinstance(X, Sum) else X)[0])[0]
        for X in (e, other)
    ]
    c = build.number(pairs[0] / pairs[1])
    return c if normal(build.scale(c, other)) is e else None


def _words(S: Expr) -> Words:
    """The sum that S is in normal form; the readable form of a product names its projectors."""
    words: dict[Letters, Expr] = {}
    for term in S.args if isinstance(S, Sum) else (S,):
        c, X = build.coefficient(simplify(term))
        words[() if isinstance(X, Eye) else _factors(X)] = c
    return words


def _is_thin(words: Words) -> bool:
    """Whether all products begin or end with one factor that is no projector."""
    ends = [{word[end] for word in words} for end in (0, -1)] if all(words) else []
    return any(len(end) == 1 and not any(map(_is_idempotent, end)) for end in ends)


def _apart(words: Words) -> Words | None:
    """Products whose squares add up to that of the sum; None where projectors do not suffice."""
    factored = _factored(words)
    if factored is not None:
        return factored
    for end in (0, -1):
        ends = dict.fromkeys(word[end] if word else None for word in words)
        P = next((A for A in ends if A is not None and is_range(A)), None)
        if P is not None and len(ends) > 1:
            within, left = (_apart(_times(words, A, end)) for A in (P, complement_of(P)))
            return None if within is None or left is None else {**within, **left}
    return None


def _times(words: Words, A: Expr, end: int) -> Words:
    """A S or, at the other end, S A, for a projector or a complement A."""
    product: dict[Letters, Expr] = {}
    opposite = _opposite(A)
    for word, c in words.items():
        if word and word[end] is opposite:
            continue
        if not word or word[end] is not A:
            word = (A, *word) if end == 0 else (*word, A)
        product[word] = build.add(product[word], c) if word in product else c
    return {word: c for word, c in product.items() if not build.is_zero(normal(c))}


def _opposite(A: Expr) -> Expr:
    """I − A for a projector or a complement A."""
    found = complement(A)
    return found[1] if found is not None else complement_of(A)


def _is_idempotent(A: Expr) -> bool:
    return is_range(A) or complement(A) is not None


def _factored(words: Words) -> Words | None:
    """The one product that a sum is, with a complement for I − Π in it, if it is one."""
    if len(words) < 2:
        return words
    before: Letters = ()
    after: Letters = ()
    while (shared := _shared(words, 0)) is not None:
        before = (*before, shared)
        twice = _is_idempotent(shared) and _shared(words, -1) is shared  # Π A Π − Π
        words = {word[1:-1] if twice else word[1:]: c for word, c in words.items()}
        after = (shared, *after) if twice else after
    while (shared := _shared(words, -1)) is not None:
        after = (shared, *after)
        words = {word[:-1]: c for word, c in words.items()}
    c = words.get((), build.number(0))
    rest = [word for word in words if word]
    if len(words) != 2 or len(rest) != 1 or words[rest[0]] is not build.negate(c):
        return None
    P, *others = rest[0]
    return None if others or not is_range(P) else {(*before, complement_of(P), *after): c}


def _shared(words: Words, end: int) -> Expr | None:
    """The factor that all products begin or end with."""
    ends = {word[end] if word else None for word in words}
    return ends.pop() if len(ends) == 1 else None
