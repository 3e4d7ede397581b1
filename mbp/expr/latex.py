"""Expressions in the paper's notation, as LaTeX for amsmath."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
from mbp.expr.text import folded

SUM, INNER, HADAMARD, TERM, SCRIPTED, ATOM, LETTER = range(7)
"""Binding strengths, weakest first; SCRIPTED carries a superscript, LETTER is a bare letter."""

Piece = tuple[str, int]

_GREEK = [
    "alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "epsilon",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
]  # fmt: skip

_LETTERS = {name: rf"\{name}" for name in _GREEK} | {
    "ell": r"\ell",
    "eps": r"\epsilon",
    "lam": r"\lambda",
    "Lam": r"\Lambda",
}

_FUNCTIONS = {
    name: rf"\{name}" for name in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh")
} | {
    "asin": r"\arcsin",
    "acos": r"\arccos",
    "atan": r"\arctan",
    "gamma": r"\Gamma",
    "digamma": r"\psi",
    "trigamma": r"\psi'",
}

_TRIANGLES = {
    "lower": r"\operatorname{tril}",
    "strictly_lower": r"\operatorname{tril}_{-1}",
    "upper": r"\operatorname{triu}",
    "strictly_upper": r"\operatorname{triu}_{1}",
}


def latex(root: Expr, names: Mapping[Expr, str] | None = None) -> str:
    """`root` as LaTeX; nodes in `names` print as the letter of that name, `d(X)` as dX."""
    return _Printer(names or {}).piece(root)[0]


def letter(name: str) -> str:
    """A name of the grammar as a letter: `eps` is ε, `Lam` Λ, `X1` and `G_Y` have a subscript."""
    if varied := re.fullmatch(r"d\((\w+)\)", name):
        return f"d{letter(varied[1])}"
    stem, _, below = name.partition("_")
    if not stem:
        return rf"\mathit{{{_escaped(name)}}}"
    if not below and (numbered := re.fullmatch(r"([^\W\d_]+)(\d+)", stem)):
        stem, below = numbered[1], numbered[2]
    front = _LETTERS.get(stem)
    if front is None:
        front = stem if len(stem) == 1 else rf"\mathit{{{_escaped(stem)}}}"
    if not below:
        return front
    return f"{front}_{{{below if below.isdigit() else letter(below)}}}"


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")


def dim_latex(n: sp.Expr) -> str:
    """A dimension such as m - n, its names as letters."""
    return str(sp.latex(n, symbol_names={s: letter(s.name) for s in n.free_symbols}))


def scalar_latex(g: sp.Expr, letters: Mapping[sp.Symbol, str]) -> str:
    """A scalar expression, its symbols written as `letters` says."""
    return str(sp.latex(g, symbol_names=dict(letters), ln_notation=False))


def _group(text: str) -> str:
    return rf"\left({text}\right)"


def _within(piece: Piece, strength: int) -> str:
    return piece[0] if piece[1] >= strength else _group(piece[0])


def _scripted(piece: Piece, script: str) -> Piece:
    return f"{_within(piece, ATOM)}^{{{script}}}", SCRIPTED


def _subscripted(piece: Piece, script: str) -> Piece:
    base = piece[0] if piece[1] == LETTER else _group(piece[0])
    return f"{base}_{{{script}}}", ATOM


def _operand(piece: Piece) -> str:
    # A product between ∘ or ⊗ could stand bare, but nobody reads it without parentheses.
    return _within(piece, SCRIPTED)


def _function(name: str) -> str:
    return _FUNCTIONS.get(name, rf"\operatorname{{{_escaped(name)}}}")


def _joined(terms: list[str]) -> str:
    result = terms[0]
    for term in terms[1:]:
        result += f" - {term[1:].lstrip()}" if term.startswith("-") else f" + {term}"
    return result


class _Printer:
    """Prints each node once; `names` holds the nodes that print as a letter."""

    def __init__(self, names: Mapping[Expr, str]) -> None:
        self._names = names
        self._done: dict[Expr, Piece] = {node: _named(name) for node, name in names.items()}

    def piece(self, node: Expr) -> Piece:
        """The LaTeX of `node` and how strongly it binds."""
        if node not in self._done:
            self._done[node] = self._print(node)
        return self._done[node]

    def _print(self, node: Expr) -> Piece:
        if isinstance(node, Named):
            return _named(node.name)
        args = tuple(self.piece(arg) for arg in node.args)
        match node:
            case Var():
                return _named(node.name)
            case Variation():
                front = args[0][0] if args[0][1] == LETTER else _group(args[0][0])
                return f"d{front}", ATOM
            case Number(data=(value,)):
                whole = value.is_Integer or value is sp.pi
                strength = TERM if value < 0 else ATOM if whole else HADAMARD
                return scalar_latex(value, {}), strength
            case DimSize(data=(n,)):
                return dim_latex(n), ATOM if n.is_Symbol else SUM
            case Eye():
                return "I", LETTER
            case Ones():
                column = r"\mathbf{1}"
                return (column, ATOM) if node.cols == ONE else (
                    (rf"{column}^{{\top}}", SCRIPTED) if node.rows == ONE
                    else (rf"{column}\mathbf{{1}}^{{\top}}", TERM)
                )  # fmt: skip
            case Zeros():
                return "0", LETTER
            case Sum():
                return _joined([arg[0] if arg[1] > SUM else _group(arg[0]) for arg in args]), SUM
            case Product():
                factors = [self.piece(X) for X in folded(node, self._names)]
                return " ".join(self._factors(factors)), TERM
            case Scale():
                return self._scaled(node)
            case Transpose(args=(Inverse(args=(X,)),)):
                return _scripted(self.piece(X), r"-\top")
            case Transpose(args=(Output(data=("pinv", *_)) as X,)) if X not in self._names:
                return _scripted(self.piece(X.args[0]), r"+\top")
            case Transpose():
                return _scripted(args[0], r"\top")
            case Inverse(args=(Transpose(args=(X,)),)):
                return _scripted(self.piece(X), r"-\top")
            case Inverse():
                return _scripted(args[0], "-1")
            case Hadamard():
                return self._hadamard(node, args), HADAMARD
            case Map():
                return self._map(node, args)
            case Det():
                return rf"\det{_group(args[0][0])}", ATOM
            case LogDet():
                return rf"\log\left|\det {_within(args[0], SCRIPTED)}\right|", ATOM
            case Trace():
                return rf"\operatorname{{Tr}}{_group(args[0][0])}", ATOM
            case Inner(args=(A, B)):
                return self._inner(A, B)
            case Diag():
                return rf"\left[{args[0][0]}\right]", ATOM
            case DiagVec():
                return rf"\operatorname{{diag}}{_group(args[0][0])}", ATOM
            case Part(data=(kind,)) if kind in _TRIANGLES:
                return f"{_TRIANGLES[kind]}{_group(args[0][0])}", ATOM
            case Part(data=(kind,)):
                return _subscripted(args[0], kind)
            case Stack(data=(axis,)):
                blocks = (" & " if axis == 1 else r" \\ ").join(arg[0] for arg in args)
                return rf"\begin{{pmatrix}} {blocks} \end{{pmatrix}}", ATOM
            case Kron():
                return rf"{_operand(args[0])} \otimes {_operand(args[1])}", HADAMARD
            case KronLeft() | KronRight():
                side = "left" if isinstance(node, KronLeft) else "right"
                operands = ", ".join(arg[0] for arg in args)
                return rf"\operatorname{{kron}}_{{{side}}}{_group(operands)}", ATOM
            case Vec():
                return rf"\operatorname{{vec}}{_group(args[0][0])}", ATOM
            case Unvec():
                shape = rf"{dim_latex(node.rows)} \times {dim_latex(node.cols)}"
                return rf"\operatorname{{unvec}}_{{{shape}}}{_group(args[0][0])}", ATOM
            case Frechet():
                return self._frechet(node, args)
            case Output():
                return self._output(node, args)
            case Kernel():
                return self._kernel(node), ATOM
        raise NotImplementedError(type(node).__name__)

    def _factors(self, pieces: list[Piece]) -> list[str]:
        # A minus sign inside a product needs its parentheses unless it comes first.
        return [
            _group(text) if strength < TERM or (k and text.startswith("-")) else text
            for k, (text, strength) in enumerate(pieces)
        ]

    def _scaled(self, node: Expr) -> Piece:
        value, factors = build.scalar_factors(node.args[0])
        factors = [*factors, node.args[1]]
        below = [f for f in factors if build.is_reciprocal(f) and f.is_scalar]
        above = [f for f in factors if f not in below]
        matrix = [above.pop()] if above and not above[-1].is_scalar else []
        sign, value = ("-" if value < 0 else ""), abs(value)
        top = [] if value.is_Rational and value.p == 1 else [scalar_latex(_numerator(value), {})]
        top += self._factors([self.piece(f) for f in above])
        bottom = [str(value.q)] if value.is_Rational and value.q != 1 else []
        bottom += self._factors([self._base(f) for f in below])
        if bottom and not matrix and above and not below:
            # ½ ‖X‖², not ‖X‖²/2
            numerator = top.pop(0) if value.is_Rational and value.p != 1 else "1"
            front = [rf"\frac{{{numerator}}}{{{' '.join(bottom)}}}", *top]
        elif bottom:
            numerator = " ".join(top) or "1"
            if not top[1:] and above:
                numerator = self.piece(above[0])[0]
            alone = len(bottom) == len(below) == 1
            denominator = self._base(below[0])[0] if alone else " ".join(bottom)
            front = [rf"\frac{{{numerator}}}{{{denominator}}}"]
        else:
            front = top
        if matrix:
            piece = self.piece(matrix[0])
            bare = not front and piece[1] == HADAMARD
            front.append(piece[0] if bare else self._factors([("", TERM), piece])[1])
        return sign + " ".join(front), TERM

    def _base(self, reciprocal: Expr) -> Piece:
        base, p = reciprocal.args
        assert isinstance(p, Number)
        return self.piece(build.power(base, build.number(-p.value)))

    def _hadamard(self, node: Expr, args: tuple[Piece, ...]) -> str:
        result = _operand(args[0])
        for factor, piece in zip(node.args[1:], args[1:], strict=True):
            if build.is_reciprocal(factor):
                result += rf" \oslash {_operand(self._base(factor))}"
            else:
                result += rf" \circ {_operand(piece)}"
        return result

    def _map(self, node: Map, args: tuple[Piece, ...]) -> Piece:
        X = node.args[0]
        text = args[0][0]
        entrywise = "" if node.is_scalar else r"\circ "
        match node.name:
            case "pow" if node.is_scalar and build.is_reciprocal(node):
                return rf"\frac{{1}}{{{self._base(node)[0]}}}", ATOM
            case "pow":
                return _scripted(args[0], entrywise + _exponent(args[1][0]))
            case "sqrt" if isinstance(X, Inner) and X.args[0] is X.args[1]:
                return rf"\left\|{self.piece(X.args[0])[0]}\right\|", ATOM
            case "sqrt" if node.is_scalar:
                return rf"\sqrt{{{text}}}", ATOM
            case "sqrt":
                return _scripted(args[0], r"\circ 1/2")
            case "abs" if node.is_scalar:
                return rf"\left|{text}\right|", ATOM
        # exp(A) of a matrix is the matrix function; a small circle marks the entrywise one.
        mark = "" if node.cols == ONE or node.rows == ONE else r"^{\circ}"
        return f"{_function(node.name)}{mark}{_group(text)}", ATOM

    def _inner(self, A: Expr, B: Expr) -> Piece:
        if A is B:
            return rf"\left\|{self.piece(A)[0]}\right\|^{{2}}", SCRIPTED
        if isinstance(A, Ones):
            right = "" if B.cols == ONE else r" \mathbf{1}"
            inside = self._factors([("", TERM), self.piece(B)])[1]
            return rf"\mathbf{{1}}^{{\top}} {inside}{right}", TERM
        left, right = (_within(self.piece(X), TERM) for X in (A, B))
        return f"{left} : {right}", INNER

    def _frechet(self, node: Frechet, args: tuple[Piece, ...]) -> Piece:
        if node.order == 0:
            return self._function_of(node, args[0])
        power = "" if node.order == 1 else f"^{{{node.order}}}"
        function = self._function_name(node)
        directions = ", ".join(arg[0] for arg in args[1 + len(node.parameters) :])
        return rf"\mathrm{{D}}{power} {function}{_group(args[0][0])}\left[{directions}\right]", ATOM

    def _function_of(self, node: Frechet, argument: Piece) -> Piece:
        g = node.g
        if g.is_Pow and g.base == scalar.X:
            return _scripted(argument, _exponent(scalar_latex(g.exp, self._letters(node))))
        return f"{self._function_name(node)}{_group(argument[0])}", ATOM

    def _function_name(self, node: Frechet) -> str:
        name = scalar.name_of(node.g)
        if name is not None and name not in ("sqrt", "abs"):
            return _function(name)
        body = scalar_latex(node.g, {scalar.X: "x", **self._letters(node)})
        return _group(rf"x \mapsto {body}")

    def _letters(self, node: Frechet) -> dict[sp.Symbol, str]:
        pieces = (self.piece(p) for p in node.parameters)
        return {scalar.parameter(k): _within(p, ATOM) for k, p in enumerate(pieces)}

    def _output(self, node: Output, args: tuple[Piece, ...]) -> Piece:
        if node.rule == "pinv":
            return _scripted(args[0], "+")
        if node.rule == "projector":
            return rf"\Pi_{{{args[0][0]}}}", ATOM
        call = f"{_function(node.rule)}{_group(', '.join(arg[0] for arg in args))}"
        return (call, ATOM) if node.data[-1] == 1 else (f"{call}_{{{letter(node.name)}}}", ATOM)

    def _kernel(self, node: Kernel) -> str:
        # Where no name was given the entry itself stands between brackets, indexed i, j.
        letters = {I: "i", J: "j"}
        for k, operand in enumerate(node.args):
            front = self.piece(operand)[0]
            if self.piece(operand)[1] != LETTER:
                front = _group(front)
            if operand.is_scalar:
                letters[row(k)] = front
            letters.setdefault(row(k), f"{front}_{{i}}")
            letters[col(k)] = f"{front}_{{j}}"
            letters[both(k)] = f"{front}_{{ij}}"
        return rf"\left[{scalar_latex(node.entry, letters)}\right]_{{ij}}"


def _exponent(text: str) -> str:
    fraction = re.fullmatch(r"(?:(-) ?)?\\frac\{(\d+)\}\{(\d+)\}", text)
    return f"{fraction[1] or ''}{fraction[2]}/{fraction[3]}" if fraction else text


def _numerator(value: sp.Expr) -> sp.Expr:
    return sp.Integer(value.p) if value.is_Rational else value


def _named(name: str) -> Piece:
    text = letter(name)
    return text, ATOM if name.startswith("d(") or "_" in text else LETTER
