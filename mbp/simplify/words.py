"""The normal form's data: sums of words, their linear algebra, and the way back to expressions.

A term is a number times powers of scalars times a word; a word is a product of letters, each an
expression that is no product, transposed or not. The empty word is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import reduce
from math import gcd

import sympy as sp

from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import (
    Expr,
    Named,
    Ones,
    Output,
    Variation,
)
from mbp.simplify.order import order

Exponent = Fraction | Expr
Powers = tuple[tuple[Expr, Exponent], ...]
"""A product of powers, bases in order, no exponent 0."""

Word = tuple[Expr, ...]
Key = tuple[Powers, Word]
Terms = Mapping[Key, Fraction]

UNIT: Fraction = Fraction(1)
HALF: Fraction = Fraction(1, 2)


class Form:
    """A sum of words of one shape; `terms` maps (scalar powers, word) to the coefficient."""

    __slots__ = ("_content", "_expression", "cols", "rows", "terms")

    def __init__(self, rows: Dim, cols: Dim, terms: Terms) -> None:
        self.rows = rows
        self.cols = cols
        self.terms = terms
        self._expression: Expr | None = None
        self._content: Fraction | None = None

    @property
    def is_scalar(self) -> bool:
        """Whether the shape is 1×1."""
        return self.rows is ONE and self.cols is ONE

    @property
    def single(self) -> tuple[Fraction, Powers, Word] | None:
        """(c, powers, word) when there is exactly one term."""
        if len(self.terms) != 1:
            return None
        (((powers, word), c),) = self.terms.items()
        return c, powers, word

    @property
    def letter(self) -> Expr | None:
        """The one letter that the form is, if it is one."""
        match self.single:
            case (c, (), (letter,)) if c == 1:
                return letter
        return None

    def expression(self) -> Expr:
        """The form as an expression, terms in order."""
        if self._expression is None:
            terms = [term_expression(self, key) for key in self.ordered()]
            self._expression = build.add(*terms) if terms else build.zeros(self.rows, self.cols)
        return self._expression

    def ordered(self) -> list[Key]:
        """The terms' keys, longest words first, then by name."""
        return sorted(self.terms, key=key_order)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Form)
            and (self.rows, self.cols) == (other.rows, other.cols)
            and self.terms == other.terms
        )

    def __hash__(self) -> int:
        return hash((self.rows, self.cols, frozenset(self.terms.items())))


def key_order(key: Key) -> tuple[object, ...]:
    """The order of terms in a sum."""
    powers, word = key
    return (
        -len(word), [order(x) for x in word],
        -len(powers), [(order(base), _exponent_order(p)) for base, p in powers],
    )  # fmt: skip


def _with_ones(word: Word) -> Word:
    # 1 1ᵀ is the matrix of ones.
    for k in range(1, len(word)):
        left, right = word[k - 1], word[k]
        if isinstance(left, Ones) and isinstance(right, Ones):
            return (*word[: k - 1], build.ones(left.rows, right.cols), *word[k + 1 :])
    return word


def _exponent_order(p: Exponent) -> tuple[object, ...]:
    return (0, -p) if isinstance(p, Fraction) else (1, order(p))


def term_expression(form: Form, key: Key) -> Expr:
    """One term of `form`, its coefficient included."""
    powers, word = key
    c = build.number(form.terms[key])
    scalars = [powered(base, p) for base, p in powers]
    if form.is_scalar:
        return build.scale_by(scalars, c)
    X = build.matmul(*_with_ones(word)) if word else build.eye(form.rows)
    return build.scale_by([c, *scalars], X)


def powered(base: Expr, p: Exponent) -> Expr:
    """base ** p of each entry."""
    if isinstance(p, Expr):
        return build.power(base, p)
    if p == 1:
        return base
    if p == HALF:
        return build.apply("sqrt", base)
    return build.power(base, build.number(p))


# --- making forms -------------------------------------------------------------------------------


def zero(rows: Dim, cols: Dim) -> Form:
    """The zero matrix."""
    return Form(rows, cols, {})


def identity(n: Dim) -> Form:
    """The n×n identity; for n = 1 the number 1."""
    return Form(n, n, {((), ()): UNIT})


def constant(c: Fraction | int) -> Form:
    """The scalar c."""
    return Form(ONE, ONE, {((), ()): Fraction(c)} if c else {})


def of_word(word: Word, rows: Dim, cols: Dim, c: Fraction | int = UNIT) -> Form:
    """c times a word that is already reduced."""
    return Form(rows, cols, {((), word): Fraction(c)})


def of_letter(letter: Expr, c: Fraction | int = UNIT) -> Form:
    """c times one letter, which for a scalar is a base."""
    if letter.is_scalar:
        return Form(ONE, ONE, {(((letter, UNIT),), ()): Fraction(c)})
    return Form(letter.rows, letter.cols, {((), (letter,)): Fraction(c)})


def as_fraction(value: sp.Expr) -> Fraction:
    """A SymPy rational as a fraction."""
    return Fraction(int(value.p), int(value.q))


# --- linear algebra -----------------------------------------------------------------------------


def add(forms: Iterable[Form], rows: Dim, cols: Dim) -> Form:
    """The sum, like terms combined."""
    total: dict[Key, Fraction] = {}
    for form in forms:
        for key, c in form.terms.items():
            total[key] = total.get(key, Fraction(0)) + c
    return Form(rows, cols, {key: c for key, c in total.items() if c})


def plus(*forms: Form) -> Form:
    """The sum of forms of one shape."""
    return add(forms, forms[0].rows, forms[0].cols)


def times_number(c: Fraction | int, form: Form) -> Form:
    """A number times a form."""
    if c == 1:
        return form
    if c == 0:
        return zero(form.rows, form.cols)
    return Form(form.rows, form.cols, {key: c * value for key, value in form.terms.items()})


def minus(a: Form, b: Form) -> Form:
    """a − b."""
    return plus(a, times_number(-1, b))


def content(form: Form) -> Fraction:
    """The number that divides all coefficients, signed like the first term's."""
    if form._content is None:
        form._content = _content(form)
    return form._content


def _content(form: Form) -> Fraction:
    if not form.terms:
        return UNIT
    values = list(form.terms.values())
    numerator = reduce(gcd, (abs(c.numerator) for c in values))
    denominator = reduce(lambda a, b: a * b // gcd(a, b), (c.denominator for c in values))
    first = form.terms[min(form.terms, key=key_order)]
    return Fraction(numerator if first > 0 else -numerator, denominator)


# --- from expressions ---------------------------------------------------------------------------

_FORMS: dict[Expr, Form] = {}
_RULES: dict[type[Expr], Callable[..., Form]] = {}
_MOST_REMEMBERED = 1 << 17


def normalises(*kinds: type[Expr]) -> Callable[[Callable[..., Form]], Callable[..., Form]]:
    """Registers what gives the form of a node of these kinds from the node."""

    def register(rule: Callable[..., Form]) -> Callable[..., Form]:
        for kind in kinds:
            _RULES[kind] = rule
        return rule

    return register


def form(e: Expr) -> Form:
    """The normal form of `e` as a sum of words; each node is worked out once."""
    known = _FORMS.get(e)
    if known is not None:
        return known
    stack = [e]
    while stack:
        node = stack[-1]
        if node in _FORMS:
            stack.pop()
            continue
        missing = [arg for arg in operands(node) if arg not in _FORMS]
        if missing:
            stack.extend(reversed(missing))
            continue
        _FORMS[node] = _RULES[type(node)](node)
        stack.pop()
    return _FORMS[e]


def operands(node: Expr) -> tuple[Expr, ...]:
    """The operands that are normalised with the node.

    What is varied, what has a name, and the inputs of a decomposition with several outputs, stay as
    they are written: they tell which variation and which decomposition is meant.
    """
    if isinstance(node, Variation | Named) or (isinstance(node, Output) and node.data[-1] > 1):
        return ()
    return node.args


def forget() -> None:
    """Drops the normal forms that are remembered."""
    _FORMS.clear()


def forget_when_full() -> None:
    """Drops what is remembered once it is too much; called between top-level requests."""
    if len(_FORMS) > _MOST_REMEMBERED:
        forget()
