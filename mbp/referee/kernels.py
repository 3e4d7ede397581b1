"""Reads kernels that a claim defines itself, entry by entry."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build, scalar
from mbp.expr.dims import ONE, Dim, dim
from mbp.expr.nodes import Expr, I, J, both, col, row
from mbp.invariants.infer import is_

_DEFINITION = re.compile(r"\s*(\w+)\s*:\s*entry\s*\(\s*i\s*,\s*j\s*\)\s*=\s*(.*)", re.DOTALL)
_OPTION = re.compile(r",\s*(diagonal|shape)\s*=")
_FORM = "a kernel is defined as 'K: entry(i, j) = 1/(s[i] - s[j]), diagonal = 0'"


def defined(text: str, names: Mapping[str, Expr]) -> tuple[str, Expr]:
    """The name and the kernel of a text such as 'K: entry(i, j) = s[i]*s[j], diagonal = 0'.

    A shape, as in ', shape = m n', is needed only where no operand shows it. Raises MbpError.
    """
    match = _DEFINITION.fullmatch(text)
    if match is None:
        raise MbpError(_FORM, text=text, column=0)
    entry, *options = _OPTION.split(match[2])
    given = dict(zip(options[::2], options[1::2], strict=True))
    shape = given.get("shape")
    return match[1], kernel(entry, given.get("diagonal"), shape, names)


def kernel(entry: str, diagonal: str | None, shape: str | None, names: Mapping[str, Expr]) -> Expr:
    """The matrix with these entries over i, j and indexed letters, v[i] and A[i, j].

    Raises MbpError, with the place, for anything but arithmetic on them.
    """
    reader = _Entries(names)
    k = reader.read(entry)
    on = None if diagonal is None else reader.read(diagonal)
    if shape is not None:
        words = shape.split()
        if len(words) not in (1, 2):
            raise MbpError("a shape is one or two dimensions", text=shape, column=0)
        rows, cols = dim(words[0]), dim(words[-1]) if len(words) == 2 else ONE
    else:
        rows, cols = reader.shape()
    return build.kernel(k, on, tuple(reader.operands), rows, cols)


_OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}

_COMPARISONS: dict[type[ast.cmpop], type[sp.Rel]] = {
    ast.Lt: sp.Lt, ast.LtE: sp.Le, ast.Gt: sp.Gt, ast.GtE: sp.Ge, ast.Eq: sp.Eq, ast.NotEq: sp.Ne,
}  # fmt: skip


class _Entries:
    """Entries as SymPy expressions; notes the operands and what they say of the shape."""

    def __init__(self, names: Mapping[str, Expr]) -> None:
        self.names = names
        self.operands: list[Expr] = []
        self._rows: Dim | None = None
        self._cols: Dim | None = None

    def shape(self) -> tuple[Dim, Dim]:
        """Rows and columns as the indexed operands show them, square if only one is shown."""
        rows, cols = self._rows or self._cols, self._cols or self._rows
        if rows is None or cols is None:
            raise MbpError("no operand shows this kernel's shape; add ', shape = n n'")
        return rows, cols

    def read(self, text: str) -> sp.Expr:
        """The entry written in `text`."""
        self.text = text.strip()
        try:
            tree = ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError):
            raise MbpError(f"this is no entry; {_FORM}", text=self.text, column=0) from None
        return sp.sympify(self._read(tree.body))

    def _fault(self, node: ast.AST, why: str) -> MbpError:
        return MbpError(why, text=self.text, column=getattr(node, "col_offset", 0))

    def _read(self, node: ast.AST) -> sp.Basic:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return sp.Rational(str(value))
            case ast.Name(id="i"):
                return I
            case ast.Name(id="j"):
                return J
            case ast.Name(id="pi"):
                return sp.pi
            case ast.Name(id=name):
                if not self._letter(node, name).is_scalar:
                    raise self._fault(node, f"{name} is a matrix; index it, as {name}[i, j]")
                return row(self._operand(self.names[name]))
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                return self._indexed(node, self._letter(node, name), _indices(index))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._read(operand)
            case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
                return sp.And(_condition(self._read(left)), _condition(self._read(right)))
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return sp.Or(_condition(self._read(left)), _condition(self._read(right)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                a, b = _number(self._read(left)), _number(self._read(right))
                constant = a.is_number and b.is_number
                if isinstance(op, ast.Pow) and constant and not scalar.folds(a, b):
                    raise self._fault(node, "this power is out of range")
                return _OPERATORS[type(op)](a, b)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                return _COMPARISONS[type(op)](self._read(left), self._read(right))
            case ast.Call(func=ast.Name(id="max"), args=[_, *_] as args, keywords=[]):
                return sp.Max(*(self._read(arg) for arg in args))
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if (
                name in scalar.function_names()
            ):
                return scalar.body(name).xreplace({scalar.X: _number(self._read(argument))})
        raise self._fault(node, "an entry is arithmetic on i, j and indexed letters")

    def _letter(self, node: ast.AST, name: str) -> Expr:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise self._fault(node, f"unknown name {name!r}; known are: {known}")
        return self.names[name]

    def _operand(self, A: Expr) -> int:
        if A not in self.operands:
            self.operands.append(A)
        return self.operands.index(A)

    def _indexed(self, node: ast.AST, A: Expr, indices: tuple[str, ...]) -> sp.Symbol:
        match indices:
            case ("i" | "j" as index,) if A.cols == ONE:
                return self._entry(A, index)
            case ("i" | "j" as index,) if is_(A, "diagonal"):
                return self._entry(build.diag(A), index)
            case (("i" | "j") as first, ("i" | "j") as second) if first == second and A.is_square:
                return self._entry(build.diag(A), first)
            case ("i", "j"):
                self._rows, self._cols = A.rows, A.cols
                return both(self._operand(A))
            case ("j", "i"):
                self._rows, self._cols = A.cols, A.rows
                return both(self._operand(build.transpose(A)))
        raise self._fault(node, "a column is indexed as v[i] or v[j], a matrix as A[i, j]")

    def _entry(self, v: Expr, index: str) -> sp.Symbol:
        if index == "i":
            self._rows = self._rows or v.rows
            return row(self._operand(v))
        self._cols = self._cols or v.rows
        return col(self._operand(v))


def _indices(index: ast.expr) -> tuple[str, ...]:
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    return tuple(item.id if isinstance(item, ast.Name) else "?" for item in items)


def _condition(value: sp.Basic) -> sp.Basic:
    return value if value.is_Boolean else sp.Ne(value, 0)


def _number(value: sp.Basic) -> sp.Expr:
    return sp.Piecewise((1, value), (0, True)) if value.is_Boolean else value

