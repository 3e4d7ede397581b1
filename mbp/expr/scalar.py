"""Scalar functions: those of the grammar, any SymPy function of one real variable, expressions."""

from __future__ import annotations

import ast
import re
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


_COMPOSED: dict[type[sp.Function], sp.Expr] = {
    sp.sec: 1 / sp.cos(X),
    sp.csc: 1 / sp.sin(X),
    sp.cot: sp.cos(X) / sp.sin(X),
    sp.sech: 1 / sp.cosh(X),
    sp.csch: 1 / sp.sinh(X),
    sp.coth: 1 / sp.tanh(X),
    sp.acot: sp.atan(1 / X),
    sp.asec: sp.acos(1 / X),
    sp.acsc: sp.asin(1 / X),
    sp.acoth: sp.atanh(1 / X),
    sp.asech: sp.acosh(1 / X),
    sp.acsch: sp.asinh(1 / X),
    sp.sinc: sp.sin(X) / X,
    sp.harmonic: sp.digamma(1 + X) + sp.EulerGamma,
    sp.factorial: sp.gamma(1 + X),
}
"""SymPy's functions that are compositions of the grammar's."""

_COMPOSED_BODIES = {f.__name__: g for f, g in _COMPOSED.items()}

_SYMPY_ONLY: dict[str, type[sp.Function]] = {
    f.__name__: f for f in (sp.Abs, sp.Max, sp.Min, sp.Heaviside)
}
"""What SymPy's texts call by other names than the grammar, or with several arguments."""

_SPECIAL: dict[str, type[sp.Function]] = {
    f.__name__: f
    for f in (
        sp.erfi, sp.erfinv, sp.erfcinv, sp.Si, sp.Shi, sp.Ci, sp.Chi, sp.Ei, sp.li, sp.LambertW,
        sp.airyai, sp.airybi, sp.airyaiprime, sp.airybiprime, sp.fresnels, sp.fresnelc,
    )
}  # fmt: skip
"""Further functions of one variable, by SymPy's name."""

_FAMILIES: dict[str, type[sp.Function]] = {
    f.__name__: f for f in (sp.polygamma, sp.besselj, sp.bessely, sp.besseli, sp.besselk)
}
"""Functions with an integer order, which their name carries: polygamma2, besselj0."""

_MOST_ORDERS = 100

_ORDERED = re.compile(rf"({'|'.join(_FAMILIES)})(\d{{1,2}})")


def derivative(g: sp.Expr, x: sp.Symbol = X, times: int = 1) -> sp.Expr:
    """g′ in x, or a higher derivative; away from jumps, whose derivative is 0."""
    for _ in range(times):
        g = sp.diff(g, x).replace(sp.DiracDelta, lambda *_: sp.Integer(0))
    return g


def function_names() -> tuple[str, ...]:
    """The elementwise functions that the grammar calls by name."""
    return tuple(_BODIES)


def is_function(name: str) -> bool:
    """Whether `name` is a function of the grammar or another one of SymPy's."""
    return name in _BODIES or name in _SPECIAL or _ORDERED.fullmatch(name) is not None


def is_readable(name: str) -> bool:
    """Whether `name` is a function, or a composition of functions, of one variable."""
    return is_function(name) or name in _COMPOSED_BODIES


@cache
def body(name: str) -> sp.Expr:
    """The SymPy expression in X of the function called `name`; raises MbpError if unknown."""
    if name in _BODIES:
        return _BODIES[name]
    if name in _COMPOSED_BODIES:
        return _COMPOSED_BODIES[name]
    if name in _SPECIAL:
        return _SPECIAL[name](X)
    if ordered := _ORDERED.fullmatch(name):
        return _FAMILIES[ordered[1]](int(ordered[2]), X)
    raise MbpError(
        f"unknown scalar function {name!r}; known are {', '.join(_BODIES)}, "
        'or an expression in x such as "x/(1 + x)"'
    )


def composition(g: sp.Expr) -> sp.Expr | None:
    """The outermost function of `g` in terms of the grammar's functions, where it is no such one.

    `g` is a call of a SymPy function; None when it stands for itself.
    """
    if g.func in _COMPOSED:
        return _COMPOSED[g.func].xreplace({X: g.args[0]})
    order = g.args[0]
    if g.func.__name__ in _FAMILIES and g.func is not sp.polygamma and order.is_Integer:
        return _recurrence(g.func, int(order), g.args[1]) if order > 1 else None
    return None


def _recurrence(bessel: type[sp.Function], n: int, x: sp.Expr) -> sp.Expr:
    # Lower orders only: DLMF 10.6.1 and 10.29.1.
    step = 2 * (n - 1) / x * bessel(n - 1, x)
    if bessel is sp.besseli:
        return bessel(n - 2, x) - step
    return step + bessel(n - 2, x) if bessel is sp.besselk else step - bessel(n - 2, x)


def univariate(g: str | sp.Expr | sp.Lambda | type[sp.Function]) -> sp.Expr:
    """`g` as an expression in X: a name, a text in x, SymPy's function, Lambda or expression.

    Raises MbpError when it has another number of variables than one.
    """
    if isinstance(g, str):
        return parse_scalar(g)
    if isinstance(g, type | sp.Lambda):
        try:
            g = g(X)
        except TypeError as error:
            raise MbpError(f"{g} is no function of one variable: {error}") from None
    g = sp.sympify(g)
    if len(g.free_symbols) == 1:
        g = g.xreplace({next(iter(g.free_symbols)): X})
    if g.free_symbols - {X}:
        raise MbpError(f"a scalar function has one variable, but {g} has several")
    return g.replace(lambda call: call.func in _COMPOSED, composition)


@cache
def name_of(g: sp.Expr) -> str | None:
    """The name of the function with body `g`, if it has one."""
    for name, known in _BODIES.items():
        if known == g:
            return name
    if not g.args or g.args[-1] != X:
        return None
    name = g.func.__name__
    if name in _SPECIAL:
        return name
    order = g.args[0]
    named = name in _FAMILIES and order.is_Integer and 0 <= order < _MOST_ORDERS
    return f"{name}{order}" if named else None


_BINARY: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}

_COMPARISONS: dict[type[ast.cmpop], type[sp.Rel]] = {
    ast.Lt: sp.Lt, ast.LtE: sp.Le, ast.Gt: sp.Gt, ast.GtE: sp.Ge,
}  # fmt: skip


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
    if is_readable(source) and source not in known:
        return body(source)

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
        return body(name).subs(X, argument)

    def piece(node: ast.AST) -> tuple[sp.Expr, sp.Basic]:
        match node:
            case ast.Tuple(elts=[value, ast.Constant(value=True)]):
                return read(value), sp.true
            case ast.Tuple(elts=[value, ast.Compare(left=left, ops=[op], comparators=[right])]) if (
                type(op) in _COMPARISONS
            ):
                return read(value), _COMPARISONS[type(op)](read(left), read(right))
        raise fault(node, "a piece is (value, condition), the condition an inequality or True")

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
            case ast.Call(func=ast.Name(id=name), args=[arg], keywords=[]) if is_readable(name):
                return call(node, name, read(arg))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _SYMPY_ONLY:
                return _SYMPY_ONLY[name](*map(read, args))
            case ast.Call(func=ast.Name(id="Piecewise"), args=pieces, keywords=[]) if pieces:
                return sp.Piecewise(*map(piece, pieces))
            case ast.Call(
                func=ast.Name(id=name), args=[ast.Constant(value=int() as n), arg], keywords=[]
            ) if name in _FAMILIES and 0 <= n < _MOST_ORDERS:
                return _FAMILIES[name](n, read(arg))
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
