"""The two arithmetics of the numeric witnesses: NumPy float64 and mpmath with any precision.

A matrix is a two-dimensional NumPy array in both, of float64 or of mpmath numbers; a scalar is
1×1. Both take the same linear algebra, so that whoever evaluates need not know which it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from numpy.typing import NDArray
from sympy.printing.numpy import NumPyPrinter
from sympy.printing.pycode import MpmathPrinter

from mbp.errors import MbpError

Array = NDArray[Any]
Entrywise = Callable[..., Any]


class Arithmetic(ABC):
    """Real numbers of one precision, matrices of them and their linear algebra."""

    epsilon: float
    """The relative rounding error."""

    rank_tolerance: float
    """Singular values below this fraction of the largest count as zero."""

    @abstractmethod
    def matrix(self, value: object) -> Array:
        """`value` in this arithmetic: a number becomes 1×1, a list of numbers a column."""

    @abstractmethod
    def number(self, value: sp.Expr) -> Any:
        """The value of a SymPy number."""

    @abstractmethod
    def compiled(self, g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
        """`g` as a function of `symbols`, of numbers; raises MbpError for an unknown function."""

    @abstractmethod
    def entrywise(self, g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
        """`g` as a function of arrays of equal shapes."""

    @abstractmethod
    def power(self, A: Array, p: Any) -> Array:
        """A ** p of each entry; a negative base takes integer exponents only."""

    @abstractmethod
    def inverse(self, A: Array) -> Array:
        """A⁻¹."""

    @abstractmethod
    def determinant(self, A: Array) -> Any:
        """det A."""

    @abstractmethod
    def eigh(self, A: Array) -> tuple[Array, Array]:
        """(λ as a column, ascending; U) with A = U [λ] Uᵀ, of the symmetric part of A."""

    @abstractmethod
    def svd(self, A: Array) -> tuple[Array, Array, Array]:
        """(U, σ as a column, descending; V), all square: A = U[:, :r] [σ] V[:, :r]ᵀ."""

    @abstractmethod
    def cholesky(self, A: Array) -> Array:
        """L, lower triangular with a positive diagonal, A = L Lᵀ."""

    @abstractmethod
    def qr(self, A: Array) -> tuple[Array, Array]:
        """(Q, R), thin, R with a nonnegative diagonal."""

    def zeros(self, rows: int, cols: int) -> Array:
        """The zero matrix."""
        return self.matrix(np.zeros((rows, cols)))

    def eye(self, n: int) -> Array:
        """The identity."""
        return self.matrix(np.eye(n))

    def norm(self, A: Array) -> float:
        """The Frobenius norm."""
        return math.sqrt(max(float((A * A).sum()), 0.0)) if A.size else 0.0

    def rank_split(self, A: Array) -> tuple[Array, Array, Array, int]:
        """The SVD of A and its rank by the rank tolerance."""
        U, s, V = self.svd(A)
        largest = max((float(x) for x in s[:, 0]), default=0.0)
        return U, s, V, sum(float(x) > self.rank_tolerance * largest for x in s[:, 0])

    def pinv(self, A: Array) -> Array:
        """A⁺, singular values below the rank tolerance taken as zero."""
        U, s, V, r = self.rank_split(A)
        return (V[:, :r] / s[:r, 0]) @ U[:, :r].T


def _as_columns(array: Array) -> Array:
    if array.ndim == 2:
        return array
    if array.ndim > 2:
        raise MbpError(f"a matrix is wanted, not an array with {array.ndim} dimensions")
    return array.reshape(-1, 1)


class _Float64(Arithmetic):
    """NumPy's float64."""

    epsilon = 2.0**-52
    rank_tolerance = 1e-11

    def matrix(self, value: object) -> Array:
        return _as_columns(np.asarray(value, dtype=np.float64))

    def number(self, value: sp.Expr) -> float:
        return float(value)

    def compiled(self, g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
        return _numpy_function(g, symbols)

    def entrywise(self, g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
        function = _numpy_function(g, symbols)
        return lambda *arrays: np.broadcast_to(function(*arrays), arrays[0].shape)

    def power(self, A: Array, p: Any) -> Array:
        with np.errstate(invalid="ignore"):  # nan outside the domain
            return np.asarray(np.power(A, p))

    def inverse(self, A: Array) -> Array:
        return np.linalg.inv(A)

    def determinant(self, A: Array) -> Any:
        return np.linalg.det(A)

    def eigh(self, A: Array) -> tuple[Array, Array]:
        if not np.isfinite(A).all():  # LAPACK would raise
            return np.full((len(A), 1), np.nan), np.full(A.shape, np.nan)
        values, U = np.linalg.eigh((A + A.T) / 2)
        return values.reshape(-1, 1), U

    def svd(self, A: Array) -> tuple[Array, Array, Array]:
        U, s, Vt = np.linalg.svd(A)
        return U, s.reshape(-1, 1), Vt.T

    def cholesky(self, A: Array) -> Array:
        return np.linalg.cholesky(A)

    def qr(self, A: Array) -> tuple[Array, Array]:
        return _with_positive_diagonal(*np.linalg.qr(A))


class _Multiprecision(Arithmetic):
    """mpmath with the given number of decimal digits, in a context of its own."""

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.context: Any = mpmath.MPContext()
        self.context.dps = digits
        self.epsilon = 10.0**-digits
        self.rank_tolerance = 10.0 ** -(digits // 2)
        self._functions: dict[Any, Entrywise] = {}
        self._names = {
            name: getattr(self.context, name)
            for name in dir(self.context)
            if not name.startswith("_")
        }
        self._names |= {name: getattr(self.context, f) for name, f in _OF_MPMATH.items()}

    def matrix(self, value: object) -> Array:
        mpf = self.context.mpf
        array = np.asarray(value)
        if array.dtype != object:
            array = array.astype(np.float64)
        exact = np.frompyfunc(lambda x: self.number(x) if isinstance(x, sp.Expr) else mpf(x), 1, 1)
        return _as_columns(np.asarray(exact(array), dtype=object))

    def number(self, value: sp.Expr) -> Any:
        if value.is_Rational:
            return self.context.mpf(int(value.p)) / int(value.q)
        return self.compiled(sp.sympify(value), ())()

    def compiled(self, g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
        key = g, symbols
        if key not in self._functions:
            printer = MpmathPrinter(
                {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}
            )
            real, bare = self._real, _lambdified(g, symbols, self._names, printer)
            self._functions[key] = lambda *numbers: real(bare(*numbers))
        return self._functions[key]

    def entrywise(self, g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
        function = np.frompyfunc(self.compiled(g, symbols), len(symbols), 1)
        return lambda *arrays: np.asarray(function(*arrays), dtype=object)

    def power(self, A: Array, p: Any) -> Array:
        exponent = int(p) if p == int(p) else p
        return np.asarray(np.frompyfunc(lambda x: self._real(x**exponent), 1, 1)(A), dtype=object)

    def inverse(self, A: Array) -> Array:
        return self._array(self.context.inverse(self.context.matrix(A.tolist())))

    def determinant(self, A: Array) -> Any:
        return self.context.det(self.context.matrix(A.tolist()))

    def eigh(self, A: Array) -> tuple[Array, Array]:
        values, U = self.context.eigsy(self.context.matrix(((A + A.T) / 2).tolist()))
        return self._array(values).reshape(-1, 1), self._array(U)

    def svd(self, A: Array) -> tuple[Array, Array, Array]:
        if A.shape[0] < A.shape[1]:
            V, s, U = self.svd(A.T)
            return U, s, V
        full, s, Vt = self.context.svd_r(self.context.matrix(A.tolist()), full_matrices=True)
        return self._array(full), self._array(s).reshape(-1, 1), self._array(Vt).T

    def cholesky(self, A: Array) -> Array:
        return self._array(self.context.cholesky(self.context.matrix(A.tolist())))

    def qr(self, A: Array) -> tuple[Array, Array]:
        Q, R = self.context.qr(self.context.matrix(A.tolist()), mode="skinny")
        return _with_positive_diagonal(self._array(Q), self._array(R))

    def _real(self, x: Any) -> Any:
        # Outside its real domain a function has no value, as in NumPy.
        return self.context.nan if isinstance(x, self.context.mpc) else self.context.mpf(x)

    def _array(self, A: Any) -> Array:
        return np.array(A.tolist(), dtype=object).reshape(A.rows, A.cols)


def _with_positive_diagonal(Q: Array, R: Array) -> tuple[Array, Array]:
    signs = np.array([-1 if x < 0 else 1 for x in np.diagonal(R)])
    k = len(signs)
    return Q[:, :k] * signs, signs.reshape(-1, 1) * R[:k]


def _lambdified(
    g: sp.Expr, symbols: Sequence[sp.Symbol], names: dict[str, Any], printer: Any
) -> Entrywise:
    unknown = {call.func.__name__ for call in g.atoms(sp.core.function.AppliedUndef)}
    if unknown or g.has(sp.Derivative, sp.Subs):
        raise MbpError(f"the scalar function {g} has no numeric value")
    function: Entrywise = sp.lambdify(symbols, g, modules=[names], printer=printer)
    return function


_OF_MPMATH = {
    "polygamma": "psi", "LambertW": "lambertw", "Si": "si", "Ci": "ci", "Shi": "shi", "Chi": "chi",
    "Ei": "ei", "li": "li", "airyai": "airyai", "airybi": "airybi", "erfi": "erfi",
    "erfinv": "erfinv", "fresnels": "fresnels", "fresnelc": "fresnelc", "besselj": "besselj",
    "bessely": "bessely", "besseli": "besseli", "besselk": "besselk",
}  # fmt: skip
"""mpmath's names of SymPy functions that NumPy has not."""


def _of_mpmath(name: str) -> Any:
    function = getattr(mpmath, name)
    return np.vectorize(lambda *numbers: float(function(*map(float, numbers))), otypes=[float])


@cache
def _numpy_names() -> dict[str, Any]:
    def of(function: Callable[[Any], Any]) -> Any:
        return np.vectorize(lambda x: float(function(x)), otypes=[float])

    names = {name: getattr(np, name) for name in dir(np) if not name.startswith("_")}
    special = {
        "erf": of(math.erf),
        "erfc": of(math.erfc),
        "gamma": of(mpmath.gamma),
        "lgamma": of(math.lgamma),
        "ceiling": np.ceil,
    }
    return names | special | {name: _of_mpmath(f) for name, f in _OF_MPMATH.items()}


_X = sp.Symbol("x", real=True)
_CANCELLING: dict[sp.Expr, Entrywise] = {
    sp.log(1 + _X): np.log1p,
    sp.exp(_X) - 1: np.expm1,
    sp.log(1 + sp.exp(_X)): lambda x: np.logaddexp(0.0, x),
}
"""Functions whose SymPy body loses digits in float64."""


@cache
def _numpy_function(g: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Entrywise:
    if g in _CANCELLING and len(symbols) == 1:
        return _CANCELLING[g]
    printer = NumPyPrinter(
        {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}
    )
    return _lambdified(g, symbols, _numpy_names(), printer)


FLOAT64 = _Float64()
"""The arithmetic of `numpy.float64`."""


@cache
def multiprecision(digits: int = 50) -> Arithmetic:
    """The arithmetic of mpmath with `digits` decimal digits."""
    return _Multiprecision(digits)
