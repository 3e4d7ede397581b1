"""Reads the expression grammar with `ast`; no text is ever executed."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build, scalar
from mbp.expr.dims import Dim, dim
from mbp.expr.foreign import here
from mbp.expr.nodes import Expr

Function = Callable[..., Expr | tuple[Expr, ...]]
"""A decomposition called by name: expressions in, one output or a tuple of them."""

Outputs = Expr | tuple[Expr, ...] | dict[str, Expr]

Made = TypeVar("Made")

RESERVED = ("G", "d")


def _entrywise(name: str) -> Callable[[Expr], Expr]:
    return lambda A: build.apply(name, A)


def _of_spectrum(g: sp.Expr) -> Callable[[Expr], Expr]:
    return lambda A: build.matfun(g, A)


_FUNCTIONS: dict[str, tuple[Callable[..., Expr], int]] = {
    "inv": (build.inv, 1),
    "det": (build.det, 1),
    "logdet": (build.logdet, 1),
    "tr": (build.tr, 1),
    "norm": (build.norm, 1),
    "sumsq": (build.sumsq, 1),
    "sum": (build.sum_of, 1),
    "inner": (build.inner, 2),
    "sym": (build.sym, 1),
    "skew": (build.skew, 1),
    "diag": (build.diag, 1),
    "diagpart": (build.diagpart, 1),
    "kron": (build.kron, 2),
    "kron_left": (build.kron_left, 2),
    "kron_right": (build.kron_right, 2),
    "vec": (build.vec, 1),
    "powm": (build.powm, 2),
    **{name: (_entrywise(name), 1) for name in scalar.function_names()},
    **{word: (_of_spectrum(g), 1) for word, g in build.MATRIX_FUNCTIONS.items()},
}

_BINARY: dict[type[ast.operator], Callable[[Expr, Expr], Expr]] = {
    ast.Add: build.add,
    ast.Sub: build.subtract,
    ast.MatMult: lambda A, B: build.matmul(A, B),
    ast.Mult: build.multiply,
    ast.Div: build.divide,
    ast.Pow: build.power,
}

FUNCTION_NAMES: frozenset[str] = frozenset(_FUNCTIONS) | {
    "eye", "ones", "zeros", "hstack", "vstack", "unvec", "apply", "matfun", "frechet", "tril",
    "triu", "d",
}  # fmt: skip


def parse(
    text: str,
    names: Mapping[str, Expr],
    rules: Mapping[str, Function] | None = None,
) -> Expr:
    """The expression written in `text` over `names`, decompositions called from `rules`.

    Raises MbpError, with a caret under the place, for anything outside the grammar and for
    shapes that do not conform.
    """
    result = _Reader(text, names, rules or {}).whole()
    if not isinstance(result, Expr):
        raise MbpError(
            f"this gives {len(result)} matrices; pick one with [0], [1], …", text=text, column=0
        )
    return result


def parse_outputs(
    text: str,
    names: Mapping[str, Expr],
    rules: Mapping[str, Function] | None = None,
) -> Expr | tuple[Expr, ...]:
    """Like `parse`, for a layer's text, which may give several outputs as a tuple."""
    return _Reader(text, names, rules or {}).whole()


def _hint(source: str) -> str | None:
    """What is meant by a spelling from elsewhere."""
    if not source:
        return "it is empty"
    if "'" in source:
        return "the transpose of X is X.T"
    return "a norm is norm(x), its square sumsq(x)" if "||" in source else None


class _Reader:
    def __init__(self, text: str, names: Mapping[str, Expr], rules: Mapping[str, Function]) -> None:
        self.text = text
        self.source = text.strip()
        self.names = names
        self.rules = rules

    def whole(self) -> Expr | tuple[Expr, ...]:
        if "\n" in self.source:
            raise MbpError("an expression is one line", text=self.source.splitlines()[0], column=0)
        try:
            with warnings.catch_warnings(action="ignore"):  # such as "invalid decimal literal"
                tree = ast.parse(self.source, mode="eval")
        except SyntaxError as error:
            raise MbpError(
                f"this is not an expression: {_hint(self.source) or error.msg}",
                text=self.source,
                column=max((error.offset or 1) - 1, 0),
            ) from None
        except (ValueError, RecursionError, MemoryError):
            raise MbpError("this is not an expression (too deep, or a stray character)") from None
        try:
            return self.read_any(tree.body)
        except RecursionError:
            raise MbpError("the expression is nested too deeply") from None

    def fault(self, node: ast.AST, why: str) -> MbpError:
        offset = getattr(node, "col_offset", 0)
        column = len(self.source.encode()[:offset].decode(errors="ignore"))
        return MbpError(why, text=self.source, column=column)

    def read(self, node: ast.AST) -> Expr:
        value = self.read_any(node)
        if isinstance(value, tuple):
            raise self.fault(node, f"this gives {len(value)} matrices; pick one with [0], [1], …")
        return value

    def read_any(self, node: ast.AST) -> Expr | tuple[Expr, ...]:
        return self._placed(node, lambda: self._read(node))

    def _placed(self, node: ast.AST, make: Callable[[], Made]) -> Made:
        try:
            return make()
        except MbpError as error:
            if error.text is not None:
                raise
            raise type(error)(
                error.message, text=self.source, column=self.fault(node, "").column
            ) from None

    def _chain(self, node: ast.BinOp) -> Expr:
        # From the innermost left operand outwards: a sum of many terms needs no recursion.
        steps = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and type(left.op) in _BINARY:
            steps.append(left)
            left = left.left
        value = self.read(left)
        for step in reversed(steps):
            apply = partial(_BINARY[type(step.op)], value, self.read(step.right))
            value = self._placed(step, apply)
        return value

    def _read(self, node: ast.AST) -> Expr | tuple[Expr, ...]:
        match node:
            case ast.Constant(value=bool()):
                raise self.fault(node, "True and False are not numbers")
            case ast.Constant(value=int() as value):
                return build.number(value)
            case ast.Constant(value=float()):
                literal = ast.get_source_segment(self.source, node) or ""
                if not _small(literal):
                    raise self.fault(node, f"the number {literal} is out of range")
                return build.number(sp.Rational(literal.replace("_", "")))
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.Attribute(value=inside, attr="T"):
                return build.transpose(self.read(inside))
            case ast.Attribute(attr=attr):
                raise self.fault(node, f"unknown attribute .{attr}; only .T is known")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return build.negate(self.read(operand))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.read(operand)
            case ast.BinOp(op=op) if type(op) in _BINARY:
                return self._chain(node)
            case ast.Tuple(elts=items):
                return tuple(self.read(item) for item in items)
            case ast.Subscript(value=inside, slice=ast.Constant(value=int() as index)):
                outputs = self.read_any(inside)
                if isinstance(outputs, tuple) and 0 <= index < len(outputs):
                    return outputs[index]
                raise self.fault(node, "an index picks an output of a decomposition, from [0] on")
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(node, name, args)
            case ast.Call(keywords=[_, *_]):
                raise self.fault(node, "functions take no keyword arguments here")
            case ast.Call(func=ast.Attribute(attr=attr)):
                raise self.fault(node, f"functions have no prefix here: write {here(attr) or attr}")
            case ast.BinOp(op=ast.BitXor()):
                raise self.fault(node, "a power is written **")
        raise self.fault(node, "this is outside the expression grammar (@ * / ** + - .T and calls)")

    def _name(self, node: ast.AST, name: str) -> Expr:
        if name in self.names:
            return self.names[name]
        if name == "pi":
            return build.number(sp.pi)
        if name in FUNCTION_NAMES or name in self.rules:
            raise self.fault(node, f"{name} is a function; call it with parentheses")
        if any(name in map(str, n.free_symbols) for e in self.names.values() for n in e.shape):
            raise self.fault(node, f"{name} is a dimension; as a number it is tr(eye({name}))")
        known = ", ".join(self.names) or "none"
        if (elsewhere := here(name)) is not None:
            raise self.fault(node, f"unknown name {name!r}; it is written {elsewhere}")
        raise self.fault(node, f"unknown name {name!r}; declared are: {known}")

    def _call(self, node: ast.AST, name: str, args: list[ast.expr]) -> Expr | tuple[Expr, ...]:
        if name in ("eye", "ones", "zeros"):
            most = 1 if name == "eye" else 2
            if not 1 <= len(args) <= most:
                raise self.fault(
                    node,
                    f"{name} takes {'one dimension' if most == 1 else 'one or two dimensions'}",
                )
            make: Callable[..., Expr] = getattr(build, name)
            return make(*(self.dimension(arg) for arg in args))
        if name in ("hstack", "vstack"):
            return build.stack(int(name == "hstack"), *(self.read(arg) for arg in args))
        if name == "unvec":
            self._arity(node, name, args, 3)
            return build.unvec(self.read(args[0]), self.dimension(args[1]), self.dimension(args[2]))
        if name == "apply":
            return self._elementwise(node, args)
        if name in ("matfun", "frechet"):
            return self._matrix_function(node, name, args)
        if name in ("tril", "triu"):
            return self._triangle(node, name, args)
        if name == "d":
            self._arity(node, name, args, 1)
            return build.variation(self.read(args[0]))
        if name in _FUNCTIONS:
            make, arity = _FUNCTIONS[name]
            self._arity(node, name, args, arity)
            return make(*(self.read(arg) for arg in args))
        if name in self.rules:
            return self.rules[name](*(self.read(arg) for arg in args))
        if scalar.is_readable(name):
            self._arity(node, name, args, 1)
            return build.apply(name, self.read(args[0]))
        if (elsewhere := here(name)) is not None:
            raise self.fault(node, f"unknown function {name!r}; it is written {elsewhere}")
        known = sorted({*FUNCTION_NAMES, *self.rules})
        begun = [short for short in known if len(short) > 1 and name.startswith(short)]
        near = difflib.get_close_matches(name, known, n=1) or sorted(begun, key=len)[-1:]
        right = f"; did you mean {near[0]}?" if near else ""
        raise self.fault(node, f"unknown function {name!r}{right}")

    def _arity(self, node: ast.AST, name: str, args: list[ast.expr], arity: int) -> None:
        if len(args) != arity:
            plural = "" if arity == 1 else "s"
            raise self.fault(node, f"{name} takes {arity} argument{plural}, not {len(args)}")

    def _elementwise(self, node: ast.AST, args: list[ast.expr]) -> Expr:
        match args:
            case [ast.Constant(value=str() as g), A]:
                return build.apply(g, self.read(A))
        raise self.fault(node, 'apply is called as apply("x/(1 + x**2)", A)')

    def _matrix_function(self, node: ast.AST, name: str, args: list[ast.expr]) -> Expr:
        match args:
            case [ast.Constant(value=str() as g), A] if name == "matfun":
                return build.matfun(g, self.read(A))
            case [ast.Constant(value=str() as g), ast.Constant(value=int() as p), A, *rest]:
                operands = [self.read(arg) for arg in rest]
                return self._frechet(g, p, self.read(A), operands)
            case [ast.Constant(value=str() as g), A, *rest] if name == "matfun":
                return self._frechet(g, 0, self.read(A), [self.read(arg) for arg in rest])
        raise self.fault(node, f'{name} is called as {name}("tanh", A)')

    def _frechet(self, g: str, p: int, A: Expr, operands: list[Expr]) -> Expr:
        q = len(operands) - p
        names = (("x", scalar.X), *((f"c{k}", scalar.parameter(k)) for k in range(q)))
        body = scalar.parse_scalar(g, names)
        return build.frechet(body, A, tuple(operands[:q]), *operands[q:])

    def _triangle(self, node: ast.AST, name: str, args: list[ast.expr]) -> Expr:
        make, strict = {"tril": (build.tril, -1), "triu": (build.triu, 1)}[name]
        match args:
            case [A]:
                return make(self.read(A))
            case [A, offset] if ast.unparse(offset) == str(strict):
                return make(self.read(A), strict)
        raise self.fault(node, f"{name} is called as {name}(A) or {name}(A, {strict})")

    def dimension(self, node: ast.AST) -> Dim:
        """A dimension argument: a name, a positive integer, or sums and products of them."""
        match node:
            case ast.Constant(value=str() as name) if name.isidentifier():
                return dim(name)
            case ast.Constant(value=int() as value) if not isinstance(value, bool):
                try:
                    return dim(value)
                except MbpError as error:
                    raise self.fault(node, error.message) from None
            case ast.Name(id=name):
                return dim(name)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return dim(self.dimension(left) + self.dimension(right))
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return dim(self.dimension(left) - self.dimension(right))
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return dim(self.dimension(left) * self.dimension(right))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2)):
                return dim(self.dimension(left) ** 2)
        raise self.fault(node, "a dimension is a name or a positive integer")


def _small(literal: str) -> bool:
    mantissa, _, exponent = literal.lower().partition("e")
    return len(mantissa) <= 64 and (not exponent or abs(int(exponent)) <= 400)
