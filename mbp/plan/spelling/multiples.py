"""Takes matrices that are multiples of each other to one of them, so that it is factored once."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.nodes import Det, Expr, Frechet, Inverse, LogDet, Sum, fold
from mbp.invariants.infer import is_


class Multiple(NamedTuple):
    """A = cB, or cBᵀ if it is turned."""

    c: sp.Expr
    turned: bool
    B: Expr


class Multiples:
    """The matrices met so far that are inverted or of which functions are wanted.

    (cA)⁻¹ = A⁻¹/c, det cA = cⁿ det A for n×n, and g(cA) = h(A) with h(x) = g(cx), whose divided
    differences of order p are cᵖ times those of g. The first one is taken without a number in
    front, and a negative definite one as its negative.
    """

    def __init__(self) -> None:
        self._known: dict[frozenset[tuple[sp.Expr, Expr]], tuple[sp.Expr, Expr]] = {}

    def rewritten(self, e: Expr) -> Expr:
        """e with the first multiple met in place of each further one."""
        return fold(e, self._rebuilt)

    def _rebuilt(self, node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if not isinstance(same, Inverse | LogDet | Det | Frechet):
            return same
        found = self._first(same.args[0])
        return same if found.B is same.args[0] else _of_multiple(same, found)

    def _first(self, A: Expr) -> Multiple:
        """A as a multiple of the first matrix met that it is one of."""
        for turned, X in ((False, A), (True, build.transpose(A))):
            lead, key = _key(X)
            if key in self._known:
                first_lead, first = self._known[key]
                return Multiple(lead / first_lead, turned, first)
        lead, key = _key(A)
        terms = _numbered_terms(A)
        front, _ = build.scalar_factors(build.coefficient(A)[0])
        first = build.scale(build.number(1 / front), A)
        minus = build.add(*(build.scale(build.number(-c / front), X) for c, X in terms))
        is_negative = is_(minus, "positive_definite")
        first_lead, first = (-lead / front, minus) if is_negative else (lead / front, first)
        self._known[key] = first_lead, first
        return Multiple(lead / first_lead, False, first)


def _key(A: Expr) -> tuple[sp.Expr, frozenset[tuple[sp.Expr, Expr]]]:
    """The number of A's leading term, and the terms of A divided by it."""
    terms = _numbered_terms(A)
    lead = min(terms, key=lambda term: str(term[1]))[0]
    return lead, frozenset((c / lead, body) for c, body in terms)


def _numbered_terms(A: Expr) -> list[tuple[sp.Expr, Expr]]:
    """The terms of A, each as a number and what it multiplies."""
    front, total = build.coefficient(A)
    value, factors = build.scalar_factors(front)
    summands = total.args if isinstance(total, Sum) and not factors else (total,)
    terms = []
    for summand in summands:
        inner, body = build.coefficient(summand)
        number, others = build.scalar_factors(inner)
        terms.append((value * number, build.scale_by((*factors, *others), body)))
    return terms


def _of_multiple(node: Expr, multiple: Multiple) -> Expr:
    """The node of cA or cAᵀ in terms of A."""
    c, turned, A = multiple
    number, n = build.number(c), build.tr(build.eye(A.rows))
    match node:
        case Inverse():
            inverse = build.inv(A)
            turned_back = build.transpose(inverse) if turned else inverse
            return build.scale(build.number(1 / c), turned_back)
        case LogDet():
            log = build.apply("log", build.number(abs(c)))
            return build.add(build.scale(n, log), build.logdet(A))
        case Det():
            return build.scale(build.power(number, n), build.det(A))
        case Frechet():
            front, g = node.g.subs(scalar.X, c * scalar.X).as_coeff_Mul()
            whole = build.frechet(g, A, node.parameters, *node.directions)
            return build.scale(build.number(front * c**-node.order), whole)
    raise AssertionError(node)
