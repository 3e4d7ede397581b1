"""The general solution: dY as the solution operator of the stacked linear equations.

Used where no frames make the coefficients diagonal. With vec(L dY R) = (Rᵀ ⊗ L) vec(dY) the
varied equations are one system M z = w in the stacked vec(dY); M has as many rows and columns
as there are equations and unknown entries, so the cost is cubic in their number.
"""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from mbp.decomposition import outputs_of
from mbp.derive.implicit.polynomial import (
    Factor,
    Polynomial,
    add,
    matrix,
    properties,
    resolved,
    scalar_expr,
    scaled,
    symmetry,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr


class Row(NamedTuple):
    """An equation p = 0 of a shape, or with `diagonal` only its diagonal."""

    p: Polynomial
    rows: Dim
    cols: Dim
    diagonal: bool = False

    def turned(self) -> Row:
        """The transposed equation."""
        return Row(transpose(self.p), self.cols, self.rows, self.diagonal)


def solved(equations: list[Row], outputs: tuple[Expr, ...]) -> tuple[Expr, dict[Expr, Expr]]:
    """M, and dY of each output, from the equations p = 0 that determine them."""
    varied: list[Row] = []
    for row in equations:
        p = resolved(variation(row.p, varies), frozenset(outputs))
        p = _upright(p) if row.rows == row.cols == ONE else p
        if row._replace(p=p) not in varied:
            varied.append(row._replace(p=p))
    # dYᵀ of an output without symmetry is an unknown of its own, tied by transposed equations:
    # the least-norm solution of the doubled system is the transpose of itself. So a symmetric
    # output comes out symmetric.
    twins = [y for y in outputs if not symmetry(y)]
    turned = any(f.varied and f.transposed and f.letter in outputs
                 for row in varied for word in row.p for f in word)
    symmetric = any(symmetry(y) and not y.is_scalar for y in outputs)
    if turned or (symmetric and not all(_own_transpose(row.p) for row in varied)):
        varied += [row.turned() for row in varied if not _own_transpose(row.p)]
    else:
        twins = []
    unknowns = [Factor(y, varied=True) for y in outputs] + [
        Factor(y, transposed=True, varied=True) for y in twins
    ]
    blocks: list[Expr] = []
    right: list[Expr] = []
    for p, rows, cols, diagonal in varied:
        unknown = {
            w: c for w, c in p.items()
            if (k := varied_factor(w)) is not None and w[k].letter in outputs
        }
        if not unknown:
            continue
        known = add(p, scaled(sp.Integer(-1), unknown))
        block = build.hstack(*(_coefficient(unknown, f, rows, cols) for f in unknowns))
        value = build.vec(matrix(scaled(sp.Integer(-1), known), rows, cols))
        if diagonal:
            mask = build.diag_matrix(build.vec(build.eye(rows)))
            block, value = build.matmul(mask, block), build.matmul(mask, value)
        blocks.append(block)
        right.append(value)
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


def _upright(p: Polynomial) -> Polynomial:
    """A scalar equation's words transposed where their variation is: uᵀdv for dvᵀu."""
    words = (
        tuple(f.T for f in reversed(word)) if any(f.varied and f.transposed for f in word) else word
        for word in p
    )
    return add(*({word: c} for word, c in zip(words, p.values(), strict=True)))


def _own_transpose(p: Polynomial) -> bool:
    return not add(p, scaled(sp.Integer(-1), transpose(p)))


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
