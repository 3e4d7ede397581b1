"""The general solution: dY as the solution operator of the stacked linear equations.

Used where no frames make the coefficients diagonal. With vec(L dY R) = (Rᵀ ⊗ L) vec(dY) the
varied equations are one system M z = w in the stacked vec(dY); M has as many rows and columns
as there are equations and unknown entries, so the cost is cubic in their number.
"""

from __future__ import annotations

import sympy as sp

from mbp.derive.implicit.definition import outputs_of
from mbp.derive.implicit.polynomial import (
    Factor,
    Polynomial,
    add,
    matrix,
    properties,
    scalar_expr,
    scaled,
    symmetry,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr

Row = tuple[Polynomial, Dim, Dim]


def solved(equations: list[Row], outputs: tuple[Expr, ...]) -> tuple[Expr, dict[Expr, Expr]]:
    """M, and dY of each output, from the equations p = 0 that determine them."""
    varied = [(variation(p, varies), rows, cols) for p, rows, cols in equations]
    # dYᵀ of an output without symmetry is an unknown of its own, tied by transposed equations:
    # the least-norm solution of the doubled system is the transpose of itself.
    twins = [
        y for y in outputs
        if not symmetry(y) and any(f.varied and f.transposed and f.letter is y
                                    for p, _, _ in varied for word in p for f in word)
    ]
    if twins:
        varied += [(transpose(p), cols, rows) for p, rows, cols in varied]
    unknowns = [Factor(y, varied=True) for y in outputs] + [
        Factor(y, transposed=True, varied=True) for y in twins
    ]
    blocks: list[Expr] = []
    right: list[Expr] = []
    for p, rows, cols in varied:
        unknown = {
            w: c for w, c in p.items()
            if (k := varied_factor(w)) is not None and w[k].letter in outputs
        }
        if not unknown:
            continue
        known = add(p, scaled(sp.Integer(-1), unknown))
        blocks.append(build.hstack(*(_coefficient(unknown, f, rows, cols) for f in unknowns)))
        right.append(build.vec(matrix(scaled(sp.Integer(-1), known), rows, cols)))
    for position, f in enumerate(unknowns):
        for zeros in _zeros(f):
            blocks.append(_embedded(build.diag_matrix(build.vec(zeros)), position, unknowns))
            right.append(build.zeros(blocks[-1].rows))
    M, w = build.vstack(*blocks), build.vstack(*right)
    inverse = build.inv(M) if M.is_square else outputs_of("generalized_inverse", M)[0]
    z = build.matmul(inverse, w)
    found = {}
    for position, f in enumerate(unknowns[: len(outputs)]):
        pick = _embedded(build.eye(_length(f)), position, unknowns)
        found[f.letter] = build.unvec(build.matmul(pick, z), *f.letter.shape)
    return M, found


def _length(f: Factor) -> Dim:
    return sp.expand(f.letter.rows * f.letter.cols)


def _coefficient(p: Polynomial, unknown: Factor, rows: Dim, cols: Dim) -> Expr:
    """Σ c Rᵀ ⊗ L over the words L dY R of p that hold this unknown."""
    terms = []
    for word, c in p.items():
        k = varied_factor(word)
        if k is not None and word[k] == unknown:
            left = build.matmul(*(f.expr for f in word[:k])) if k else build.eye(rows)
            right = (
                build.matmul(*(f.expr for f in word[k + 1 :]))
                if k + 1 < len(word) else build.eye(cols)
            )
            product = build.kron(build.transpose(right), left)
            terms.append(build.scale(scalar_expr(c), product))
    if terms:
        return build.add(*terms)
    return build.zeros(sp.expand(rows * cols), _length(unknown))


def _zeros(f: Factor) -> list[Expr]:
    """Indicators of the entries of dY that the pattern of Y keeps at zero."""
    known = properties(f.letter)
    ones = build.ones(*f.letter.shape)
    strict = bool(known & {"unit_lower_triangular", "strictly_lower_triangular"})
    lower, upper = ("strictly_upper", "strictly_lower")[:: -1 if f.transposed else 1]
    found = []
    if "lower_triangular" in known:
        found.append(build.part(lower, ones))
    if "upper_triangular" in known:
        found.append(build.part(upper, ones))
    if strict:
        found.append(build.eye(f.letter.rows))
    return found


def _embedded(A: Expr, position: int, unknowns: list[Factor]) -> Expr:
    """A in the columns of one unknown, zeros in those of the others."""
    return build.hstack(*(
        A if k == position else build.zeros(A.rows, _length(f)) for k, f in enumerate(unknowns)
    ))
