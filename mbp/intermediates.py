"""Names the intermediates of a layer that is too long to be multiplied out, such as a loop.

A product of sums is a sum of many words, and a loop over them has more with every turn. What such
a layer uses more than once is named then, and every derivation keeps what is named whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from math import prod

from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Frechet,
    Hadamard,
    Inner,
    Inverse,
    Kernel,
    Map,
    Named,
    Number,
    Output,
    Part,
    Product,
    Scale,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Variation,
    Vec,
    fold,
    topological,
)
from mbp.invariants.infer import is_
from mbp.invariants.vocabulary import VOCABULARY
from mbp.simplify import collapse
from mbp.simplify.length import length

MOST_WORDS = 128
MOST_LETTERS = 4000
MOST_FACTORS = 16
"""A layer with more words when multiplied out has its intermediates named, and so has one that is
longer in print, and one with a product of more factors."""

SHORT = 20
"""A scalar that is no longer in print has no name."""

LONGEST_CHAIN = 3
"""A product of more square factors is named two by two, so that its parts are formed once."""

_LETTERS = "SWBDEHPRZYXVNMK"
_WHOLE = Frechet, Inverse, Kernel, Output, Scale, Transpose, Variation
"""What normal forms keep whole, or what is no more than another node."""

_Pair = tuple[type[Expr], Expr, Expr]


def words(*roots: Expr) -> int:
    """How many words `roots` have when multiplied out, like terms counted apart.

    Beyond MOST_WORDS it is not counted how many more each of them has.
    """
    return sum(fold(root, _words) for root in roots)


def _words(node: Expr, below: tuple[int, ...]) -> int:
    match node:
        case Sum():
            return min(sum(below), MOST_WORDS + 1)
        case Product() | Hadamard() | Inner() | Scale():
            return min(prod(below), MOST_WORDS + 1)
        case Transpose() | Trace() | Diag() | DiagVec() | Part() | Vec() | Unvec():
            return below[0]
        case Map(data=("pow",), args=(_, Number(data=(p,)))) if p.is_Integer and p > 0:
            return min(below[0] ** min(int(p), MOST_WORDS), MOST_WORDS + 1)
    return 1


def with_intermediates(outputs: Mapping[str, Expr], taken: Iterable[str]) -> dict[str, Expr]:
    """`outputs` with their intermediates named where they are too long to be multiplied out.

    Named are the sums, products and functions of entries that are used more than once, and the sums
    that are factors. As (A B) C is the one product A B C, what several of them have in common is
    named next: the most frequent pair of neighbours, until none occurs twice (Larsson and Moffat,
    1999). `taken` are names that mean something else.
    """
    roots = tuple(outputs.values())
    if not _is_outsized(roots):
        return dict(outputs)
    before = [node for node in topological(*roots) if isinstance(node, Named)]
    whole: dict[Expr, Expr] = {
        A: build.var(f"_{k}", *A.shape, _known_of(A)) for k, A in enumerate(before)
    }
    roots = tuple(build.substitute(root, whole) for root in roots)
    numbers = map(str, count())
    roots = _with_shared_named(roots, numbers)
    while (pair := _most_frequent_pair(roots)) is not None:
        roots = _with_pair_named(roots, pair, next(numbers))
    roots = _renamed(roots, _letter((*taken, *(A.name for A in before))))
    back = {x: A for A, x in whole.items()}
    return {name: build.substitute(Y, back) for name, Y in zip(outputs, roots, strict=True)}


def _is_outsized(roots: tuple[Expr, ...]) -> bool:
    """Whether the roots are too long multiplied out, written out, or in one of their products."""
    products = (node for node in topological(*roots) if isinstance(node, Product))
    return (
        words(*roots) > MOST_WORDS
        or sum(map(length, roots)) > MOST_LETTERS
        or any(len(node.args) > MOST_FACTORS for node in products)
    )


def _with_shared_named(roots: tuple[Expr, ...], names: Iterator[str]) -> tuple[Expr, ...]:
    """The roots with what is used more than once named, and the sums that are multiplied."""
    nodes = list(topological(*roots))
    uses = Counter(chain(roots, (arg for node in nodes for arg in node.args)))
    factors = {arg for node in nodes if isinstance(node, Product | Hadamard) for arg in node.args}

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        new = build.rebuild(node, args)
        multiplied = isinstance(node, Sum) and node in factors
        if multiplied or (uses[node] > 1 and _is_worth_a_name(node)):
            return build.named(next(names), new, _known_of(node))
        return new

    return _rebuilt(roots, rebuilt)


def _is_worth_a_name(node: Expr) -> bool:
    """Whether a name keeps the node from being multiplied out; short scalars need none."""
    if node.is_scalar:
        return length(node) > SHORT
    return bool(node.args) and not isinstance(node, _WHOLE)


def _known_of(node: Expr) -> tuple[str, ...]:
    """The properties of an expression, which its definition by names may no longer show."""
    return tuple(prop for prop in VOCABULARY.names if is_(node, prop))


def _rebuilt(
    roots: tuple[Expr, ...], f: Callable[[Expr, tuple[Expr, ...]], Expr]
) -> tuple[Expr, ...]:
    """The roots with f applied to every node once, given what its operands have become."""
    done: dict[Expr, Expr] = {}
    for node in topological(*roots):
        done[node] = f(node, tuple(done[arg] for arg in node.args))
    return tuple(done[root] for root in roots)


# --- what several products have in common ---------------------------------------------------------


def _most_frequent_pair(roots: tuple[Expr, ...]) -> _Pair | None:
    """The two neighbours that occur most often, the first found among equals, if twice."""
    found: Counter[_Pair] = Counter()
    for node in topological(*roots):
        last: _Pair | None = None
        for pair in _pairs(node):
            if pair != last:  # A A A has the pair A A once
                found[pair] += 1
            last = None if pair == last else pair
    best = max(found, key=found.__getitem__, default=None)
    if best is not None and found[best] > 1:
        return best
    chains = (node for node in topological(*roots) if _is_long_chain(node))
    return next((pair for node in chains for pair in _pairs(node)), None)


def _is_long_chain(node: Expr) -> bool:
    """Whether the node is a product of so many square matrices that its halves are worth a name."""
    return _is_chain(node) and len(node.args) > LONGEST_CHAIN


def _is_chain(node: Expr) -> bool:
    return isinstance(node, Product) and all(factor.is_square for factor in node.args)


def _pairs(node: Expr) -> Iterator[_Pair]:
    """The neighbours in a sum or product that may be formed before anything else."""
    if isinstance(node, Sum | Product | Hadamard):
        for left, right in zip(node.args, node.args[1:]):
            if not isinstance(node, Product) or _may_be_formed(node, left, right):
                yield type(node), left, right


def _may_be_formed(product: Product, left: Expr, right: Expr) -> bool:
    """Whether a product of two neighbours is no larger than what the whole product is made from.

    One of them is to have a name already, unless all factors are square: FᵀF is not formed for
    FᵀF x.
    """
    bare = (X.args[0] if isinstance(X, Transpose) else X for X in (left, right))
    named = any(isinstance(X, Named) for X in bare)
    column = right.cols == ONE or product.cols != ONE
    row = left.rows == ONE or product.rows != ONE
    return (named or _is_chain(product)) and column and row


def _with_pair_named(roots: tuple[Expr, ...], pair: _Pair, name: str) -> tuple[Expr, ...]:
    """The roots with every occurrence of the pair named; a name that it has already serves."""
    kind, *two = pair
    whole = build.rebuild(kind(*two), tuple(two))
    named = (A for A in topological(*roots) if isinstance(A, Named))
    new = build.named(name, whole, _known_of(_spelled(whole)))
    known = next((A for A in named if A.args[0] is whole), new)

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node is known:
            return args[0]  # which is named where it stands
        if not isinstance(node, kind):
            return build.rebuild(node, args)
        factors: list[Expr] = []
        for k, arg in enumerate(args):
            if list(node.args[k - 1 : k + 1]) == two and factors and factors[-1] is args[k - 1]:
                factors[-1] = build.rebuild(known, (build.rebuild(whole, (factors[-1], arg)),))
            else:
                factors.append(arg)
        return build.rebuild(node, tuple(factors)) if len(factors) > 1 else factors[0]

    return _rebuilt(roots, rebuilt)


def _spelled(product: Expr) -> Expr:
    """A product with the names of other products in it spelled out."""
    factors = (_spelled(A.args[0]) if isinstance(A, Named) else A for A in product.args)
    return build.matmul(*factors) if isinstance(product, Product) else product


# --- names ----------------------------------------------------------------------------------------


def _renamed(roots: tuple[Expr, ...], letter: str) -> tuple[Expr, ...]:
    """The roots with what is named numbered from its operands up, each simplified by itself."""
    numbers = count(1)

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Named):
            return build.named(f"{letter}{next(numbers)}", collapse(args[0]), node.properties)
        return build.rebuild(node, args)

    return _rebuilt(roots, rebuilt)


def _letter(taken: Iterable[str]) -> str:
    """A letter that no other name begins with but for a number."""
    bare = {name.rstrip("0123456789") for name in taken}
    candidates = chain(_LETTERS, (f"{x}{y}" for x in _LETTERS for y in _LETTERS))
    return next(letter for letter in candidates if letter not in bare)
