"""Divided differences of a scalar function in forms that lose no accuracy when points meet.

The algebra of divided differences (sums, the Leibniz rule, the chain rule) takes a function
apart by its structure; at the leaves stand functions whose difference quotient has a stable
closed form, and a quadrature of the derivative for every other. Nothing compares a difference
with an absolute threshold, so that scaling the points changes nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import scalar

X1, X2, X3 = sp.symbols("x1 x2 x3", real=True)
"""The points of a divided difference."""

ZERO = sp.Symbol("x0", real=True)
"""The point 0 as an array, where a function has to be divided by its variable."""

T = sp.Symbol("t", real=True)


class Quotient(sp.Function):  # type: ignore[misc]  # SymPy is untyped
    """A difference quotient that the target computes in a stable form of its own."""


class LogQuotient(Quotient):
    """(log x − log y)/(x − y)."""

    nargs = 2


class ExpQuotient(Quotient):
    """(eˣ − eʸ)/(x − y)."""

    nargs = 2


class PowerQuotient(Quotient):
    """(xᵖ − yᵖ)/(x − y) for x, y ≥ 0; arguments x, y, p."""

    nargs = 3


class SigmoidQuotient(Quotient):
    """The difference quotient of 1/(1 + e⁻ˣ)."""

    nargs = 2


class SoftplusQuotient(Quotient):
    """The difference quotient of log(1 + eˣ)."""

    nargs = 2


class ReluQuotient(Quotient):
    """The difference quotient of max(0, x), 0 at x = y = 0."""

    nargs = 2


class AbsQuotient(Quotient):
    """The difference quotient of |x|, 0 at x = y = 0."""

    nargs = 2


class Sinc(Quotient):
    """sin(t)/t."""

    nargs = 1


class Sinhc(Quotient):
    """sinh(t)/t."""

    nargs = 1


class SmoothQuotient(Quotient):
    """The difference quotient of any smooth g; arguments Lambda g, Lambda g′, x, y."""

    nargs = 4


class AnchoredQuotient(Quotient):
    """h[x, y, 0] for x, y ≥ 0; arguments h[x, y], h[x, 0], h[y, 0], x, y."""

    nargs = 5


class SecondQuotient(Quotient):
    """g[x, y, z]; arguments Lambda of the first quotient in (x, y), Lambda g″, x, y, z."""

    nargs = 5


@cache
def value(g: sp.Expr) -> sp.Expr:
    """g(x) in `scalar.X` and ZERO, without the cancellation of a singularity at 0 that is none.

    h(x)/x = h[x, 0] for h(0) = 0, and h(x)/x² = h[x, 0, 0] for h(0) = h′(0) = 0.
    """
    if _is_rational(g) and g.subs(scalar.X, 0).has(sp.nan, sp.zoo):
        return sp.factor(sp.cancel(g))
    h = _numerator(g)
    if h is not None:
        return _first(h, scalar.X, ZERO)
    h = _numerator(g, 2)
    return g if h is None else _second(h, scalar.X, ZERO, ZERO)


def _numerator(g: sp.Expr, q: int = 1) -> sp.Expr | None:
    """h with g(x) = h(x)/x^q that vanishes q times at 0, where that is no rational function."""
    if _is_rational(g) or not g.subs(scalar.X, 0).has(sp.nan, sp.zoo):
        return None
    terms = sp.Add.make_args(sp.expand_mul(g * scalar.X**q))
    h = sp.Add(*(sp.cancel(term) if _is_rational(term) else term for term in terms))
    *vanishing, last = (sp.diff(h, scalar.X, k).subs(scalar.X, 0) for k in range(q + 1))
    is_smooth = not last.has(sp.nan, sp.zoo, sp.oo)
    return h if is_smooth and all(sp.simplify(c) == 0 for c in vanishing) else None


@cache
def first(g: sp.Expr) -> sp.Expr:
    """g[x, y] in X1, X2, its value g′(x) at x = y included; g is in `scalar.X`.

    Raises MbpError for a function that is not continuous.
    """
    if g.has(*_JUMPS):
        raise MbpError(f"the matrix function of {g} has no derivative where eigenvalues meet")
    h = _numerator(g)
    if h is None:
        return _first(g, X1, X2)
    inner, ends = _first(h, X1, X2), [_first(h, x, ZERO) for x in (X1, X2)]
    return AnchoredQuotient(inner, *ends, X1, X2)


def slope(g: sp.Expr) -> sp.Expr:
    """g′(x) in `scalar.X` and ZERO, without the cancellation of h(x)/x with h(0) = 0."""
    if _numerator(g) is None:
        return scalar.derivative(g)
    return first(g).subs({X1: scalar.X, X2: scalar.X}, simultaneous=True)


@cache
def second(g: sp.Expr) -> sp.Expr:
    """g[x, y, z] in X1, X2, X3, confluent points included; g is in `scalar.X`.

    Raises MbpError for a function that is not smooth.
    """
    if g.has(*_JUMPS, *_KINKS):
        raise MbpError(f"the matrix function of {g} has no second derivative at a kink")
    return _second(g, X1, X2, X3)


_JUMPS = sp.sign, sp.Heaviside, sp.floor, sp.ceiling
_KINKS = sp.Abs, sp.Max, sp.Min


def _at(g: sp.Expr, point: sp.Expr) -> sp.Expr:
    return g.xreplace({scalar.X: point})


def _is_rational(g: sp.Expr) -> bool:
    small = all(abs(p.exp) <= 8 for p in g.atoms(sp.Pow) if p.exp.is_Integer)
    return bool(small and g.is_rational_function(scalar.X) and not g.atoms(sp.Function))


def _sigmoid(g: sp.Expr) -> sp.Expr | None:
    """u with g = 1/(1 + e⁻ᵘ), if g is one."""
    if g.is_Pow and g.exp == -1 and g.base.is_Add and len(g.base.args) == 2:
        one, other = g.base.args
        if one == 1 and isinstance(other, sp.exp):
            return -other.args[0]
    return None


def softplus_argument(g: sp.Expr) -> sp.Expr | None:
    """u with g = log(1 + eᵘ), if g is one."""
    if isinstance(g, sp.log) and g.args[0].is_Add and len(g.args[0].args) == 2:
        one, other = g.args[0].args
        if one == 1 and isinstance(other, sp.exp):
            return other.args[0]
    return None


def _split(g: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
    """(f, u) with g = f(u) and u not the variable itself: the outermost function of one operand."""
    if (u := _sigmoid(g)) is not None:
        return 1 / (1 + sp.exp(-scalar.X)), u
    if (u := softplus_argument(g)) is not None:
        return sp.log(1 + sp.exp(scalar.X)), u
    if g.is_Pow and not g.exp.has(scalar.X):
        if g.exp.is_Rational and not g.exp.is_Integer and abs(g.exp.p) > 1 and g.exp.q == 2:
            return scalar.X**g.exp.p, sp.sqrt(g.base)  # halves: polynomials in the root
        if g.exp == -sp.Rational(1, 2):
            return 1 / scalar.X, sp.sqrt(g.base)
        return scalar.X**g.exp, g.base
    if g.is_Pow:
        return sp.exp(scalar.X), sp.log(g.base) * g.exp
    if isinstance(g, sp.tanh):
        return 1 / (1 + sp.exp(-scalar.X)), 2 * g.args[0]
    if g.is_Function and len(g.args) == 1:
        return g.func(scalar.X), g.args[0]
    return None


def _first(g: sp.Expr, x: sp.Expr, y: sp.Expr) -> sp.Expr:
    if not g.has(scalar.X):
        return sp.Integer(0)
    if g == scalar.X:
        return sp.Integer(1)
    if g.is_Add:
        rest, rational = _rational_terms(g)
        quotient = _rational_first(rational, x, y) if rational != 0 else sp.Integer(0)
        return sp.Add(quotient, *(_first(term, x, y) for term in rest))
    if g.is_Mul:
        constant, varying = g.as_independent(scalar.X, as_Add=False)
        if constant != 1:
            return constant * _first(varying, x, y)
    if _is_rational(g):
        return _rational_first(g, x, y)
    if g.is_Mul:
        a, b = g.as_two_terms()
        mean_a, mean_b = (_at(a, x) + _at(a, y)) / 2, (_at(b, x) + _at(b, y)) / 2
        return mean_a * _first(b, x, y) + mean_b * _first(a, x, y)
    if isinstance(g, sp.tanh):
        u = 2 * g.args[0]
        return 2 * SigmoidQuotient(_at(u, x), _at(u, y)) * _first(u, x, y)
    if isinstance(g, sp.Max | sp.Min):  # max(a, b) = b + max(0, a − b), min likewise
        *others, a = sorted(g.args, key=lambda arg: arg.has(scalar.X))
        b = g.func(*others)
        u = a - b if isinstance(g, sp.Max) else b - a
        kink = ReluQuotient(_at(u, x), _at(u, y)) * _first(u, x, y)
        return _first(b, x, y) + (kink if isinstance(g, sp.Max) else -kink)
    split = _split(g)
    if split is None:
        return _smooth_first(g, x, y)
    f, u = split
    if u == scalar.X:
        return _leaf_first(f, x, y)
    return _leaf_first(f, _at(u, x), _at(u, y)) * _first(u, x, y)


def _rational_terms(g: sp.Expr) -> tuple[list[sp.Expr], sp.Expr]:
    """The terms of a sum that are not rational, and the sum of those that are."""
    rational = [term for term in g.args if _is_rational(term)]
    return [term for term in g.args if term not in rational], sp.Add(*rational)


@cache
def _rational_first(g: sp.Expr, x: sp.Expr, y: sp.Expr) -> sp.Expr:
    # The division by x − y is exact, so nothing is left to cancel at x = y.
    a, b = sp.Dummy("a", real=True), sp.Dummy("b", real=True)
    quotient = sp.factor(sp.cancel((_at(g, a) - _at(g, b)) / (a - b)))
    return quotient.xreplace({a: x, b: y})


def _leaf_first(f: sp.Expr, x: sp.Expr, y: sp.Expr) -> sp.Expr:
    """f[x, y] for a function f of the variable alone."""
    if f == sp.log(scalar.X):
        return LogQuotient(x, y)
    if f == sp.exp(scalar.X):
        return ExpQuotient(x, y)
    if _sigmoid(f) is not None:
        return SigmoidQuotient(x, y)
    if softplus_argument(f) is not None:
        return SoftplusQuotient(x, y)
    if f == sp.Abs(scalar.X):
        return AbsQuotient(x, y)
    if f == sp.sin(scalar.X):
        return sp.cos((x + y) / 2) * Sinc((x - y) / 2)
    if f == sp.cos(scalar.X):
        return -sp.sin((x + y) / 2) * Sinc((x - y) / 2)
    if f == sp.tan(scalar.X):
        return Sinc(x - y) / (sp.cos(x) * sp.cos(y))
    if f == sp.sinh(scalar.X):
        return sp.cosh((x + y) / 2) * Sinhc((x - y) / 2)
    if f == sp.cosh(scalar.X):
        return sp.sinh((x + y) / 2) * Sinhc((x - y) / 2)
    if f.is_Pow and f.base == scalar.X:
        return _power_first(f.exp, x, y)
    return _smooth_first(f, x, y)


def _power_first(p: sp.Expr, x: sp.Expr, y: sp.Expr) -> sp.Expr:
    if p == sp.Rational(1, 2):
        return 1 / (sp.sqrt(x) + sp.sqrt(y))
    if p.is_Integer:
        g = scalar.X**p
        return _rational_first(g, x, y) if _is_rational(g) else _smooth_first(g, x, y)
    return PowerQuotient(x, y, p)


def _smooth_first(g: sp.Expr, x: sp.Expr, y: sp.Expr) -> sp.Expr:
    return SmoothQuotient(_lambda(g), _lambda(scalar.derivative(g)), x, y)


def _lambda(g: sp.Expr) -> sp.Expr:
    return sp.Lambda(T, _at(g, T))


def _second(g: sp.Expr, x: sp.Expr, y: sp.Expr, z: sp.Expr) -> sp.Expr:
    if g == scalar.X or not g.has(scalar.X):
        return sp.Integer(0)
    if g.is_Add:
        rest, rational = _rational_terms(g)
        quotient = _rational_second(rational, x, y, z) if rational != 0 else sp.Integer(0)
        return sp.Add(quotient, *(_second(term, x, y, z) for term in rest))
    if g.is_Mul:
        constant, varying = g.as_independent(scalar.X, as_Add=False)
        if constant != 1:
            return constant * _second(varying, x, y, z)
    if _is_rational(g):
        return _rational_second(g, x, y, z)
    if g.is_Mul:
        a, b = g.as_two_terms()
        return (
            _at(a, x) * _second(b, x, y, z)
            + _first(a, x, y) * _first(b, y, z)
            + _second(a, x, y, z) * _at(b, z)
        )
    split = _split(g)
    if split is None:
        return _smooth_second(g, x, y, z)
    f, u = split
    if isinstance(g, sp.tanh):
        f = 2 * f
    if u == scalar.X:
        return _leaf_second(f, x, y, z)
    ux, uy, uz = _at(u, x), _at(u, y), _at(u, z)
    return _first(f, ux, uy) * _second(u, x, y, z) + _leaf_second(f, ux, uy, uz) * _first(
        u, y, z
    ) * _first(u, x, z)


@cache
def _rational_second(g: sp.Expr, x: sp.Expr, y: sp.Expr, z: sp.Expr) -> sp.Expr:
    a, b, c = (sp.Dummy(name, real=True) for name in "abc")
    outer, inner = _rational_first(g, a, b), _rational_first(g, b, c)
    quotient = sp.factor(sp.cancel((outer - inner) / (a - c)))
    return quotient.xreplace({a: x, b: y, c: z})


def _leaf_second(f: sp.Expr, x: sp.Expr, y: sp.Expr, z: sp.Expr) -> sp.Expr:
    if f == sp.sqrt(scalar.X):
        rx, ry, rz = sp.sqrt(x), sp.sqrt(y), sp.sqrt(z)
        return -1 / ((rx + ry) * (ry + rz) * (rx + rz))
    if _is_rational(f):
        return _rational_second(f, x, y, z)
    return _smooth_second(f, x, y, z)


def _smooth_second(g: sp.Expr, x: sp.Expr, y: sp.Expr, z: sp.Expr) -> sp.Expr:
    # The same function of the same two points at both ends of the quotient: see the target.
    a, b = sp.Dummy("a", real=True), sp.Dummy("b", real=True)
    quotient = _canonical(sp.Lambda((a, b), _first(g, a, b)))
    return SecondQuotient(quotient, _lambda(_curvature(g)), x, y, z)


def _curvature(g: sp.Expr) -> sp.Expr:
    """g″, for a sigmoid and its integral as products that neither cancel nor overflow."""
    falling = 1 / ((1 + sp.exp(-scalar.X)) * (1 + sp.exp(scalar.X)))
    if _sigmoid(g) == scalar.X:
        return -falling * sp.tanh(scalar.X / 2)
    if softplus_argument(g) == scalar.X:
        return falling
    return scalar.derivative(g, times=2)


def _canonical(function: Any) -> Any:
    """A Lambda with variables of fixed names, so that emission is deterministic."""
    names = sp.symbols("a b", real=True)
    body = function.expr.xreplace(dict(zip(function.variables, names, strict=True)))
    return sp.Lambda(names, body)
