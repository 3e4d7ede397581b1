"""The public face: normal form, readable form, equality."""

from __future__ import annotations

from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.simplify import normal as _rules_of_nodes  # noqa: F401 - registers the nodes' rules
from mbp.simplify.readable import read, read_form
from mbp.simplify.spectral import collapsed
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


def collapse(e: Expr, in_frame: bool = False) -> Expr:
    """The readable form of `e` with spectral factors gone wherever they make a matrix function.

    U diag(g(q)) Uᵀ becomes g(A), and a sum over the paths of eigenvectors and eigenvalues the
    divided-difference derivative of g at A. With `in_frame` such a sum stays in the frame, as one
    kernel that is the divided difference, for programs that have the factors at hand.
    """
    forget_when_full()
    return read_form(collapsed(form(e), in_frame))


def equal(a: Expr, b: Expr) -> bool:
    """Whether the normal form of a − b is zero: True is a proof, False only its absence."""
    return not form(build.subtract(a, b)).terms
