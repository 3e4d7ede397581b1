"""Prints SymPy scalar expressions as elementwise operations of a target."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from mbp.emit.dialect import Dialect
from mbp.plan.lowering.divided import Quotient, softplus_argument

SUM, TERM, UNARY, POWER, ATOM = range(5)
"""Binding strengths of Python's operators, weakest first."""

Piece = tuple[str, int]

HELPERS: dict[str, str] = {
    "LogQuotient": "_log_quotient({})",
    "ExpQuotient": "_exp_quotient({})",
    "ReluQuotient": "_relu_quotient({})",
    "AbsQuotient": "_abs_quotient({})",
    "PowerQuotient": "_power_quotient({})",
    "SigmoidQuotient": "_sigmoid_quotient({})",
    "SoftplusQuotient": "_softplus_quotient({})",
    "SmoothQuotient": "_smooth_quotient({})",
    "AnchoredQuotient": "_anchored_quotient({})",
    "SecondQuotient": "_second_quotient({})",
    "Sinc": "_sinc({})",
    "Sinhc": "_sinhc({})",
}
"""The stable forms that every target brings along, by the name of their SymPy function."""

_RENAMED = {"Abs": "abs"}
"""SymPy's names for functions of the grammar."""

_RECURRENCES: dict[type[sp.Function], tuple[int, int]] = {
    sp.besselj: (1, -1), sp.besseli: (-1, 1), sp.besselk: (1, 1),
}  # fmt: skip
"""a, b of the recurrence F_n = a 2(n − 1)/x F_(n−1) + b F_(n−2) (DLMF 10.6.1, 10.29.1)."""


def bessel(g: sp.Expr) -> sp.Expr | None:
    """A Bessel function of integer order above 1 by those of orders 0 and 1; None for others."""
    if type(g) not in _RECURRENCES or not (g.args[0].is_Integer and g.args[0] > 1):
        return None
    a, b = _RECURRENCES[type(g)]
    n, x = g.args
    return a * 2 * (n - 1) / x * g.func(n - 1, x) + b * g.func(n - 2, x)


def within(piece: Piece, strength: int) -> str:
    """The text of a piece, in parentheses where it binds less than `strength`."""
    return piece[0] if piece[1] >= strength else f"({piece[0]})"


def number_piece(value: sp.Expr) -> Piece:
    """A number as exactly as Python can write it."""
    if value.is_Integer:
        return str(value), ATOM if value >= 0 else UNARY
    if value.is_Rational:
        decimal = repr(float(value))
        if sp.Rational(decimal) == value and len(decimal) <= 12:
            return decimal, ATOM if value >= 0 else UNARY
        return f"{value.p} / {value.q}", TERM
    return repr(float(value)), ATOM if value >= 0 else UNARY


def scalar_piece(g: sp.Expr, names: Mapping[sp.Symbol, str], dialect: Dialect) -> Piece:
    """g elementwise, its symbols printed as `names`, which bind like names.

    Raises MbpError for a function that the target does not have.
    """

    def applied(function: str, *args: sp.Expr) -> Piece:
        text = ", ".join(piece(arg)[0] for arg in args)
        return dialect.function(function).format(text), ATOM

    def piece(g: sp.Expr) -> Piece:
        if g in names:
            return names[g], ATOM
        if g.is_Symbol:
            return g.name, ATOM
        if g.is_number:
            return number_piece(g.evalf(17) if g.has(sp.Function) else g)
        if isinstance(g, sp.Lambda):
            if isinstance(g.expr, Quotient) and g.expr.args == g.variables:
                return dialect.function(type(g.expr).__name__).removesuffix("({})"), ATOM
            variables = ", ".join(v.name for v in g.variables)
            return f"lambda {variables}: {piece(g.expr)[0]}", SUM
        if g.is_Add:
            return sum_piece(g)
        if g.is_Mul:
            return product_piece(g)
        if g.is_Pow:
            return power_piece(g)
        if (u := softplus_argument(g)) is not None:
            return applied("softplus", u)
        if isinstance(g, sp.log) and g.args[0].is_Add and sp.Integer(1) in g.args[0].args:
            return applied("log1p", g.args[0] - 1)
        if isinstance(g, sp.Max) and len(g.args) == 2 and sp.Integer(0) in g.args:
            return applied("relu", g.args[0] + g.args[1])
        if isinstance(g, sp.Heaviside):
            return dialect.function("relu").format(applied("sign", g.args[0])[0]), ATOM
        name = type(g).__name__
        if (recurrence := bessel(g)) is not None:
            return piece(recurrence)
        if type(g) in _RECURRENCES and g.args[0].is_Integer:
            return applied(f"{name}{g.args[0]}", g.args[1])
        return applied(_RENAMED.get(name, name), *g.args)

    def sum_piece(g: sp.Expr) -> Piece:
        constant, rest = g.as_coeff_Add()
        if constant == -1 and isinstance(rest, sp.exp):
            return applied("expm1", rest.args[0])
        terms = [*rest.as_ordered_terms(), constant] if constant != 0 else g.as_ordered_terms()
        text = ""
        for term in terms:
            sign = "-" if term.could_extract_minus_sign() else "+"
            printed = within(piece(-term if sign == "-" else term), TERM)
            if not text:
                text = f"-{within(piece(-term), POWER)}" if sign == "-" else printed
            else:
                text += f" {sign} {printed}"
        return text, SUM

    def product_piece(g: sp.Expr) -> Piece:
        if g.could_extract_minus_sign():
            return f"-{within(piece(-g), POWER)}", UNARY
        above, below = [], []
        coefficient, factors = g.as_coeff_mul()
        if coefficient.is_Rational and coefficient.q != 1:
            below.append(sp.Integer(coefficient.q))
            coefficient = sp.Integer(coefficient.p)
        if coefficient != 1:
            above.append(coefficient)
        for factor in sp.Mul(*factors).as_ordered_factors():
            if factor.is_Pow and factor.exp.is_number and factor.exp < 0:
                below.append(factor.base ** (-factor.exp))
            else:
                above.append(factor)
        text = " * ".join(within(piece(factor), UNARY) for factor in above) or "1"
        if len(below) == 1:
            text += f" / {within(piece(below[0]), UNARY)}"
        elif below:
            inside = " * ".join(within(piece(factor), UNARY) for factor in below)
            text += f" / ({inside})"
        return text, TERM

    def power_piece(g: sp.Expr) -> Piece:
        base, p = g.base, g.exp
        if base == sp.E:
            return applied("exp", p)
        if p == sp.Rational(1, 2):
            return applied("sqrt", base)
        if p.is_number and p < 0:
            return f"1 / {within(piece(base ** (-p)), UNARY)}", TERM
        return f"{within(piece(base), ATOM)} ** {within(piece(p), UNARY)}", POWER

    return piece(g)
