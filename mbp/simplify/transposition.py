"""The transpose in normal form: words reversed, each letter transposed by its kind."""

from __future__ import annotations

from functools import lru_cache

import sympy as sp

from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import Diag, Expr, Eye, I, J, Kernel, Ones, Transpose, both, col, row
from mbp.invariants.infer import is_
from mbp.simplify.words import Form, Word, add, identity


def transpose(form: Form) -> Form:
    """The transpose: words reversed, letters flipped, and reduced again."""
    from mbp.simplify.products import multiply, reduced

    if form.is_scalar:
        return form
    terms = []
    for (powers, word), c in form.terms.items():
        sign, flipped = flip_word(word)
        body = reduced(flipped) if flipped else identity(form.cols)
        scalars = Form(ONE, ONE, {(powers, ()): sign * c})
        match body.single:
            case (x, (), letters):
                terms.append(Form(form.cols, form.rows, {(powers, letters): sign * c * x}))
            case _:
                terms.append(multiply(scalars, body))
    return add(terms, form.cols, form.rows)


def flip_word(word: Word) -> tuple[int, Word]:
    """The transposed word and its sign."""
    sign = 1
    flipped = []
    for letter in reversed(word):
        s, other = flip(letter)
        sign *= s
        flipped.append(other)
    return sign, tuple(flipped)


@lru_cache(maxsize=1 << 16)
def flip(letter: Expr) -> tuple[int, Expr]:
    """The transposed letter and its sign: symmetric ones are their own, antisymmetric change it."""
    match letter:
        case Transpose(args=(X,)):
            return 1, X
        case Diag() | Eye():
            return 1, letter
        case Ones():
            return 1, build.ones(letter.cols, letter.rows)
        case Kernel():
            mirrored = _turned_kernel(letter)
            for sign in (1, -1):
                if mirrored.args == letter.args and _same_kernel(mirrored, letter, sign):
                    return sign, letter
            return signed_kernel(mirrored)
    if letter.is_square:
        if is_(letter, "symmetric"):
            return 1, letter
        if is_(letter, "antisymmetric"):
            return -1, letter
    from mbp.simplify.node_forms import turned_letter

    match turned_letter(letter).single:
        case (c, (), (turned,)) if abs(c) == 1:
            return int(c), turned
    return 1, Transpose(letter)


def _turned_kernel(K: Kernel) -> Kernel:
    swap: dict[sp.Symbol, sp.Expr] = {}
    operands = []
    for k, operand in enumerate(K.args):
        if not operand.is_scalar and operand.cols == ONE:
            swap[row(k)], swap[col(k)] = col(k), row(k)
        operands.append(build.transpose(operand) if K.entry.has(both(k)) else operand)
    swap[I], swap[J] = J, I
    diagonal = None if K.diagonal is None else K.diagonal.xreplace(swap)
    turned = build.kernel(K.entry.xreplace(swap), diagonal, tuple(operands), K.cols, K.rows)
    assert isinstance(turned, Kernel)
    return turned


def _same_kernel(K: Kernel, L: Kernel, sign: int) -> bool:
    entries = [(K.entry, L.entry)]
    if K.diagonal is not None and L.diagonal is not None:
        entries.append((K.diagonal, L.diagonal))
    return all(a == sign * b or sp.cancel(sp.together(a - sign * b)) == 0 for a, b in entries)


@lru_cache(maxsize=1 << 12)
def signed_kernel(K: Kernel) -> tuple[int, Kernel]:
    """The kernel or its negative, whichever is the canonical one, with the sign."""
    negative = build.kernel(
        _negated(K.entry), None if K.diagonal is None else _negated(K.diagonal),
        K.args, K.rows, K.cols,
    )  # fmt: skip
    assert isinstance(negative, Kernel)
    if sp.default_sort_key(negative.entry) < sp.default_sort_key(K.entry):
        return -1, negative
    return 1, K


def _negated(entry: sp.Expr) -> sp.Expr:
    if entry.is_Pow and entry.exp == -1 and entry.base.is_Add:
        return 1 / -entry.base.expand() if entry.base.is_Add else -entry
    if entry.is_Mul:
        factors = list(entry.args)
        for k, factor in enumerate(factors):
            if factor.is_Add or (factor.is_Pow and factor.exp == -1 and factor.base.is_Add):
                return sp.Mul(*factors[:k], _negated(factor), *factors[k + 1 :])
    return sp.expand(-entry) if entry.is_Add else -entry
