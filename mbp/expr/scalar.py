"""Scalar functions: those of the grammar, any SymPy function of one real variable, expressions."""

from __future__ import annotations

import ast
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


@cache
def parse_scalar(text: str, names: tuple[tuple[str, sp.Expr], ...] = (("x", X),)) -> sp.Expr:
    """The SymPy expression written in `text` over `names`; nothing in it is ever executed.

    Raises MbpError with a caret for anything but arithmetic and known functions.
    """
    known = dict(names)
    if text in _BODIES and text not in known:
        return _BODIES[text]

    def fault(node: ast.AST, why: str) -> MbpError:
        return MbpError(why, text=text, column=getattr(node, "col_offset", 0))

    def read(node: ast.AST) -> sp.Expr:
        match node:
            case ast.Constant(value=bool()):
                raise fault(node, "True and False are not numbers")
            case ast.Constant(value=int() as value):
                return sp.Integer(value)
            case ast.Constant(value=float()):
                return sp.Rational(ast.get_source_segment(text, node))
            case ast.Name(id=name) if name in known:
                return known[name]
            case ast.Name(id="pi"):
                return sp.pi
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -read(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return read(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _BINARY[type(op)](read(left), read(right))
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _BODIES:
                return _BODIES[name].subs(X, read(argument))
            case ast.Name(id=name):
                raise fault(
                    node, f"unknown name {name!r} in a scalar function of {', '.join(known)}"
                )
        raise fault(node, "a scalar function is arithmetic on its variable and known functions")

    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = (getattr(error, "offset", None) or 1) - 1
        raise MbpError("this is not an expression", text=text, column=column) from None
    return read(tree.body)
