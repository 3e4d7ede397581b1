"""The public face: normal form, readable form, equality."""

from __future__ import annotations

from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.simplify import normal as _rules_of_nodes  # noqa: F401 - registers the nodes' rules
from mbp.simplify.readable import read
from mbp.simplify.words import forget_when_full, form


def normal(e: Expr) -> Expr:
    """The normal form of `e`: a sum of words, reduced by property; equal to `e` everywhere."""
    forget_when_full()
    return form(e).expression()


def readable(e: Expr) -> Expr:
    """`e`, in normal form, as a textbook prints it."""
    return read(e)


def simplify(e: Expr) -> Expr:
    """The readable form of the normal form of `e`."""
    return readable(normal(e))


def equal(a: Expr, b: Expr) -> bool:
    """Whether the normal form of a − b is zero: True is a proof, False only its absence."""
    return not form(build.subtract(a, b)).terms
