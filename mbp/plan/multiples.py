"""Takes matrices that are multiples of each other to one of them, so that it is factored once."""

from __future__ import annotations

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.nodes import Det, Expr, Frechet, Inverse, LogDet, Sum, fold
from mbp.invariants.infer import is_


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
        c, A = self._first(same.args[0])
        return same if c == 1 else _of_multiple(same, c, A)

    def _first(self, A: Expr) -> tuple[sp.Expr, Expr]:
        """c and the first matrix met that A is c times."""
        terms = _numbered_terms(A)
        lead = min(terms, key=lambda term: str(term[1]))[0]
        key = frozenset((c / lead, body) for c, body in terms)
        if key not in self._known:
            front, _ = build.scalar_factors(build.coefficient(A)[0])
            first = build.scale(build.number(1 / front), A)
            minus = build.add(*(build.scale(build.number(-c / front), X) for c, X in terms))
            is_negative = is_(minus, "positive_definite")
            self._known[key] = (-lead / front, minus) if is_negative else (lead / front, first)
        first_lead, first = self._known[key]
        return lead / first_lead, first


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


def _of_multiple(node: Expr, c: sp.Expr, A: Expr) -> Expr:
    """The node of cA in terms of A."""
    number, n = build.number(c), build.tr(build.eye(A.rows))
    match node:
        case Inverse():
            return build.scale(build.number(1 / c), build.inv(A))
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
