"""Finds matrices that are one up to a number and a turn, so that one factorization serves all."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.simplify import primitive


class Multiple(NamedTuple):
    """A = c B, or c Bᵀ if it is turned."""

    c: sp.Expr
    turned: bool
    B: Expr


class Multiples:
    """The matrices of one program, each as a multiple of the first that has its multiples."""

    def __init__(self) -> None:
        self._found: dict[Expr, Multiple] = {}
        self._first: dict[Expr, tuple[sp.Expr, Expr]] = {}

    def of(self, A: Expr) -> Multiple:
        """A as a multiple."""
        if A not in self._found:
            self._found[A] = self._new(A)
        return self._found[A]

    def _new(self, A: Expr) -> Multiple:
        for turned, X in ((False, A), (True, build.transpose(A))):
            c, key = primitive(X)
            if key in self._first:
                lead, B = self._first[key]
                return Multiple(c / lead, turned, B)
        c, key = primitive(A)
        self._first[key] = c, A
        return Multiple(sp.Integer(1), False, A)
