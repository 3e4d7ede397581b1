"""Finds the cheapest order of a product, given what exists already, and how it is applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import sympy as sp

from mbp.expr.dims import ONE
from mbp.plan.values import blocks
from mbp.plan.values.algebra import Algebra, by_rank
from mbp.plan.values.value import APPLIED_SQUARE, Form, Value, Word


class Graph(Algebra):
    """The values of one module; `sizes` are the dimensions that orders are chosen at.

    Without `has_lu` a general system is solved as a whole, no factorization of it kept.
    """

    def __init__(self, sizes: Mapping[sp.Symbol, int], has_lu: bool = True) -> None:
        super().__init__(sizes, has_lu)
        self._words: dict[Word, Value] = {}
        self._orders: dict[Word, _Order] = {}
        self._contracted: dict[Word, Word] = {}
        self._partitions: set[Value] = set()
        self._replaced: dict[Word, Word] = {}
        self._spellings: dict[Value, tuple[Spelling, ...]] = {}
        self._spelled: dict[Word, Word] = {}

    def partition(self, E: Value) -> Value:
        """The partition E; products with it sum over its classes or spread over its rows."""
        self._partitions.add(E)
        return E

    def product(self, word: Word) -> Value:
        """The matrix product of `word` in the cheapest order, given what exists already."""
        word = self.rewritten(self.spelled(word))
        c = self.number(sp.Integer(1))
        bare: list[Value] = []
        for factor in word:
            if factor.op == "scale":
                c, factor = self.scale(c, factor.args[0]), factor.args[1]
            if factor.is_scalar and len(word) > 1:
                c = self.scale(c, factor)
            elif factor.op == "ones" and factor.form is Form.DIAGONAL and len(word) > 1:
                continue
            else:
                bare.append(factor)
        if not bare:
            n = next((f for f in word if not f.is_scalar), None)
            return self.scale(c, self.eye(n.rows)) if n is not None else c
        return self.scale(c, self._associated(tuple(bare)))

    def trace_of_product(self, word: Word) -> Value:
        """Tr(A₁ ⋯ Aₙ) as the inner product of the two halves that are cheapest to form."""
        word = self.rewritten(word)
        if len(word) == 1:
            whole = self.product(word)
            return self.trace(self.dense(whole) if whole.form is Form.INVERSE else whole)
        apart = self._apart(word, self._halves_cost(word), self._least_trace)
        if apart:
            return self._signed_sum(apart, self.trace_of_product)
        _, turn, cut = self._halves(word)
        turned = word[turn:] + word[:turn]
        left, right = self.product(turned[:cut]), self.product(turned[cut:])
        return self.inner(self.transpose(self.dense(left)), self.dense(right))

    def trace_cost(self, word: Word) -> float:
        """The flops of `trace_of_product`."""
        word = self.rewritten(word)
        return self._halves_cost(word)

    def _halves_cost(self, word: Word) -> float:
        return self._halves(word)[0] if len(word) > 1 else float(self.size(word[0].rows))

    def _halves(self, word: Word) -> tuple[float, int, int]:
        """The cost, the turn and the cut of the cheapest way to take the trace of a product."""
        options = []
        for turn in range(len(word)):
            turned = word[turn:] + word[:turn]
            for cut in range(1, len(word)):
                entries = self.size(turned[0].rows) * self.size(turned[cut].rows)
                cost = self._formed(turned[:cut]) + self._formed(turned[cut:]) + entries
                options.append((cost, turn, cut))
        return min(options)

    def diagonal_of_product(self, word: Word) -> Value:
        """The diagonal of A₁ ⋯ Aₙ as a column, from the two halves that are cheapest to form."""
        word = self.rewritten(word)
        if len(word) == 1:
            word = self.spelled(word)
        if len(word) == 1:
            return self.diagonal_of(word[0])
        for D, rest in ((word[0], word[1:]), (word[-1], word[:-1])):
            if D.form is Form.DIAGONAL:
                return self.hadamard(self.column(D), self.diagonal_of_product(rest))
        if word[0] in self._partitions and word[-1] is self.transpose(word[0]) and len(word) > 2:
            return self.product((word[0], self.diagonal_of_product(word[1:-1])))
        apart = self._apart(word, self._thinnest(word)[0], self._diagonal_cost)
        if apart:
            return self._signed_sum(apart, self.diagonal_of_product)
        _, cut = self._thinnest(word)
        left, right = self.product(word[:cut]), self.product(word[cut:])
        if Form.DIAGONAL in (left.form, right.form):
            return self.hadamard(self.diagonal_of(left), self.diagonal_of(right))
        return self.row_sum(self.hadamard(self.dense(left), self.transpose(self.dense(right))))

    def _thinnest(self, word: Word) -> tuple[float, int]:
        """The cost and the cut of the cheapest way to take the diagonal of a product."""
        if len(word) == 1:
            return float(self.size(word[0].rows)), 0
        options = []
        for cut in range(1, len(word)):
            entries = self.size(word[0].rows) * self.size(word[cut].rows)
            formed = self._formed(word[:cut]) + self._formed(word[cut:])
            options.append((formed + 2 * entries, cut))
        return min(options)

    def _diagonal_cost(self, word: Word) -> float:
        """The flops of `diagonal_of_product`."""
        kept = tuple(v for v in word if v.form is not Form.DIAGONAL)
        if len(kept) <= 1:
            low_rank = [v.args[1:] for v in kept if v.form is Form.LOW_RANK_INVERSE]
            return sum(map(self._diagonal_cost, low_rank), float(self.size(word[0].rows)))
        whole = self._thinnest(word)[0]
        apart = self._apart(word, whole, self._diagonal_cost)
        return sum(self._diagonal_cost(w) for _, w in apart) if apart else whole

    def _apart(
        self, word: Word, whole: float, cost: Callable[[Word], float]
    ) -> list[tuple[int, Word]]:
        """The word with its first low-rank inverse in parts, if these cost no more than `whole`."""
        words = self._in_parts(word)
        return words if words and sum(cost(w) for _, w in words) <= whole else []

    def _in_parts(self, word: Word) -> list[tuple[int, Word]]:
        """Signed words that a word is the sum of, its first low-rank inverse in its parts."""
        k = next((k for k, v in enumerate(word) if v.form is Form.LOW_RANK_INVERSE), None)
        if k is None:
            return []
        (diagonal, correction) = by_rank(word[k])
        parts = ((1, (diagonal,)), (-1, correction))
        return [(sign, (*word[:k], *part, *word[k + 1 :])) for sign, part in parts]

    def _least_trace(self, word: Word) -> float:
        """The cost of a trace as it stands, or with some of its low-rank inverses in parts."""
        whole = self._halves_cost(word)
        if sum(v.form is Form.LOW_RANK_INVERSE for v in word) > _IN_PARTS:
            return whole
        parts = [self._least_trace(w) for _, w in self._in_parts(word)]
        return min(whole, sum(parts)) if parts else whole

    def _signed_sum(self, words: list[tuple[int, Word]], of: Callable[[Word], Value]) -> Value:
        numbers = {sign: self.number(sp.Integer(sign)) for sign in (1, -1)}
        return self.add(*(self.scale(numbers[sign], of(word)) for sign, word in words))

    def cost(self, word: Word) -> float:
        """The flops of a product in its cheapest order, at the representative sizes."""
        word = self.spelled(self.rewritten(word))
        if len(word) == 1 and word[0].form is Form.KRONECKER:
            return float(self.size(word[0].rows) * self.size(word[0].cols))
        return self._order(word).cost

    def _formed(self, word: Word) -> float:
        """The flops of a product that is needed as a matrix, be it one inverse alone."""
        if len(word) > 1 or word[0].form not in (*APPLIED_SQUARE, Form.PINV):
            return self.cost(word)
        if word[0].form is Form.LOW_RANK_INVERSE:
            return self.cost(by_rank(word[0])[1])
        if word[0].form is Form.COMPLEMENT:
            return self.cost(word[0].args)
        return 2.0 * self.size(word[0].rows) ** 3 if word[0].form is Form.INVERSE else math.inf

    def know(self, word: Word, value: Value) -> None:
        """Notes that `value` is the product of `word`."""
        self._words[word] = value
        self._orders.clear()
        self._contracted.clear()
        self._spelled.clear()

    def replace(self, pair: Word, word: Word) -> None:
        """Notes that two neighbouring letters are to be spelled as `word` from now on."""
        for old, new in ((pair, word), tuple(map(self.mirrored, (pair, word)))):
            self._replaced[old] = new

    def note_orthonormal(self, U: Value) -> None:
        """Notes that UᵀU = I."""
        self.replace((self.transpose(U), U), (self.eye(U.cols),))

    def spell(self, letter: Value, *spellings: Spelling) -> None:
        """Notes the words that a letter stands for, the last one fit for any product.

        Each product takes the cheapest, of many letters the last.
        """
        self._spellings[letter] = spellings
        turned = tuple(Spelling(self.mirrored(s.word), s.extra) for s in spellings)
        if self.transpose(letter) is not letter:
            self._spellings[self.transpose(letter)] = turned
        self._spelled.clear()

    def in_full(self, word: Word) -> Word:
        """`word` with its letters in the spellings that fit any product."""
        return tuple(v for letter in word for v in self._ways(letter)[-1].word)

    def spelled(self, word: Word) -> Word:
        """`word` with its letters that have spellings in those that cost least together."""
        if word not in self._spelled:
            options = self._spelled_ways(word)
            best = min(options, key=lambda s: self._order(s.word).cost + s.extra)
            self._spelled[word] = best.word
        return self._spelled[word]

    def _spelled_ways(self, word: Word) -> list[Spelling]:
        ways = [Spelling(())]
        many = sum(letter in self._spellings for letter in word) > _CHOICES
        for letter in word:
            spellings = self._ways(letter)[-1 if many else 0 :]
            ways = [
                Spelling(way.word + s.word, way.extra + s.extra) for way in ways for s in spellings
            ]
        return ways

    def _ways(self, letter: Value) -> tuple[Spelling, ...]:
        return self._spellings.get(letter, (Spelling((letter,)),))

    def rewritten(self, word: Word) -> Word:
        """`word` with the neighbours that have another spelling spelled so, and ones split."""
        word = _with_ones_split(self, word)
        for i, letter in enumerate(word):
            stop = self._end_of_classes(word, i)
            if stop is not None:
                total = self._class_totals(letter, word[i + 1 : stop])
                return self.rewritten((*word[:i], total, *word[stop + 1 :]))
        for i in range(len(word) - 1):
            if word[i : i + 2] in self._replaced:
                return self.rewritten((*word[:i], *self._replaced[word[i : i + 2]], *word[i + 2 :]))
        return word

    def _end_of_classes(self, word: Word, i: int) -> int | None:
        """Where the E of EᵀE or of EᵀDE stands that begins at i, for a partition E."""
        letter = word[i]
        if letter.op != "transpose" or letter.args[0] not in self._partitions:
            return None
        stop = next((k for k in range(i + 1, len(word)) if word[k].form is not Form.DIAGONAL), i)
        return stop if word[stop] is letter.args[0] else None

    def _class_totals(self, turned: Value, weights: Word) -> Value:
        """EᵀDE = [Eᵀd], the totals of D = [d] in each class, for a partition E: Eᵀ is `turned`."""
        columns = [self.column(D) for D in weights]
        d = self.hadamard(*columns) if columns else self.make("ones", shape=(turned.cols, ONE))
        return self.diagonal(self.product((turned, d)))

    def contracted(self, word: Word) -> Word:
        """`word` with products that exist already as letters, the best first, none dearer."""
        if word not in self._contracted:
            options = [word]
            for length in range(len(word), 1, -1):
                for i in range(len(word) - length + 1):
                    known = self.known(word[i : i + length])
                    if known is not None:
                        options.append((*word[:i], known, *word[i + length :]))
            best = min(options, key=lambda w: (self.cost(w), len(w)))
            self._contracted[word] = best if best is word else self.contracted(best)
        return self._contracted[word]

    def _associated(self, word: Word) -> Value:
        if len(word) == 1:
            return word[0]
        known = self.known(word)
        if known is not None:
            return known
        place = self._between(word)
        if place is not None:
            first, k, last = place
            both = self._associated(word[first : k + 1]), self._associated(word[k:last])
            self.know(word[first:last], self._multiply(*both))
            return self.product((*word[:first], self._words[word[first:last]], *word[last:]))
        self._form_half(word)
        cut = self._order(word).cut
        value = self._multiply(self._associated(word[:cut]), self._associated(word[cut:]))
        self.know(word, value)  # what exists already is free from now on
        return value

    def _form_half(self, word: Word) -> None:
        """Forms H first, where Hᵀ M H costs less so than in any order that forgets the symmetry."""
        n = len(word) // 2
        half, middle = word[len(word) - n :], word[n : len(word) - n]
        if n < 2 or word[:n] != self.mirrored(half) or self.known(half) is not None:
            return
        H = self.make("stand_in", data=(-4,), shape=(half[0].rows, half[-1].cols))
        whole = self.cost((self.transpose(H), *middle, H))
        if self.cost(half) + whole < self.cost(word):
            self._associated(half)

    def _between(self, word: Word) -> tuple[int, int, int] | None:
        """Where X (I − Π) Y stands in `word`, X and Y thin: the start, the complement, the stop.

        The complement is applied to both, for what it leaves of either may be small.
        """
        inner = range(1, len(word) - 1)
        k = next((k for k in inner if word[k].form is Form.COMPLEMENT), None)
        if k is None:
            return None
        first = min(range(k - 1, -1, -1), key=lambda i: self.size(word[i].rows))
        last = min(range(k + 1, len(word)), key=lambda i: self.size(word[i].cols)) + 1
        return first, k, last

    def known(self, word: Word) -> Value | None:
        """The product of `word`, if it exists already."""
        if word in self._words:
            return self._words[word]
        found = self._words.get(self.mirrored(word))
        return None if found is None else self.transpose(found)

    def _order(self, word: Word) -> _Order:
        """The cheapest association of `word`, by dynamic programming over its intervals."""
        if word not in self._orders:
            self._orders[word] = self._new_order(word)
        return self._orders[word]

    def _new_order(self, word: Word) -> _Order:
        if len(word) == 1:
            return _Order(0.0, 1, word[0].form, word[0])
        known = self.known(word)
        if known is not None:
            return _Order(0.0, 1, known.form)
        place = self._between(word)
        if place is not None:
            return self._order_between(word, *place)
        r, c = self.size(word[0].rows), self.size(word[-1].cols)
        options = (self._joined(word, cut, r, c) for cut in range(1, len(word)))
        return min(options, key=_cost_of)

    def _order_between(self, word: Word, first: int, k: int, last: int) -> _Order:
        rows, cols = word[first].rows, word[last - 1].cols
        both = self.make("stand_in", data=(-5,), shape=(rows, cols))
        parts = word[first : k + 1], word[k:last], (*word[:first], both, *word[last:])
        cost = sum(self._order(part).cost for part in parts)
        cost += 2.0 * self.size(rows) * self.size(word[k].rows) * self.size(cols)
        return _Order(cost, k, Form.MATRIX)

    def _joined(self, word: Word, cut: int, r: int, c: int) -> _Order:
        left, right = self._order(word[:cut]), self._order(word[cut:])
        k = self.size(word[cut].rows)
        forms = (left.form, right.form)
        form = Form.MATRIX
        if forms == _PLAIN and left.letter is None and right.letter is None:
            cost = 2.0 * r * k * c
        elif Form.PINV in forms:
            cost = 6.0 * r * k * c if _fits(left.letter, right.letter) else math.inf
        elif forms == (Form.DIAGONAL, Form.DIAGONAL):
            cost, form = float(k), Form.DIAGONAL
        elif any(form in _THROUGH_RANK for form in forms):
            turned = left.form not in _THROUGH_RANK
            cost = self._low_rank_cost(right.letter if turned else left.letter, r if turned else c)
        elif Form.INVERSE in forms:
            cost = 2.0 * r * k * c
        elif Form.DIAGONAL in forms:
            cost = float(r * c)
        elif left.form is Form.KRONECKER:
            cost = self._kron_cost(left.letter, c)
        elif right.form is Form.KRONECKER:
            cost = self._kron_cost(right.letter, r)
        elif self._divides(left.letter):
            cost = float(max(r, k) * c)
        elif self._divides(right.letter):
            cost = float(r * max(k, c))
        else:
            cost = 2.0 * r * k * c
        return _Order(left.cost + right.cost + cost, cut, form)

    def _low_rank_cost(self, letter: Value | None, n: int) -> float:
        """The flops of a low-rank inverse or a complement applied to n columns."""
        assert letter is not None
        is_inverse = letter.form is Form.LOW_RANK_INVERSE
        correction = letter.args[1:] if is_inverse else letter.args
        cost = sum(2.0 * self.size(A.rows) * self.size(A.cols) for A in correction)
        return (cost + 3.0 * self.size(letter.rows)) * n

    def _kron_cost(self, letter: Value | None, n: int) -> float:
        """The flops of a Kronecker product applied to n columns."""
        assert letter is not None
        return blocks.flops(self, letter) * n

    def _multiply(self, left: Value, right: Value) -> Value:
        shape = (left.rows, right.cols)
        if left.op == "scale" or right.op == "scale":
            one = self.number(sp.Integer(1))
            (a, A) = (left.args[0], left.args[1]) if left.op == "scale" else (one, left)
            (b, B) = (right.args[0], right.args[1]) if right.op == "scale" else (one, right)
            return self.scale(self.scale(a, b), self._multiply(A, B))
        if Form.PINV in (left.form, right.form):
            return self._fit(left, right)
        if Form.LOW_RANK_INVERSE in (left.form, right.form):
            return self._apply_low_rank(left, right)
        if Form.COMPLEMENT in (left.form, right.form):
            return self._apply_complement(left, right)
        if left.form is Form.INVERSE or right.form is Form.INVERSE:
            return self._solve(left, right)
        if left.form is Form.DIAGONAL and right.form is Form.DIAGONAL:
            return self.hadamard(left, right)
        if left.form is Form.DIAGONAL:
            return self.make("scale_rows", left, self.dense(right), shape=shape)
        if right.form is Form.DIAGONAL:
            return self.make("scale_cols", self.dense(left), right, shape=shape)
        if left.form is Form.KRONECKER:
            return blocks.applied(self, left, self.dense(right))
        if right.form is Form.KRONECKER:
            return self.transpose(self._multiply(self.transpose(right), self.transpose(left)))
        if right.op == "ones" and right.cols == ONE:
            return self.row_sum(left)
        if left.op == "ones" and left.rows == ONE:
            return self.transpose(self.row_sum(self.transpose(right)))
        if left.cols == ONE:
            return self._outer(left, right)
        if self._divides(right) and not self._divides(left):
            return self.transpose(self._multiply(self.transpose(right), self.transpose(left)))
        if left in self._partitions:
            return self.make("spread", left, right, shape=shape)
        if self._divides(left):
            return self.make("class_sums", left.args[0], right, shape=shape)
        if right.op == "transpose" and self.transpose(left) is left:  # S Xᵀ, row by row
            return self.transpose(self.make("matmul", right.args[0], left, shape=shape[::-1]))
        return self.make("matmul", left, right, shape=shape)

    def _divides(self, v: Value | None) -> bool:
        """Whether v is a partition or the transpose of one."""
        return v is not None and (v.args[0] if v.op == "transpose" else v) in self._partitions

    def _outer(self, u: Value, v: Value) -> Value:
        shape = (u.rows, v.cols)
        if u.op == "ones" and v.op == "ones":
            return self.make("ones", shape=shape)
        return self.make("outer", u, v, shape=shape)

    def _fit(self, left: Value, right: Value) -> Value:
        """(A M)⁺B by the normal equations and one step of refinement (Björck, 1987).

        The residual B − A M T is formed, so that A M need not be, and the digits that MᵀAᵀB
        loses are regained.
        """
        if left.form is not Form.PINV or left.data[0]:
            return self.transpose(self._fit(self.transpose(right), self.transpose(left)))
        (A, M), B = left.args, self.dense(right)
        normal = (self.transpose(M), self.transpose(A))
        T = self.product((*normal, B))
        fitted = self.negate(self.product((A, M, T)))
        return self.add(T, self.product((*normal, self.add(B, fitted))))

    def _apply_low_rank(self, left: Value, right: Value) -> Value:
        """(D⁻¹ − D⁻¹ W D⁻¹) B as D⁻¹(B − W D⁻¹B)."""
        if left.form is not Form.LOW_RANK_INVERSE:
            turned = self._apply_low_rank(self.transpose(right), self.transpose(left))
            return self.transpose(turned)
        inverse, *low_rank = left.args
        B = self.dense(right)
        less = self.negate(self.product((*low_rank, inverse, B)))
        return self.product((inverse, self.add(B, less)))

    def _apply_complement(self, left: Value, right: Value) -> Value:
        """(I − Π) B as B − ΠB."""
        if left.form is not Form.COMPLEMENT:
            turned = self._apply_complement(self.transpose(right), self.transpose(left))
            return self.transpose(turned)
        B = self.dense(right)
        return self.add(B, self.negate(self.product((*left.args, B))))

    def _solve(self, left: Value, right: Value) -> Value:
        if left.form is Form.INVERSE and right.form is Form.INVERSE:
            right = self.dense(right)
        if left.form is not Form.INVERSE:
            return self.transpose(self._solve(self.transpose(right), self.transpose(left)))
        A, (how, transposed) = left.args[0], left.data
        B = self.dense(right)
        shape = (left.rows, B.cols)
        if how == "definite":
            return self.make("cholesky_solve", self.cholesky(A), B, shape=shape)
        if how in ("lower", "upper"):
            return self.make("triangular_solve", A, B, data=(how, transposed), shape=shape)
        if not self.has_lu:
            return self.make("solve", self.transpose(A) if transposed else A, B, shape=shape)
        return self.solve_by_lu(A, B, transposed)


_PLAIN = (Form.MATRIX, Form.MATRIX)
_cost_of = attrgetter("cost")

_THROUGH_RANK = Form.LOW_RANK_INVERSE, Form.COMPLEMENT


@dataclass(frozen=True)
class Spelling:
    """A word that a letter stands for, and the flops of what the word needs besides."""

    word: Word
    extra: float = 0.0


_IN_PARTS = 2
"""The low-rank inverses in a word of which every choice that is in parts is tried."""

_CHOICES = 3
"""The letters in a product whose spellings are tried together."""


@dataclass(frozen=True)
class _Order:
    """The cost of an interval of a product, where it is cut, its form, the letter if it is one."""

    cost: float
    cut: int
    form: Form
    letter: Value | None = None


def _fits(left: Value | None, right: Value | None) -> bool:
    """Whether the one generalised inverse of two factors stands where least squares apply it."""
    applied = left is not None and left.form is Form.PINV and not left.data[0]
    mirrored = right is not None and right.form is Form.PINV and right.data[0]
    return applied != mirrored


def _with_ones_split(graph: Graph, word: Word) -> Word:
    """`word` with ones(r, c) split into a column and a row, so that it is never formed."""
    split: list[Value] = []
    for factor in word:
        full = factor.op == "ones" and factor.form is Form.MATRIX
        if full and ONE not in (factor.rows, factor.cols):
            split.append(graph.make("ones", shape=(factor.rows, ONE)))
            split.append(graph.make("ones", shape=(ONE, factor.cols)))
        else:
            split.append(factor)
    return tuple(split)
