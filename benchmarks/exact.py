"""Gradients of matrix functions in 50 digits, by mpmath and the chain rule alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mpmath as mp
import sympy as sp
from torch import Tensor

mp.mp.dps = 50
x = sp.Symbol("x")


@dataclass(frozen=True)
class Eigenproblem:
    """A = U diag(q) Uᵀ in 50 digits."""

    q: list[mp.mpf]
    U: mp.matrix

    def along(self, g: sp.Expr, G: mp.matrix) -> mp.matrix:
        """The derivative of g at A along the symmetric part of G (Daleckii and Krein)."""
        value, slope = (sp.lambdify(x, f, "mpmath") for f in (g, sp.diff(g, x)))
        core = self.U.T * ((G + G.T) / 2) * self.U
        values = [value(a) for a in self.q]
        for i, a in enumerate(self.q):
            for j, b in enumerate(self.q):
                # Half of the digits stand behind the quotient, and as many behind the slope.
                near = abs(a - b) <= mp.mpf(10) ** -25 * max(abs(a), abs(b))
                core[i, j] *= slope((a + b) / 2) if near else (values[i] - values[j]) / (a - b)
        return self.U * core * self.U.T


def eigenproblem(A: mp.matrix) -> Eigenproblem:
    """The eigenvalues and eigenvectors of a symmetric matrix; raises if they are not exact."""
    q, U = mp.eigsy(A)
    if mp.norm(A * U - U * mp.diag(q)) > mp.mpf(10) ** -45 * (1 + mp.norm(A)):
        raise ArithmeticError("the eigenvalues are not exact to 45 digits")
    return Eigenproblem(list(q), U)


class Pooling:
    """The gradient of G : g(FᵀF + εI) in F; eigenvalue problems are solved once for every g."""

    _STEP = mp.mpf(10) ** -20

    def __init__(self, F: Tensor, eps: float) -> None:
        self._F, self._eps = matrix(F), mp.mpf(eps)

    @cached_property
    def _solved(self) -> Eigenproblem:
        return self._covariance(self._F)

    @cached_property
    def _moved(self) -> tuple[mp.matrix, Eigenproblem]:
        F = self._F.copy()
        for i in range(F.rows):
            for j in range(F.cols):
                F[i, j] *= 1 + self._STEP * (-1) ** int(7 * mp.sin(1 + i * F.cols + j))
        return F, self._covariance(F)

    def _covariance(self, F: mp.matrix) -> Eigenproblem:
        return eigenproblem(F.T * F + self._eps * mp.eye(F.cols))

    def gradient(self, g: sp.Expr, G: Tensor) -> mp.matrix:
        """The gradient, F and ε taken as the binary fractions they are."""
        return 2 * self._F * self._solved.along(g, matrix(G))

    def sensitivity(self, g: sp.Expr, G: Tensor) -> float:
        """The relative change of the gradient for one of the entries of F, in any direction."""
        F, A = self._moved
        exact = self.gradient(g, G)
        change = 2 * F * A.along(g, matrix(G)) - exact
        return float(mp.norm(change) / mp.norm(exact) / self._STEP)


def matrix(X: Tensor) -> mp.matrix:
    """X in mpmath, without rounding."""
    return mp.matrix(X.double().tolist())


def error(actual: Tensor, exact: mp.matrix) -> float:
    """‖actual − exact‖ / ‖exact‖, nan where actual is not finite."""
    if not actual.isfinite().all():
        return float("nan")
    return float(mp.norm(matrix(actual) - exact) / mp.norm(exact))


def projector_gradient(A: Tensor, G: Tensor) -> mp.matrix:
    """The gradient of G : A A⁺ in a symmetric A whose null space is exact."""
    problem = eigenproblem(matrix(A))
    U, exact = problem.U, matrix(G)
    core = U.T * ((exact + exact.T) / 2) * U
    largest = max(abs(a) for a in problem.q)
    q = [a if abs(a) > mp.mpf(10) ** -40 * largest else mp.mpf(0) for a in problem.q]
    for i, a in enumerate(q):
        for j, b in enumerate(q):
            core[i, j] *= 1 / (a + b) if (a == 0) != (b == 0) else 0
    return U * core * U.T
