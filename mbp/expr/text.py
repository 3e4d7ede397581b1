"""Expressions as text in the grammar; parsing the text gives the same node back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    I,
    Inner,
    Inverse,
    J,
    Kernel,
    Kron,
    KronLeft,
    KronRight,
    LogDet,
    Map,
    Named,
    Number,
    Ones,
    Output,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Var,
    Variation,
    Vec,
    Zeros,
    both,
    col,
    row,
)

SUM, TERM, UNARY, POWER, ATOM = range(5)
"""Binding strengths, weakest first; a piece of text carries the one of its outermost operator."""

Piece = tuple[str, int]

_CALLS: dict[type[Expr], str] = {
    Inverse: "inv",
    Det: "det",
    LogDet: "logdet",
    Trace: "tr",
    Diag: "diag",
    DiagVec: "diag",
    Kron: "kron",
    KronLeft: "kron_left",
    KronRight: "kron_right",
    Vec: "vec",
    Variation: "d",
}

PARTS = {
    "sym": "sym({})",
    "skew": "skew({})",
    "diag": "diagpart({})",
    "lower": "tril({})",
    "strictly_lower": "tril({}, -1)",
    "upper": "triu({})",
    "strictly_upper": "triu({}, 1)",
}


def text(root: Expr, names: Mapping[Expr, str] | None = None) -> str:
    """`root` in the expression grammar; nodes in `names` print as their name."""
    return _Printer(names or {}).piece(root)[0]


def _within(piece: Piece, strength: int) -> str:
    return piece[0] if piece[1] >= strength else f"({piece[0]})"


def dim_text(n: sp.Expr) -> str:
    """A dimension as an argument of `eye`, `ones`, …"""
    return str(n)


def scalar_text(g: sp.Expr) -> str:
    """A scalar function's body in the grammar: its name, or an expression in x."""
    return scalar.name_of(g) or str(g)


def entry_text(kernel: Kernel, names: Callable[[Expr], str]) -> tuple[str, str | None]:
    """A kernel's entry and diagonal, its operands indexed as v[i], A[i, j]."""
    replaced: dict[sp.Symbol, sp.Symbol] = {I: sp.Symbol("i"), J: sp.Symbol("j")}
    at_diagonal: dict[sp.Symbol, sp.Symbol] = dict(replaced)
    for k, operand in enumerate(kernel.args):
        name = names(operand)
        if operand.is_scalar:
            replaced[row(k)] = at_diagonal[row(k)] = sp.Symbol(name)
        elif operand.cols == ONE:
            replaced[row(k)] = at_diagonal[row(k)] = sp.Symbol(f"{name}[i]")
            replaced[col(k)] = sp.Symbol(f"{name}[j]")
            at_diagonal[col(k)] = sp.Symbol(f"{name}[i]")
        else:
            replaced[both(k)] = sp.Symbol(f"{name}[i, j]")
            at_diagonal[both(k)] = sp.Symbol(f"{name}[i, i]")
    entry = str(kernel.entry.xreplace(replaced))
    if kernel.diagonal is None:
        return entry, None
    return entry, str(kernel.diagonal.xreplace(at_diagonal))


def _sum(args: tuple[Piece, ...]) -> str:
    pieces = [args[0][0]]
    for term, strength in args[1:]:
        if strength == SUM:
            pieces.append(f"+ ({term})")
        elif term.startswith("-"):
            pieces.append(f"- {term[1:]}")
        else:
            pieces.append(f"+ {term}")
    return " ".join(pieces)


def _exponent(piece: Piece) -> str:
    return _within(piece, UNARY)


def _begins_with_a_scalar(product: Expr) -> bool:
    """Whether the first letters of a matrix product make a scalar, as in (wᵀ w) vᵀ."""
    if not isinstance(product, Product) or product.is_scalar or product.rows is not ONE:
        return False
    return any(letter.cols is ONE for letter in product.args[:-1])


def folded(node: Product, named: Iterable[Expr]) -> list[Expr]:
    """The factors of a product, those that together are one of the `named` products as this."""
    factors = list(node.args)
    for X in named:
        run = list(X.args) if isinstance(X, Product) and X is not node else []
        for k in range(len(factors) - len(run) + 1 if run else 0):
            if factors[k : k + len(run)] == run:
                factors[k : k + len(run)] = [X]
                break
    return factors


class _Printer:
    """Prints each node once; `names` holds the nodes that print as a name."""

    def __init__(self, names: Mapping[Expr, str]) -> None:
        self._names = names
        self._done: dict[Expr, Piece] = {node: (name, ATOM) for node, name in names.items()}

    def piece(self, node: Expr) -> Piece:
        """The text of `node` and how strongly it binds."""
        if node not in self._done:
            self._done[node] = self._print(node)
        return self._done[node]

    def _print(self, node: Expr) -> Piece:
        if isinstance(node, Named):
            return node.name, ATOM
        args = tuple(self.piece(arg) for arg in node.args)
        match node:
            case Var():
                return node.name, ATOM
            case Number(data=(value,)):
                strength = ATOM if (value.is_Integer and value >= 0) or value is sp.pi else TERM
                return str(value), UNARY if value.is_Integer and value < 0 else strength
            case DimSize(data=(n,)):
                return f"tr(eye({dim_text(n)}))", ATOM
            case Eye(data=(n,)):
                return f"eye({dim_text(n)})", ATOM
            case Ones() | Zeros():
                word = "ones" if isinstance(node, Ones) else "zeros"
                dims = [node.rows] if node.cols == ONE else [node.rows, node.cols]
                return f"{word}({', '.join(map(dim_text, dims))})", ATOM
            case Sum():
                return _sum(args), SUM
            case Product():
                factors = map(self.piece, folded(node, self._names))
                return " @ ".join(_within(piece, UNARY) for piece in factors), TERM
            case Scale():
                return self._scaled(node)
            case Transpose():
                return f"{_within(args[0], ATOM)}.T", ATOM
            case Hadamard():
                return self._hadamard(node, args), TERM
            case Map(data=("pow",)) if node.is_scalar and build.is_reciprocal(node):
                return f"1 / {self._reciprocal(node)}", TERM
            case Map(data=("pow",)):
                return f"{_within(args[0], ATOM)} ** {_exponent(args[1])}", POWER
            case Map(data=("sqrt",)) if (
                isinstance(X := node.args[0], Inner) and X.args[0] is X.args[1]
            ):
                return f"norm({self.piece(X.args[0])[0]})", ATOM
            case Map(data=(name,)):
                return f"{name}({args[0][0]})", ATOM
            case Inner(args=(A, B)):
                if isinstance(A, Ones):
                    return f"sum({args[1][0]})", ATOM
                if A is B:
                    return f"sumsq({args[0][0]})", ATOM
                return f"inner({args[0][0]}, {args[1][0]})", ATOM
            case Part(data=(kind,)):
                return PARTS[kind].format(args[0][0]), ATOM
            case Stack(data=(axis,)):
                word = "hstack" if axis == 1 else "vstack"
                return f"{word}({', '.join(arg[0] for arg in args)})", ATOM
            case Unvec():
                return f"unvec({args[0][0]}, {dim_text(node.rows)}, {dim_text(node.cols)})", ATOM
            case Frechet():
                return self._frechet(node, args), ATOM
            case Output(data=(rule, index, *_, count)):
                call = f"{rule}({', '.join(arg[0] for arg in args)})"
                return (call if count == 1 else f"{call}[{index}]"), ATOM
            case Kernel():
                entry, diagonal = entry_text(node, lambda operand: f"({operand})")
                tail = "" if diagonal is None else f", diagonal = {diagonal}"
                return f"kernel({entry}{tail})", ATOM
        return f"{_CALLS[type(node)]}({', '.join(arg[0] for arg in args)})", ATOM

    def _scaled(self, node: Expr) -> Piece:
        value, factors = build.scalar_factors(node.args[0])
        factors = [*factors, node.args[1]]
        below = [f for f in factors if build.is_reciprocal(f) and f.is_scalar]
        above = [self.piece(f) for f in factors if f not in below]
        sign = "-" if value < 0 else ""
        value = abs(value)
        number = str(value.p) if value.is_Rational else str(value)
        last = factors[-1]
        bare = isinstance(last, Product | Hadamard) and not _begins_with_a_scalar(last)
        if number == "1" and above:
            words = [_within(above[0], TERM)]
            words += [_within(piece, UNARY) for piece in above[1:]]
            if bare and len(above) > 1:
                words[-1] = above[-1][0]
        else:
            words = [number] + [_within(piece, UNARY) for piece in above]
            if bare and above:
                words[-1] = above[-1][0]
        result = " * ".join(words)
        if value.is_Rational and value.q != 1:
            result += f" / {value.q}"
        # A division of a matrix puts its factor in front of the others, that of a scalar behind.
        for factor in below if node.is_scalar else reversed(below):
            result += f" / {self._reciprocal(factor)}"
        alone = len(words) == 1 and result == words[0] and (not above or above[0][1] >= UNARY)
        strength = UNARY if sign and alone else TERM
        return f"{sign}{result}", strength

    def _reciprocal(self, factor: Expr) -> str:
        base, p = factor.args
        assert isinstance(p, Number)
        return _within(self.piece(build.power(base, build.number(-p.value))), UNARY)

    def _hadamard(self, node: Expr, args: tuple[Piece, ...]) -> str:
        result = _within(args[0], UNARY)
        for factor, piece in zip(node.args[1:], args[1:]):
            if build.is_reciprocal(factor):
                result += f" / {self._reciprocal(factor)}"
            else:
                result += f" * {_within(piece, UNARY)}"
        return result

    def _frechet(self, node: Frechet, args: tuple[Piece, ...]) -> str:
        A = args[0][0]
        if node.order == 0:
            for word, g in build.MATRIX_FUNCTIONS.items():
                if g == node.g:
                    return f"{word}({A})"
            if node.g == scalar.X ** scalar.parameter(0):
                return f"powm({A}, {args[1][0]})"
            if node.g.is_Pow and node.g.base == scalar.X and node.g.exp.is_Rational:
                return f"powm({A}, {node.g.exp})"
        operands = ", ".join(arg[0] for arg in args)
        if node.order == 0:
            return f'matfun("{scalar_text(node.g)}", {operands})'
        return f'frechet("{scalar_text(node.g)}", {node.order}, {operands})'
