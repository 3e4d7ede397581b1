"""The named functions of the grammar for Python: entrywise, and of a symmetric matrix."""

from __future__ import annotations

from mbp.expr.build import MATRIX_FUNCTIONS, apply, matfun
from mbp.expr.nodes import Expr


def exp(A: Expr) -> Expr:
    """The exponential of each entry."""
    return apply("exp", A)


def log(A: Expr) -> Expr:
    """The natural logarithm of each entry."""
    return apply("log", A)


def sqrt(A: Expr) -> Expr:
    """The square root of each entry."""
    return apply("sqrt", A)


def sin(A: Expr) -> Expr:
    """The sine of each entry."""
    return apply("sin", A)


def cos(A: Expr) -> Expr:
    """The cosine of each entry."""
    return apply("cos", A)


def tan(A: Expr) -> Expr:
    """The tangent of each entry."""
    return apply("tan", A)


def tanh(A: Expr) -> Expr:
    """The hyperbolic tangent of each entry."""
    return apply("tanh", A)


def sigmoid(A: Expr) -> Expr:
    """1 / (1 + exp(−a)) of each entry a."""
    return apply("sigmoid", A)


def relu(A: Expr) -> Expr:
    """max(a, 0) of each entry a."""
    return apply("relu", A)


def abs(A: Expr) -> Expr:
    """The absolute value of each entry."""
    return apply("abs", A)


def sign(A: Expr) -> Expr:
    """The sign of each entry."""
    return apply("sign", A)


def logm(A: Expr) -> Expr:
    """The matrix logarithm of a symmetric positive definite n×n matrix."""
    return matfun(MATRIX_FUNCTIONS["logm"], A)


def expm(A: Expr) -> Expr:
    """The matrix exponential of a symmetric n×n matrix."""
    return matfun(MATRIX_FUNCTIONS["expm"], A)


def sqrtm(A: Expr) -> Expr:
    """The square root of a symmetric positive semidefinite n×n matrix."""
    return matfun(MATRIX_FUNCTIONS["sqrtm"], A)


def invsqrtm(A: Expr) -> Expr:
    """The inverse square root of a symmetric positive definite n×n matrix."""
    return matfun(MATRIX_FUNCTIONS["invsqrtm"], A)
