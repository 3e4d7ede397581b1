"""Splits kernels with a pole at ties, so that only what is over the gap alone meets the pole.

σ_i/(σ_i² − σ_j²) is ½/(σ_i − σ_j) + ½/(σ_i + σ_j). In K ∘ (S A + B S) the first halves gather
A + B, which vanishes at a tie when no choice of vectors matters; A − B over σ_i + σ_j has no
pole, and at a tie it is all there is.
"""

from __future__ import annotations

from functools import lru_cache

import sympy as sp

from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Hadamard,
    Inverse,
    Kernel,
    col,
    fold,
    row,
)
from mbp.simplify.words import Form, Word, form

_GAP = sp.Symbol("gap", real=True)
_MEAN = sp.Symbol("mean", real=True)


def split(root: Expr) -> Expr:
    """The expression with every kernel over a simple gap split."""

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        return _split(same) if isinstance(same, Hadamard) else same

    return fold(root, rebuilt)


def _split(node: Hadamard) -> Expr:
    kernels = [X for X in node.args if isinstance(X, Kernel) and _is_gap(X)]
    rest = [X for X in node.args if X not in kernels]
    if len(kernels) != 1 or len(rest) != 1:
        return node
    K, X = kernels[0], rest[0]
    total = form(X)
    sums: dict[sp.Expr, list[Expr]] = {}
    simple = True
    for (powers, word), c in total.terms.items():
        weight, bare = _weight(word, K)
        if not bare:
            return node
        term = Form(total.rows, total.cols, {(powers, bare): c}).expression()
        poles = _parts(K.entry * weight)
        simple &= len(poles) == 1
        for pole in poles:
            number, entry = pole.as_coeff_Mul()
            sums.setdefault(entry, []).append(build.scale(build.number(number), term))
    if simple:
        return node
    parts = [build.kernel(entry, K.diagonal, K.args, K.rows, K.cols) for entry in sums]
    over = [build.add(*terms) for terms in sums.values()]
    return build.add(*map(build.hadamard, parts, over))


def _is_gap(K: Kernel) -> bool:
    """Whether K is zero on its diagonal and a rational function of one column elsewhere."""
    return (
        len(K.args) == 1
        and K.args[0].cols == ONE
        and K.diagonal == 0
        and bool(K.entry.is_rational_function(row(0), col(0)))
        and K.entry.free_symbols == {row(0), col(0)}
    )


def _weight(word: Word, K: Kernel) -> tuple[sp.Expr, Word]:
    """The powers of K's column that a word begins and ends with, and what is between them."""
    weight: sp.Expr = sp.Integer(1)
    start, stop = 0, len(word)
    while start < stop and (p := _power(word[start], K.args[0])) is not None:
        weight, start = weight * row(0) ** p, start + 1
    while stop > start and (p := _power(word[stop - 1], K.args[0])) is not None:
        weight, stop = weight * col(0) ** p, stop - 1
    return weight, word[start:stop]


def _power(letter: Expr, v: Expr) -> int | None:
    """p where the letter is diag(v)^p, p = ±1."""
    if isinstance(letter, Inverse):
        p = _power(letter.args[0], v)
        return None if p is None else -p
    if isinstance(letter, Diag):
        return 1 if letter.args[0] is v else None
    return 1 if isinstance(v, DiagVec) and v.args[0] is letter else None


@lru_cache(maxsize=1 << 10)
def _parts(entry: sp.Expr) -> tuple[sp.Expr, ...]:
    """A kernel with a simple pole at a tie as the pole and the rest; any other as it is."""
    at = {row(0): _MEAN + _GAP / 2, col(0): _MEAN - _GAP / 2}
    residue = sp.cancel(sp.together(entry.subs(at) * _GAP))
    at_tie = residue.subs(_GAP, 0)
    if at_tie == 0 or at_tie.has(sp.zoo, sp.nan, sp.oo):
        return (sp.factor(entry),)
    gap = row(0) - col(0)
    pole = sp.factor(at_tie.subs(_MEAN, (row(0) + col(0)) / 2)) / gap
    rest = sp.factor(sp.cancel(sp.together(entry - pole)))
    return (pole,) if rest == 0 else (pole, rest)
