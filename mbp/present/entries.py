"""A kernel's entries over indexed names, v[i] and A[i, j], as evaluable text and as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from mbp.expr import scalar
from mbp.expr.dims import ONE
from mbp.expr.latex import latex, letter, scalar_latex
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Hadamard,
    I,
    Inverse,
    J,
    Kernel,
    Map,
    Number,
    Ones,
    Product,
    Scale,
    Sum,
    Transpose,
    Var,
    both,
    col,
    row,
)
from mbp.expr.text import text
from mbp.invariants.infer import is_


@dataclass(frozen=True)
class Entries:
    """k(i, j) and k(i, i) over indexed names; `letters` says how LaTeX writes those."""

    entry: sp.Expr
    diagonal: sp.Expr
    letters: Mapping[sp.Symbol, str]

    @property
    def text(self) -> tuple[str, str]:
        """Entry and diagonal as Python over i, j and the indexed names."""
        return _Evaluable().doprint(self.entry), _Evaluable().doprint(self.diagonal)

    @property
    def latex(self) -> tuple[str, str]:
        """Entry and diagonal as LaTeX."""
        return scalar_latex(self.entry, self.letters), scalar_latex(self.diagonal, self.letters)

    @property
    def is_uniform(self) -> bool:
        """Whether the diagonal is nothing but the entry at i = j."""
        return bool(self.diagonal == _at_diagonal(self.entry))


def entries(kernel: Kernel, names: Mapping[Expr, str]) -> Entries:
    """The entries of `kernel`, whose operands print with `names`."""
    reader = _Indexed(names)
    off: dict[sp.Symbol, sp.Expr] = {}
    on: dict[sp.Symbol, sp.Expr] = {J: I}
    for k, operand in enumerate(kernel.args):
        if operand.is_scalar or operand.cols == ONE:
            off[row(k)] = on[row(k)] = on[col(k)] = reader.at(operand, "i", "")
            off[col(k)] = reader.at(operand, "j", "")
        else:
            off[both(k)] = reader.at(operand, "i", "j")
            on[both(k)] = reader.at(operand, "i", "i")
    # At i = j an entry may be 0/0: then the kernel says itself what stands there.
    diagonal = kernel.entry if kernel.diagonal is None else kernel.diagonal
    return Entries(kernel.entry.xreplace(off), diagonal.xreplace(on), reader.letters)


def _at_diagonal(entry: sp.Expr) -> sp.Expr:
    indexed = [s for s in entry.free_symbols if s.name.endswith("]")]
    swap = {s: sp.Symbol(_swapped(s.name), real=True) for s in indexed}
    return entry.xreplace({J: I, **swap})


def _swapped(name: str) -> str:
    front, bracket, indices = name.rpartition("[")
    return front + bracket + indices.replace("j", "i")


class _Indexed:
    """Reads single entries of expressions, as far as they are entrywise; else of their text."""

    def __init__(self, names: Mapping[Expr, str]) -> None:
        self.names = names
        self.letters: dict[sp.Symbol, str] = {}

    def at(self, node: Expr, i: str, j: str) -> sp.Expr:
        """Entry (i, j) of a matrix, i of a column, the value of a scalar."""
        if node in self.names or isinstance(node, Var):
            name = self.names.get(node) or text(node)
            return self.symbol(name, letter(name), node, i, j)
        match node:
            case Number(data=(value,)):
                return value
            case Ones():
                return sp.Integer(1)
            case Sum():
                return sp.Add(*(self.at(term, i, j) for term in node.args))
            case Scale(args=(c, X)):
                return self.at(c, i, j) * self.at(X, i, j)
            case Hadamard():
                return sp.Mul(*(self.at(factor, i, j) for factor in node.args))
            case Map(args=(X, p)):
                return self.at(X, i, j) ** self.at(p, i, j)
            case Map(args=(X,), data=(name,)):
                return scalar.body(name).xreplace({scalar.X: self.at(X, i, j)})
            case Transpose(args=(X,)) if X.cols != ONE:
                return self.at(X, j, i)
            case DiagVec(args=(X,)):
                return self.at(X, i, i)
            case Diag(args=(v,)) if i == j:
                return self.at(v, i, "")
            case Product() if i == j and all(is_(A, "diagonal") for A in node.args):
                return sp.Mul(*(self.at(A, i, i) for A in node.args))
            case Inverse(args=(X,)) if i == j and is_(X, "diagonal"):
                return 1 / self.at(X, i, i)
        spelled, shown = text(node, self.names), latex(node, self.names)
        return self.symbol(f"({spelled})", rf"\left({shown}\right)", node, i, j)

    def symbol(self, name: str, front: str, node: Expr, i: str, j: str) -> sp.Symbol:
        """The symbol of an entry of `node`, called `name`, noted with its LaTeX."""
        if node.is_scalar:
            result = sp.Symbol(name, real=True)
            self.letters[result] = front
            return result
        if "_" in front:
            front = rf"\left({front}\right)"
        column = node.cols == ONE
        result = sp.Symbol(f"{name}[{i}]" if column else f"{name}[{i}, {j}]", real=True)
        self.letters[result] = f"{front}_{{{i if column else i + j}}}"
        return result


class _Evaluable(StrPrinter):  # type: ignore[misc]  # SymPy is untyped
    """SymPy as Python: patterns as products with a comparison, functions by the grammar's names."""

    def _print_Piecewise(self, expr: Any) -> str:
        terms = []
        before = sp.true
        for value, condition in expr.args:
            here = sp.And(before, condition)
            before = sp.And(before, sp.Not(condition))
            if value != 0 and here != sp.false:
                factor = self.parenthesize(value, PRECEDENCE["Mul"])
                terms.append(f"{factor}*({self._print(here)})")
        return f"({' + '.join(terms)})" if len(terms) > 1 else "".join(terms) or "0"

    def _print_Relational(self, expr: Any) -> str:
        return f"{self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)}"

    def _print_And(self, expr: Any) -> str:
        return " & ".join(f"({self._print(arg)})" for arg in expr.args)

    def _print_Or(self, expr: Any) -> str:
        return " | ".join(f"({self._print(arg)})" for arg in expr.args)

    def _print_Abs(self, expr: Any) -> str:
        return f"abs({self._print(expr.args[0])})"

    def _print_Max(self, expr: Any) -> str:
        return f"max({', '.join(map(self._print, expr.args))})"

    def _print_Heaviside(self, expr: Any) -> str:
        return f"1*({self._print(expr.args[0])} > 0)"

    def _print_Exp1(self, expr: Any) -> str:
        return "exp(1)"

    def _print_polygamma(self, expr: Any) -> str:
        order, x = expr.args
        argument = self._print(x)
        return f"digamma({argument})" if order == 0 else f"polygamma({order}, {argument})"
