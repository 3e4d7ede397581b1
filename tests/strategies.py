"""Random well-typed expressions over a fixed set of declared variables, for property tests.

`expressions(depth)` draws an expression whose value is finite at any admissible instance of its
variables: arguments of log, sqrt, inverses and matrix functions are positive or invertible by
construction and what feeds an exponential is bounded. `formal_expressions(depth)` draws from the
whole grammar, variations and derivatives of matrix functions included, with regard to shapes only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import sympy as sp
from hypothesis import strategies as st

from mbp.expr import build
from mbp.expr.dims import ONE, Dim, dim
from mbp.expr.nodes import Expr, Number, Var
from mbp.invariants.declare import declare
from mbp.rulebook import RULEBOOK

DECLARATIONS = {
    "X": "m n",
    "Y": "m n",
    "B": "n n",
    "C": "m m",
    "u": "m",
    "v": "n",
    "c": "scalar",
    "W": "m n positive",
    "w": "n positive",
    "e": "scalar positive",
    "S": "n n symmetric",
    "P": "n n positive_definite",
    "R": "m m positive_definite",
    "K": "n n antisymmetric",
    "D": "n n diagonal",
    "L": "n n lower_triangular invertible",
    "Q": "n n orthogonal",
}
"""The variables that expressions are drawn over, as `mbp.parse` and layers take them."""

VARIABLES: dict[str, Var] = {name: declare(name, text) for name, text in DECLARATIONS.items()}

M, N = dim("m"), dim("n")
SHAPES: list[tuple[Dim, Dim]] = [(M, N), (N, M), (N, N), (M, M), (M, ONE), (N, ONE), (ONE, ONE)]

SMOOTH_ANYWHERE = ("sin", "cos", "tanh", "atan", "asinh", "sigmoid", "softplus", "erf", "erfc")
SMOOTH_BOUNDED = ("exp", "expm1", "sinh", "cosh", "tan", "asin", "acos", "atanh")
SMOOTH_POSITIVE = ("log", "sqrt", "log1p", "gamma", "loggamma")
KINKED = ("relu", "abs", "sign")
SYMMETRIC_FUNCTIONS = ("sin", "tanh", "exp", "x/(4 + x**2)", "1/(1 + exp(-x))", "x**3/8")
DEFINITE_FUNCTIONS = ("log", "sqrt", "x/(1 + x)", "x**(3/2)", "1/sqrt(x)", "log1p")

T = TypeVar("T")


class _Grower:
    """Draws expressions of a wanted shape and kind, recursively."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], kinks: bool) -> None:
        self._draw = draw
        self._kinks = kinks

    def pick(self, *options: T) -> T:
        """One of the options."""
        chosen: T = self._draw(st.sampled_from(options))
        return chosen

    def one_of(self, *makers: Callable[[], Expr]) -> Expr:
        """The expression that one of the makers makes."""
        return self.pick(*makers)()

    def number(self) -> Expr:
        """A small rational number other than zero."""
        return build.number(sp.Rational(self.pick(1, 2, 3, 5, -1, -2), self.pick(1, 1, 2, 3)))

    def positive_number(self) -> Expr:
        """A positive rational number."""
        return build.number(sp.Rational(self.pick(1, 2, 3, 5), self.pick(1, 1, 2, 4)))

    # --- any value ------------------------------------------------------------------------

    def leaf(self, rows: Dim, cols: Dim) -> Expr:
        """A variable or constant of this shape."""
        options = [x for x in VARIABLES.values() if x.shape == (rows, cols)]
        options += [x.T for x in VARIABLES.values() if x.shape == (cols, rows) and rows != cols]
        if options:
            return self.pick(*options)
        return VARIABLES["c"] * build.ones(rows, cols)

    def any(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """Any expression of this shape."""
        if depth <= 0:
            return self.leaf(rows, cols)
        if (rows, cols) == (ONE, ONE):
            return self.scalar(depth)
        below = depth - 1
        same = partial(self.any, rows, cols, below)
        makers: list[Callable[[], Expr]] = [
            lambda: same() + same(),
            lambda: same() - same(),
            lambda: self.product(rows, cols, below),
            lambda: self.product(rows, cols, below),
            lambda: same() * same(),
            lambda: self.number() * same(),
            lambda: self.scalar(below) * same(),
            lambda: self.any(cols, rows, below).T,
            lambda: self.entrywise(rows, cols, below),
            lambda: self.positive(rows, cols, below),
            lambda: same() / self.positive(rows, cols, below),
            lambda: same() / self.positive(ONE, ONE, below),
            lambda: same() ** self.pick(2, 3),
            lambda: build.part(self.pick("lower", "strictly_lower", "upper", "diag"), same()),
            lambda: self.stacked_product(rows, cols, below),
            lambda: self.kron_adjoint(rows, cols, below),
        ]
        if self._kinks:
            makers.append(lambda: build.apply(self.pick(*KINKED), same()))
        if cols == ONE:
            makers.append(lambda: build.diag(self.any(rows, rows, below)))
            if rows == sp.expand(M * N):
                makers += [lambda: build.vec(self.any(M, N, below))] * 3
            if rows == M + N:
                makers += [lambda: build.vstack(self.any(M, ONE, below), self.leaf(N, ONE))] * 3
        elif cols != ONE and rows != ONE and {rows, cols} <= {M, N}:
            makers.append(
                lambda: build.unvec(self.any(sp.expand(rows * cols), ONE, below), rows, cols)
            )
        if rows == cols and rows in (M, N):
            makers += [
                lambda: build.diag(self.any(rows, ONE, below)),
                lambda: build.part("skew", same()),
                lambda: self.symmetric(rows, below),
                lambda: self.definite(rows, below),
                lambda: self.invertible(rows, below),
                lambda: build.inv(self.invertible(rows, below)),
            ]
        return self.one_of(*makers)

    def product(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """A matrix product."""
        inner = self.pick(M, N, ONE)
        return self.any(rows, inner, depth) @ self.any(inner, cols, depth)

    def stacked_product(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """(A | B) times the rows A′ over B′."""
        left = build.hstack(self.any(rows, M, depth), self.any(rows, N, depth))
        return left @ build.vstack(self.any(M, cols, depth), self.leaf(N, cols))

    def kron_adjoint(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """An expression with a Kronecker product inside, brought back to the wanted shape."""
        whole = build.kron(self.any(rows, cols, depth), self.leaf(M, N))
        if self.pick(True, False):
            return build.kron_left(whole, self.any(M, N, depth))
        whole = build.kron(self.leaf(M, N), self.any(rows, cols, depth))
        return build.kron_right(self.any(M, N, depth), whole)

    def entrywise(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """A scalar function of each entry."""
        name = self.pick(*SMOOTH_ANYWHERE, *SMOOTH_BOUNDED, *SMOOTH_POSITIVE)
        if name in SMOOTH_ANYWHERE:
            return build.apply(name, self.any(rows, cols, depth))
        if name in SMOOTH_BOUNDED:
            return build.apply(name, self.bounded(rows, cols, depth))
        return build.apply(name, self.positive(rows, cols, depth))

    def bounded(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """Entries between −0.9 and 0.9."""
        name = self.pick("tanh", "sin", "erf")
        return sp.Rational(9, 10) * build.apply(name, self.any(rows, cols, depth))

    def scalar(self, depth: int) -> Expr:
        """A 1×1 expression."""
        if depth <= 0:
            return self.leaf(ONE, ONE)
        below = depth - 1
        rows, cols = self.pick((M, N), (N, M), (N, N), (M, ONE), (N, ONE))
        n = self.pick(M, N)
        return self.one_of(
            lambda: build.tr(self.any(n, n, below)),
            lambda: build.inner(self.any(rows, cols, below), self.any(rows, cols, below)),
            lambda: build.sum_of(self.any(rows, cols, below)),
            lambda: build.sumsq(self.any(rows, cols, below)),
            lambda: build.norm(self.any(rows, cols, below) + build.ones(rows, cols)),
            lambda: build.logdet(self.definite(n, below)),
            lambda: build.det(self.invertible(n, below)),
            lambda: self.any(ONE, n, below) @ self.any(n, ONE, below),
            lambda: self.scalar(below) * self.scalar(below),
            lambda: self.scalar(below) + self.scalar(below),
            lambda: self.positive(ONE, ONE, below),
            lambda: self.entrywise(ONE, ONE, below),
            lambda: build.dim_size(n) * self.scalar(below),
            self.number,
        )

    # --- values with a property -------------------------------------------------------------

    def positive(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """Positive entries, not near zero."""
        if depth <= 0:
            options = [
                x
                for x in VARIABLES.values()
                if x.shape == (rows, cols) and "positive" in x.properties
            ]
            return self.pick(*options) if options else self._positive_ones(rows, cols)
        below = depth - 1
        same = partial(self.positive, rows, cols, below)
        return self.one_of(
            lambda: build.apply("exp", self.bounded(rows, cols, below)),
            lambda: same() + same(),
            lambda: same() * same(),
            lambda: same() / (same() + self._positive_ones(rows, cols)),
            lambda: self.any(rows, cols, below) ** 2 + self._positive_ones(rows, cols),
            lambda: build.apply("sqrt", same()),
            lambda: build.apply("softplus", self.bounded(rows, cols, below)),
            lambda: build.power(same(), self.number()),
            lambda: build.power(same(), build.apply("tanh", self.scalar(below))),
            lambda: self.positive(ONE, ONE, below) * same(),
        )

    def _positive_ones(self, rows: Dim, cols: Dim) -> Expr:
        return self.positive_number() * build.ones(rows, cols)

    def symmetric(self, n: Dim, depth: int) -> Expr:
        """A symmetric n×n expression that inference knows to be symmetric."""
        if depth <= 0:
            return self.pick(*(VARIABLES[k] for k in ("S", "P", "D"))) if n == N else VARIABLES["R"]
        below = depth - 1
        return self.one_of(
            lambda: build.sym(self.any(n, n, below)),
            lambda: build.diagpart(self.any(n, n, below)),
            lambda: self.symmetric(n, below) + self.symmetric(n, below),
            lambda: self.scalar(below) * self.symmetric(n, below),
            lambda: self.symmetric(n, below) * self.symmetric(n, below),
            lambda: self.congruence(n, self.symmetric(n, below), below),
            lambda: build.matfun(self.pick(*SYMMETRIC_FUNCTIONS), self.tame(n, below)),
            lambda: self.definite(n, below),
        )

    def congruence(self, n: Dim, middle: Expr, depth: int) -> Expr:
        """Aᵀ S A."""
        A = self.any(n, n, depth)
        return A.T @ middle @ A

    def tame(self, n: Dim, depth: int) -> Expr:
        """A symmetric matrix with eigenvalues between −1 and 1."""
        A = self.symmetric(n, depth)
        return A / (1 + build.norm(A + build.eye(n)))

    def definite(self, n: Dim, depth: int) -> Expr:
        """A positive definite n×n expression, its least eigenvalue not near zero."""
        if depth <= 0:
            return VARIABLES["P"] if n == N else VARIABLES["R"]
        below = depth - 1
        inner = self.pick(M, N)
        A = self.any(inner, n, below)
        return self.one_of(
            lambda: A.T @ A + self.positive_number() * build.eye(n),
            lambda: self.definite(n, below) + self.definite(n, below),
            lambda: self.positive(ONE, ONE, below) * self.definite(n, below),
            lambda: build.matfun("exp", self.tame(n, below)),
            lambda: build.inv(self.definite(n, below) + build.eye(n)),
            lambda: build.matfun("sqrt", self.definite(n, below)),
            lambda: build.powm(self.definite(n, below), build.apply("tanh", self.scalar(below))),
            lambda: build.diag(self.positive(n, ONE, below)),
            lambda: self.definite(n, below) * self.definite(n, below),
            lambda: build.matfun(self.pick("x/(1 + x)", "log1p"), self.definite(n, below)),
        )

    def invertible(self, n: Dim, depth: int) -> Expr:
        """An invertible n×n expression."""
        if depth <= 0:
            return (
                self.pick(VARIABLES["L"], VARIABLES["P"], VARIABLES["Q"])
                if n == N
                else VARIABLES["R"]
            )
        below = depth - 1
        A = self.any(n, n, below)
        return self.one_of(
            lambda: A / (1 + build.norm(A + build.eye(n))) + 2 * build.eye(n),
            lambda: self.definite(n, below),
            lambda: self.invertible(n, below) @ self.invertible(n, below),
            lambda: self.invertible(n, below).T,
        )

    # --- the whole grammar ------------------------------------------------------------------

    def formal(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        """Any expression of this shape, with no regard to values."""
        if depth <= 0:
            x = self.leaf(rows, cols)
            return self.pick(
                x, x, build.variation(x), build.ones(rows, cols), build.zeros(rows, cols)
            )
        below = depth - 1
        same = partial(self.formal, rows, cols, below)
        makers: list[Callable[[], Expr]] = [
            lambda: self.any(rows, cols, below),
            lambda: build.add(same(), same(), same()),
            lambda: same() - same(),
            lambda: -same(),
            lambda: self.formal(rows, N, below) @ self.formal(N, cols, below),
            lambda: same() * same(),
            lambda: self._number() * same(),
            lambda: self.formal(ONE, ONE, below) * same(),
            lambda: same() / self._nonzero(ONE, ONE, below),
            lambda: same() / self._nonzero(rows, cols, below),
            lambda: self.formal(cols, rows, below).T,
            lambda: self._power(self._nonzero(rows, cols, below)),
            lambda: build.power(same(), self.scalar(below)),
            lambda: build.apply(self.pick(*SMOOTH_ANYWHERE, *KINKED, "floor", "digamma"), same()),
            lambda: build.variation(same()),
            lambda: build.part(
                self.pick("lower", "strictly_lower", "upper", "strictly_upper", "diag"), same()
            ),
        ]
        if rows == cols:
            makers += [
                lambda: build.inv(self._nonzero(rows, cols, below)),
                lambda: build.part(self.pick("sym", "skew"), same()),
            ]
            if rows != ONE:
                makers += [
                    lambda: build.frechet(
                        self._function(), same(), (), *(same() for _ in range(self.pick(0, 1, 2)))
                    ),
                    lambda: build.frechet(
                        build.scalar.X ** build.scalar.parameter(0),
                        same(),
                        (self.scalar(below),),
                        same(),
                    ),
                    lambda: RULEBOOK.call("projector", self.symmetric(rows, below))[0],
                    lambda: RULEBOOK.call("eig", self.symmetric(rows, below))[self.pick(0, 1)],
                ]
        if (rows, cols) in ((M, N), (N, M)):
            makers.append(lambda: RULEBOOK.call("pinv", self.formal(cols, rows, below))[0])
        return self.one_of(*makers)

    def _nonzero(self, rows: Dim, cols: Dim, depth: int) -> Expr:
        A = self.formal(rows, cols, depth)
        return self.leaf(rows, cols) if build.is_zero(A) else A

    def _function(self) -> sp.Expr:
        return build.scalar.parse_scalar(self.pick(*SYMMETRIC_FUNCTIONS, *DEFINITE_FUNCTIONS))

    def _power(self, A: Expr) -> Expr:
        """A to a number; a number stays, for not every power of one is real."""
        return A if isinstance(A, Number) else build.power(A, self._number())

    def _number(self) -> Expr:
        return self.pick(
            self.number(), build.number(sp.pi), build.number(sp.Rational(7, 1000)), build.number(-3)
        )


@st.composite
def expressions(
    draw: Any, depth: int = 3, shape: tuple[Dim, Dim] | None = None, kinks: bool = True
) -> Expr:
    """A random expression with a finite value, of the given shape or a random one of `SHAPES`.

    With `kinks` it may contain relu, abs and sign, which are smooth almost everywhere.
    """
    rows, cols = shape or draw(st.sampled_from(SHAPES))
    return _Grower(draw, kinks).any(rows, cols, depth)


@st.composite
def formal_expressions(draw: Any, depth: int = 3) -> Expr:
    """A random expression of the whole grammar, whose shapes are right and values of no matter."""
    rows, cols = draw(st.sampled_from(SHAPES))
    return _Grower(draw, kinks=True).formal(rows, cols, depth)
