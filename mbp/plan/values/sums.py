"""Sums of words: common factors taken out, products distributed, whichever costs less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sympy as sp

from mbp.expr.dims import Dim
from mbp.plan.values.algebra import by_rank, numbered
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import APPLIED, Form, Value, Word


@dataclass(frozen=True)
class Term:
    """number · scalars · A₁ ⋯ Aₙ for the word A₁ ⋯ Aₙ."""

    word: Word
    number: sp.Expr = sp.S.One
    scalars: Word = ()

    def times(self, other: Term) -> Term:
        """The product of two terms."""
        return Term(
            self.word + other.word, self.number * other.number, self.scalars + other.scalars
        )

    def scaled(self, number: sp.Expr, scalars: Word) -> Term:
        """The term times numbers and scalars."""
        return Term(self.word, self.number * number, scalars + self.scalars)

    def mirrored(self, graph: Graph) -> Term:
        """The transpose."""
        return Term(graph.mirrored(self.word), self.number, self.scalars)

    def parts(self, graph: Graph, kind: str) -> list[Term]:
        """The symmetric or antisymmetric part, inside the frame where there is one.

        A product through a rank that is small beside the frame is halved with its transpose.
        """
        word = without_identities(self.word)
        if graph.mirrored(word) == word:
            return [Term(word, self.number, self.scalars)] if kind == "sym" else []
        rows, cols = graph.size(word[0].rows), graph.size(word[0].cols)
        is_letter = len(word) == 1 and word[0].form is not Form.LOW_RANK_INVERSE
        rank = min(graph.size(v.cols) for v in word)
        is_mirrored = len(word) > 1 and word[0] is graph.transpose(word[-1])
        is_framed = is_mirrored and cols <= rows and cols < 2 * rank
        if is_letter or is_framed:
            outer = word[:1] if is_framed else ()
            inner = graph.part(kind, graph.product(word[1:-1] if outer else word))
            framed = (*outer, inner, *graph.mirrored(outer))
            return [Term(framed, self.number, self.scalars)]
        half = self.scaled(sp.Rational(1, 2), ())
        return [half, half.mirrored(graph).scaled(sp.Integer(-1 if kind == "skew" else 1), ())]

    def of(self, graph: Graph, v: Value) -> Value:
        """v with the coefficient in front."""
        for scalar in reversed(self.scalars):
            v = graph.scale(scalar, v)
        return graph.scale(graph.number(self.number), v)


def assembled(graph: Graph, terms: list[Term], shape: tuple[Dim, Dim]) -> Value:
    """The sum of `terms`: equal words merged, pairs made symmetric, common factors taken out."""
    by_scalars: dict[Word, dict[Word, sp.Expr]] = {}
    for term in terms:
        words = by_scalars.setdefault(tuple(sorted(term.scalars, key=lambda v: v.serial)), {})
        number, word = _without_numbers(term.number, term.word)
        word = _normal(graph, word)
        words[word] = words.get(word, sp.Integer(0)) + number
    sums: list[Value] = []
    for scalars, words in by_scalars.items():
        kept = {word: number for word, number in words.items() if number != 0}
        kept = _with_diagonals(graph, kept)
        values = _group(graph, kept)
        if scalars and len(values) > 1:
            values = [graph.add(*map(graph.dense, values))]
        for value in values:
            sums.append(Term((), sp.Integer(1), scalars).of(graph, value))
    if not sums:
        return graph.make("zeros", shape=shape)
    return graph.add(*(graph.dense(v) if v.form in APPLIED else v for v in sums))


def _normal(graph: Graph, word: Word) -> Word:
    """`word` without identities, with a product in it that exists already as one letter."""
    return graph.contracted(graph.rewritten(without_identities(word)))


def _without_numbers(number: sp.Expr, word: Word) -> tuple[sp.Expr, Word]:
    parts = [numbered(letter) for letter in word]
    return sp.Mul(number, *(c for c, _ in parts)), tuple(letter for _, letter in parts)


def _with_diagonals(graph: Graph, words: dict[Word, sp.Expr]) -> dict[Word, sp.Expr]:
    """Quotients over gaps told of the diagonals that stand in their place in other words.

    Where values tie, U (K ∘ M + [q]) Uᵀ depends on no choice of vectors only if M vanishes there
    and the entries of q are equal.
    """
    told: dict[Word, sp.Expr] = {}
    for word, number in words.items():
        place = next((k for k, v in enumerate(word) if v.op == "over_gaps"), None)
        beside = [] if place is None else [
            other[place] for other in words
            if len(other) == len(word) and other[place].form is Form.DIAGONAL
            and other[:place] == word[:place] and other[place + 1 :] == word[place + 1 :]
        ]  # fmt: skip
        if place is not None and beside:
            letter = graph.beside(word[place], beside[0])
            word = (*word[:place], letter, *word[place + 1 :])
        told[word] = number
    return told


def without_identities(word: Word) -> Word:
    """`word` without the identities in it, unless it is one."""
    kept = tuple(v for v in word if not (v.op == "ones" and v.form is Form.DIAGONAL))
    return kept or word[:1]


def with_diagonals_gathered(terms: Iterable[Term]) -> list[Term]:
    """The terms of a sum, like ones as one; inverses with one D⁻¹ as D⁻¹ − D⁻¹ W D⁻¹."""
    terms = list(terms)
    shared = Counter(term.word[0].args[0] for term in terms if _is_low_rank(term))
    apart: list[Term] = []
    for term in terms:
        if _is_low_rank(term) and shared[term.word[0].args[0]] > 1:
            diagonal, correction = by_rank(term.word[0])
            apart.append(Term((diagonal,), term.number, term.scalars))
            apart.append(Term(correction, -term.number, term.scalars))
        else:
            apart.append(term)
    numbers: dict[tuple[Word, Word], sp.Expr] = {}
    for term in apart:
        key = term.word, term.scalars
        numbers[key] = numbers.get(key, sp.Integer(0)) + term.number
    return [Term(word, c, scalars) for (word, scalars), c in numbers.items() if c != 0]


def _is_low_rank(term: Term) -> bool:
    """Whether the term is a multiple of the inverse of a diagonal plus a low rank."""
    return len(term.word) == 1 and term.word[0].form is Form.LOW_RANK_INVERSE


def pays_to_distribute(
    graph: Graph, before: Word, terms: list[Term], shape: tuple[Dim, Dim], after: Word
) -> bool:
    """Whether applying the terms of one m×n factor costs less than forming that factor.

    They are applied in words of their own, or to a product of neighbours that they share.
    """
    rows, cols = shape
    whole = graph.make("stand_in", data=(-1,), shape=shape)
    apart = [without_identities((*before, *term.word, *after)) for term in terms]
    formed = sum(graph.cost(term.word) for term in terms)
    formed += graph.cost((*before, whole, *after))
    costs = [sum(map(graph.cost, apart))]
    for cut in range(1, len(after) + 1):
        X = graph.make("stand_in", data=(-2,), shape=(cols, after[cut - 1].cols))
        applied = graph.make("stand_in", data=(-3,), shape=(rows, X.cols))
        words = [without_identities((*term.word, X)) for term in terms]
        rest = (*before, applied, *after[cut:])
        costs.append(graph.cost(after[:cut]) + sum(map(graph.cost, words)) + graph.cost(rest))
    for cut in range(len(before)):
        X = graph.make("stand_in", data=(-2,), shape=(before[cut].rows, rows))
        applied = graph.make("stand_in", data=(-3,), shape=(X.rows, cols))
        words = [without_identities((X, *term.word)) for term in terms]
        rest = (*before[:cut], applied, *after)
        costs.append(graph.cost(before[cut:]) + sum(map(graph.cost, words)) + graph.cost(rest))
    return min(costs) < formed


def _group(graph: Graph, words: dict[Word, sp.Expr]) -> list[Value]:
    """The values whose sum is Σ number · word."""
    if not words:
        return []
    symmetric, rest = _pairs(graph, words, sp.Integer(1))
    antisymmetric, rest = _pairs(graph, rest, sp.Integer(-1))
    values = _factored(graph, rest)
    for kind, pairs in (("sym", symmetric), ("skew", antisymmetric)):
        if pairs:
            values.append(graph.part(kind, graph.add(*_factored(graph, pairs))))
    return values


def _pairs(
    graph: Graph, words: dict[Word, sp.Expr], sign: sp.Expr
) -> tuple[dict[Word, sp.Expr], dict[Word, sp.Expr]]:
    """Words that occur with `sign` times their transposes, one of each pair doubled; the rest.

    c w + c wᵀ is the symmetric part of 2c w, so half of the products are enough.
    """
    starts = Counter(word[0] for word in words)
    pairs: dict[Word, sp.Expr] = {}
    rest = dict(words)
    for word, number in words.items():
        other = graph.mirrored(word)
        if word not in rest or other == word or rest.get(other) != sign * number:
            continue
        del rest[word], rest[other]
        first = max((word, other), key=lambda w: (starts[w[0]], w == word))
        pairs[first] = 2 * words[first]
    begun = {word[0] for word in pairs}
    for word, number in list(rest.items()):
        if sign > 0 and word[0] in begun and graph.mirrored(word) == word:
            pairs[word] = number  # its own symmetric part, with a factor to share
            del rest[word]
    return pairs, rest


def _factored(graph: Graph, words: dict[Word, sp.Expr]) -> list[Value]:
    """The values whose sum is Σ number · word, first or last letters taken out where that pays."""
    values: list[Value] = []
    costs: dict[Word, float] = {}

    def cost(word: Word) -> float:
        if word not in costs:
            costs[word] = graph.cost(word) if word else 0.0
        return costs[word]

    while True:
        best = _best_factor(graph, words, cost)
        if best is None:
            break
        shared, first, members = best
        n = len(shared)
        inner = {(w[n:] if first else w[:-n]): words[w] for w in members}
        words = {w: number for w, number in words.items() if w not in members}
        numbers = {abs(number) for number in inner.values()}
        common = numbers.pop() if len(numbers) == 1 else sp.Integer(1)
        common *= sp.sign(next(iter(inner.values())))
        inside = graph.add(*_factored(graph, {w: c / common for w, c in inner.items()}))
        product = graph.product((*shared, inside) if first else (inside, *shared))
        values.append(graph.scale(graph.number(common), product))
    values += [graph.scale(graph.number(number), graph.product(w)) for w, number in words.items()]
    return values


def _best_factor(
    graph: Graph, words: Iterable[Word], cost: Callable[[Word], float]
) -> tuple[Word, bool, list[Word]] | None:
    """The common beginning (or end) whose taking out saves most, with the words that have it."""
    best: tuple[float, int, Word, bool, list[Word]] | None = None
    for first in (True, False):
        groups: dict[Word, list[Word]] = {}
        for word in words:
            for n in range(1, len(word)):
                groups.setdefault(word[:n] if first else word[-n:], []).append(word)
        for shared, members in groups.items():
            if len(members) < 2:
                continue
            n = len(shared)
            rests = [w[n:] if first else w[:-n] for w in members]
            inner = graph.make("stand_in", shape=(rests[0][0].rows, rests[0][-1].cols))
            joined = cost((*shared, inner) if first else (inner, *shared))
            saved = sum(map(cost, members)) - sum(map(cost, rests)) - joined
            if saved > 0 and (best is None or (saved, n) > best[:2]):
                best = (saved, n, shared, first, members)
    return None if best is None else best[2:]
