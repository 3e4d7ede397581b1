"""Scalar functions: those of the grammar, any SymPy function of one real variable, expressions."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from functools import cache

import sympy as sp

from mbp.errors import MbpError

X = sp.Symbol("x", real=True)
"""The variable of a scalar function g(x)."""


def parameter(k: int) -> sp.Symbol:
    """The symbol of a matrix function's k-th scalar parameter."""
    return sp.Symbol(f"c{k}", real=True)


_BODIES: dict[str, sp.Expr] = {
    "exp": sp.exp(X),
    "log": sp.log(X),
    "sqrt": sp.sqrt(X),
    "sin": sp.sin(X),
    "cos": sp.cos(X),
    "tan": sp.tan(X),
    "sinh": sp.sinh(X),
    "cosh": sp.cosh(X),
    "tanh": sp.tanh(X),
    "asin": sp.asin(X),
    "acos": sp.acos(X),
    "atan": sp.atan(X),
    "asinh": sp.asinh(X),
    "acosh": sp.acosh(X),
    "atanh": sp.atanh(X),
    "log1p": sp.log(1 + X),
    "expm1": sp.exp(X) - 1,
    "sigmoid": 1 / (1 + sp.exp(-X)),
    "softplus": sp.log(1 + sp.exp(X)),
    "relu": sp.Max(X, 0),
    "abs": sp.Abs(X),
    "sign": sp.sign(X),
    "erf": sp.erf(X),
    "erfc": sp.erfc(X),
    "gamma": sp.gamma(X),
    "loggamma": sp.loggamma(X),
    "digamma": sp.digamma(X),
    "trigamma": sp.polygamma(1, X),
    "floor": sp.floor(X),
    "ceiling": sp.ceiling(X),
}


def function_names() -> tuple[str, ...]:
    """The elementwise functions that the grammar calls by name."""
    return tuple(_BODIES)


@cache
def body(name: str) -> sp.Expr:
    """The SymPy expression in X of the function called `name`; raises MbpError if unknown."""
    if name not in _BODIES:
        raise MbpError(
            f"unknown scalar function {name!r}; known are {', '.join(_BODIES)}, "
            'or an expression in x such as "x/(1 + x)"'
        )
    return _BODIES[name]


@cache
def name_of(g: sp.Expr) -> str | None:
    """The grammar's name for the function with body `g`, if it has one."""
    return next((name for name, known in _BODIES.items() if known == g), None)


_BINARY: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


_MOST_BITS = 4096
"""More than any float64 holds, and fewer than Python prints."""

_LARGEST_FOLDED = 64


def folds(base: sp.Expr, exponent: sp.Expr) -> bool:
    """Whether base**exponent of two numbers may be computed: 9**9**9 would fill the memory."""
    if not exponent.is_real or abs(exponent) > _LARGEST_FOLDED:
        return False
    if not base.is_Rational:
        return True
    bits = max(abs(int(base.p)).bit_length(), int(base.q).bit_length())
    return bool(bits * abs(exponent) <= _MOST_BITS)


@cache
def parse_scalar(text: str, names: tuple[tuple[str, sp.Expr], ...] = (("x", X),)) -> sp.Expr:
    """The SymPy expression written in `text` over `names`; nothing in it is ever executed.

    Raises MbpError with a caret for anything but arithmetic and known functions.
    """
    known = dict(names)
    source = text.strip()
    if source in _BODIES and source not in known:
        return _BODIES[source]

    def fault(node: ast.AST, why: str) -> MbpError:
        return MbpError(why, text=source, column=getattr(node, "col_offset", 0))

    def operation(node: ast.BinOp) -> sp.Expr:
        left, right = read(node.left), read(node.right)
        powers = isinstance(node.op, ast.Pow) and left.is_number and right.is_number
        if powers and not folds(left, right):
            raise fault(node, "this power is out of range")
        return _BINARY[type(node.op)](left, right)

    def call(node: ast.Call, name: str, argument: sp.Expr) -> sp.Expr:
        if argument.is_number and not (argument.is_real and abs(argument) <= _LARGEST_FOLDED):
            raise fault(node, f"{name} of this number is out of range")
        return _BODIES[name].subs(X, argument)

    def read(node: ast.AST) -> sp.Expr:
        match node:
            case ast.Constant(value=bool()):
                raise fault(node, "True and False are not numbers")
            case ast.Constant(value=int() as value):
                return sp.Integer(value)
            case ast.Constant(value=float() as number):
                # Exact as written; a float has no exponent beyond a few hundred.
                if not abs(number) < float("inf"):
                    raise fault(node, "this number is out of range")
                literal = ast.get_source_segment(source, node) or ""
                return sp.Rational(literal.replace("_", "")) if number else sp.Integer(0)
            case ast.Name(id=name) if name in known:
                return known[name]
            case ast.Name(id="pi"):
                return sp.pi
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -read(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return read(operand)
            case ast.BinOp(op=op) if type(op) in _BINARY:
                return operation(node)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _BODIES:
                return call(node, name, read(argument))
            case ast.Name(id=name):
                raise fault(
                    node, f"unknown name {name!r} in a scalar function of {', '.join(known)}"
                )
        raise fault(node, "a scalar function is arithmetic on its variable and known functions")

    try:
        with warnings.catch_warnings(action="ignore"):  # such as "invalid decimal literal"
            tree = ast.parse(source, mode="eval")
        g = read(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, MbpError):
            raise
        column = (getattr(error, "offset", None) or 1) - 1
        raise MbpError("this is not an expression", text=source, column=column) from None
    if g.has(sp.zoo, sp.nan, sp.oo, -sp.oo, sp.I):
        raise MbpError("this function has no real value", text=source, column=0)
    return g
