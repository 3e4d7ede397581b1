"""The public face: normal form, readable form, equality."""

from __future__ import annotations

import sys
from functools import lru_cache

from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import Expr, Frechet, topological
from mbp.rulebook import RULEBOOK
from mbp.simplify import node_forms as node_forms  # registers what each node does
from mbp.simplify.length import length, shortest
from mbp.simplify.reading import read, read_form, spread_sign
from mbp.simplify.spectral import collapsed
from mbp.simplify.words import Form, forget, forget_when_full, form, operands


def normal(e: Expr) -> Expr:
    """The normal form of `e`: a sum of words, reduced by property; equal to `e` everywhere."""
    forget_when_full()
    return form(e).expression()


def readable(e: Expr) -> Expr:
    """`e`, in normal form, as a textbook prints it."""
    return read(e)


def simplify(e: Expr) -> Expr:
    """The readable form of the normal form of `e`, or of its parts where that is shorter."""
    forget_when_full()
    return _simplified(e)


@lru_cache(maxsize=1 << 14)
def _simplified(e: Expr) -> Expr:
    total = form(e)
    parts = operands(e)
    if depth(e) > DEEP:  # bottom up, so that nothing recurses
        for node in topological(e):
            if node is not e:
                _simplified(node)
    if parts and _outgrows(total, e):
        return build.rebuild(e, tuple(_simplified(arg) for arg in parts))
    if depth(e) > DEEP:
        for node in topological(total.expression()):
            read(node)
    whole = spread_sign(read_form(total))
    if length(whole) <= length(e) or not parts:
        return whole
    return shortest((whole, build.rebuild(e, tuple(_simplified(arg) for arg in parts))))


def collapse(e: Expr, in_frame: bool = False) -> Expr:
    """The readable form of `e` with spectral factors gone wherever they make a matrix function.

    U diag(g(q)) Uᵀ becomes g(A), a function of functions of A one function of A, and a sum over
    the paths of eigenvectors and eigenvalues the divided-difference derivative of g at A. With
    `in_frame` such a sum stays in the frame, as one kernel that is the divided difference, for
    programs that have the factors at hand.
    """
    forget_when_full()
    total = form(e)
    other = collapsed(total, in_frame)
    if other == total:
        short = _simplified(e)
        if _outgrows(total, e):
            return short
        whole = spread_sign(read_form(total))
        return whole if _functions(whole) < _functions(short) else short
    return spread_sign(read_form(other))


def _outgrows(total: Form, e: Expr) -> bool:
    return length(total.expression()) > MOST_GROWTH * (length(e) + SHORT)


def _functions(e: Expr) -> int:
    return sum(isinstance(node, Frechet) for node in topological(e))


MOST_GROWTH = 1.5
SHORT = 500
"""Normal forms that are not short and this many times longer than the expression are not read."""

DEEP = 40
"""From this depth on an expression is read from its leaves up."""


@lru_cache(maxsize=1 << 16)
def _depth(e: Expr) -> int:
    return 1 + max((_depth(arg) for arg in e.args), default=0)


def depth(e: Expr) -> int:
    """How many operations deep an expression is."""
    for node in topological(e):
        _depth(node)
    return _depth(e)


def equal(a: Expr, b: Expr) -> bool:
    """Whether the normal form of a − b is zero: True is a proof, False only its absence.

    Rows are compared as columns, whose entrywise products have one form more often.
    """
    difference = build.subtract(a, b)
    return not form(difference.T if difference.rows == ONE else difference).terms


def _forget() -> None:
    """Drops all that is remembered, as new rewrites may change it."""
    forget()
    for name, module in list(sys.modules.items()):
        if name.startswith("mbp.simplify"):
            for value in vars(module).values():
                if callable(getattr(value, "cache_clear", None)):
                    value.cache_clear()


RULEBOOK.when_changed(_forget)
