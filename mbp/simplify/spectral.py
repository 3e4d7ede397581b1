"""Collapses expressions in the factors of a decomposition to functions of the decomposed matrix.

In the frame W of A = W [λ] Wᵀ, diagonal factors, elementwise kernels and diagonals act entry by
entry on Wᵀ X W. All terms over one X are one scalar kernel k(λ_i, λ_j); when it is a divided
difference, (g(λ_i) − g(λ_j))/(λ_i − λ_j) and g′(λ_i) on the diagonal, the sum is g's derivative
at A along X (Daleckii and Krein), in which the pole at λ_i = λ_j is gone. What A and its frame
are follows from the defining equations of the decomposition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    Expr,
    Frechet,
    Hadamard,
    Kernel,
    LogDet,
    Map,
    Named,
    Number,
    Ones,
    Output,
    Product,
    Scale,
    Sum,
    Transpose,
    Variation,
    col,
    row,
    topological,
)
from mbp.invariants.infer import is_
from mbp.simplify import entrywise, products
from mbp.simplify.node_forms import matrix_function
from mbp.simplify.transposition import flip, flip_word, transpose
from mbp.simplify.words import (
    Exponent,
    Form,
    Key,
    Powers,
    Word,
    add,
    form,
    of_letter,
    of_word,
    powered,
)

# --- frames ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A = W diag(eigenvalue of spectrum) Wᵀ with W orthogonal.

    `others` are the letters that are W up to a factor: O diag(scale) = M W, as (O, M, scale).
    """

    W: Expr
    A: Form
    spectrum: Expr
    symbol: sp.Symbol
    eigenvalue: sp.Expr
    others: tuple[tuple[Expr, Word, sp.Expr], ...] = ()

    def at(self, other: bool) -> sp.Symbol:
        """The symbol of λ_i's or, with `other`, of λ_j's spectrum."""
        return sp.Symbol("other", **self.symbol.assumptions0) if other else self.symbol


@lru_cache(maxsize=1 << 10)
def frames(rule: str, args: tuple[Expr, ...]) -> tuple[Frame, ...]:
    """The complete orthogonal frames that the outputs of a decomposition of `args` give."""
    from mbp.rulebook import RULEBOOK

    definition = RULEBOOK.decompositions[rule]
    outputs = RULEBOOK.call(rule, *args)
    replacement: dict[Expr, Expr] = dict(
        zip((*definition.inputs, *definition.outputs), (*args, *outputs), strict=True)
    )
    dims: dict[sp.Symbol, Dim] = {}
    for letter, actual in replacement.items():
        dims.update((d, n) for d, n in zip(letter.shape, actual.shape, strict=True) if d.is_Symbol)
    found: list[Frame] = []
    for left, right in definition.equations:
        sides = [form(build.instantiate(side, replacement, dims)) for side in (left, right)]
        if _holds(sides[0], outputs):
            sides.reverse()
        if not _holds(sides[0], outputs):
            found += _frames_of(*sides)
    return tuple(found)


def _holds(side: Form, outputs: tuple[Expr, ...]) -> bool:
    return not set(outputs).isdisjoint(topological(side.expression()))


def _frames_of(M: Form, R: Form) -> Iterator[Frame]:
    """The frames of M = R: from R itself, RᵀR or R Rᵀ, whichever reads W diag(v) Wᵀ."""
    direct = _frame(M, R, ()) if M.rows == M.cols else None
    if direct is not None:
        yield direct
        return
    for turned in (False, True):
        A, B = (transpose(M), transpose(R)) if turned else (M, R)
        square = _frame(
            products.multiply(transpose(A), A), products.multiply(transpose(B), B), _pieces(A, B)
        )
        if square is not None:
            yield square


def _pieces(M: Form, R: Form) -> tuple[Expr, Word, Word, Expr] | None:
    """(O, diag's column word, M's word, W) when M = R = O diag(v) Wᵀ."""
    match R.single, M.single:
        case (c, (), (O, Diag() as D, W)), (x, (), word) if c == 1 and x == 1:
            return O, entrywise.column_word(D), word, flip(W)[1]
    return None


def _frame(A: Form, R: Form, pieces: object) -> Frame | None:
    match R.single:
        case (c, (), (W, Diag(args=(v,)), turned)) if c == 1 and flip(turned) == (1, W):
            pass
        case _:
            return None
    if not is_(W, "orthogonal"):
        return None
    bases = {node for node in topological(v)
             if isinstance(node, DiagVec) and is_(node.args[0], "diagonal")}  # fmt: skip
    if len(bases) != 1:
        return None
    spectrum = bases.pop()
    nonnegative = is_(spectrum.args[0], "nonnegative")
    symbol = sp.Symbol("s", real=True, nonnegative=nonnegative or None)
    reader = _Scalars()
    eigenvalue = reader.column(v, spectrum, symbol)
    if eigenvalue is None or (eigenvalue != symbol and not symbol.is_nonnegative):
        return None
    others: tuple[tuple[Expr, Word, sp.Expr], ...] = ()
    if isinstance(pieces, tuple) and pieces and pieces[3] is W:
        O, column, word, _ = pieces
        scale = reader.column(build.matmul(*column), spectrum, symbol)
        if scale is not None and O is not W:
            others = ((O, word, scale),)
    return Frame(W, A, spectrum, symbol, eigenvalue, others)


# --- scalars --------------------------------------------------------------------------------------


@dataclass
class _Scalars:
    """Reads columns that are functions of a spectrum as SymPy expressions, and scalars back."""

    known: dict[sp.Symbol, Expr] = field(default_factory=dict)

    def symbol(self, e: Expr) -> sp.Expr:
        """The number or symbol that stands for a scalar."""
        if isinstance(e, Number):
            return e.value
        for symbol, other in self.known.items():
            if other is e:
                return symbol
        symbol = sp.Symbol(f"p{len(self.known)}", real=True, positive=is_(e, "positive") or None)
        self.known[symbol] = e
        return symbol

    def powers(self, powers: Powers) -> sp.Expr:
        """A product of scalar powers."""
        product = sp.Integer(1)
        for base, p in powers:
            q = self.symbol(p) if isinstance(p, Expr) else sp.Rational(p.numerator, p.denominator)
            product *= self.symbol(base) ** q
        return product

    def column(self, v: Expr, spectrum: Expr, s: sp.Symbol) -> sp.Expr | None:
        """v as a function of the spectrum, entry by entry; None when it is something else."""
        if v is spectrum:
            return s
        match v:
            case Ones():
                return sp.Integer(1)
            case Scale(args=(c, X)):
                inside = self.column(X, spectrum, s)
                front = self.scalar(c)
                return None if inside is None else front * inside
            case Sum() | Hadamard():
                parts = [self.column(arg, spectrum, s) for arg in v.args]
                known = [part for part in parts if part is not None]
                if len(known) < len(parts):
                    return None
                return sp.Add(*known) if isinstance(v, Sum) else sp.Mul(*known)
            case Map(data=("pow",), args=(X, p)):
                inside = self.column(X, spectrum, s)
                return None if inside is None else inside ** self.scalar(p)
            case Map(data=(name,), args=(X,)):
                inside = self.column(X, spectrum, s)
                return None if inside is None else scalar.body(name).subs(scalar.X, inside)
            case DiagVec(args=(Frechet() as function,)) if function.order == 0:
                D = entrywise.diagonal_column(form(function.args[0])).expression()
                inside = self.column(D, spectrum, s)
                values = {
                    scalar.parameter(k): self.symbol(c) for k, c in enumerate(function.parameters)
                }
                return (
                    None
                    if inside is None
                    else function.g.subs(values).subs(scalar.X, inside).doit()
                )
            case Product(args=(Diag(args=(u,)), *rest)):
                left = self.column(u, spectrum, s)
                right = self.column(build.matmul(*rest), spectrum, s)
                return None if left is None or right is None else left * right
        return None

    def scalar(self, c: Expr) -> sp.Expr:
        """A scalar expression with its products taken apart."""
        total = form(c)
        return sp.Add(*(
            sp.Rational(x.numerator, x.denominator) * self.powers(powers)
            for (powers, _), x in total.terms.items()
        ))  # fmt: skip

    def expression(self, value: sp.Expr) -> Expr:
        """A scalar of the known symbols as an expression."""
        arguments = {symbol.name: self.known[symbol] for symbol in value.free_symbols}
        return build.map_scalar(value, **arguments)


# --- reading words --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """A term as prefix · W (k ∘ Wᵀ X W) Wᵀ · suffix; X = None for W diag(k) Wᵀ."""

    prefix: Word
    suffix: Word
    X: Word | None
    off: sp.Expr
    diagonal: sp.Expr


class _Reader:
    """Reads words in one frame."""

    def __init__(self, frame: Frame, scalars: _Scalars) -> None:
        self.frame = frame
        self.scalars = scalars
        self.i = frame.at(False)
        self.j = frame.at(True)

    def read(self, word: Word) -> Iterator[_Reading]:
        """All ways to read a word, the longest segments first."""
        n = len(word)
        for size in range(n, 1, -1):
            for start in range(n - size + 1):
                stop = start + size
                left, right = (
                    self._frame_letter(word[start]),
                    self._frame_letter(flip(word[stop - 1])[1]),
                )
                if left is None or right is None:
                    continue
                core = self._core(word[start + 1 : stop - 1])
                if core is None:
                    continue
                X, off, diagonal = core
                (before, a), (after, b) = left, right
                yield _Reading(
                    (*word[:start], *before),
                    (*flip_word(after)[1], *word[stop:]),
                    X,
                    off / (a * b.subs(self.i, self.j)),
                    diagonal / (a * b),
                )

    def _frame_letter(self, letter: Expr) -> tuple[Word, sp.Expr] | None:
        """(M, scale) with letter diag(scale) = M W."""
        if letter is self.frame.W:
            return (), sp.Integer(1)
        for O, M, scale in self.frame.others:
            if letter is O:
                return M, scale
        return None

    def _core(self, word: Word) -> tuple[Word | None, sp.Expr, sp.Expr] | None:
        start, stop = 0, len(word)
        while start < stop and isinstance(word[start], Diag):
            start += 1
        while stop > start and isinstance(word[stop - 1], Diag):
            stop -= 1
        if start == stop:
            return self.diagonal(word)
        left = self._functions(word[:start])
        right = self._functions(word[stop:])
        entries = self._entries(word[start:stop])
        if left is None or right is None or entries is None:
            return None
        X, off, diagonal = entries
        return X, left * off * right.subs(self.i, self.j), left * diagonal * right

    def _functions(self, diagonals: Word) -> sp.Expr | None:
        product = sp.Integer(1)
        for D in diagonals:
            value = self.scalars.column(D.args[0], self.frame.spectrum, self.i)
            if value is None:
                return None
            product *= value
        return product

    def diagonal(self, word: Word) -> tuple[Word | None, sp.Expr, sp.Expr] | None:
        """diag(f(λ)), or diag(f(λ) ∘ diag(Wᵀ X W))."""
        value = self._functions(word)
        if value is not None:
            return None, sp.Integer(0), value
        if len(word) != 1:
            return None
        v = word[0].args[0]
        if isinstance(v, Product):
            return None
        factor = sp.Integer(1)
        inside: tuple[Word, sp.Expr] | None = None
        for base, p in entrywise.column_pairs(v):
            if isinstance(base, DiagVec) and p == 1 and inside is None:
                inside = self._conjugated(_letters(base.args[0]), on_diagonal=True)
                if inside is not None:
                    continue
            value = self.scalars.column(powered(base, p), self.frame.spectrum, self.i)
            if value is None:
                return None
            factor *= value
        if inside is None:
            return None
        X, scale = inside
        return X, sp.Integer(0), factor * scale

    def _entries(self, word: Word) -> tuple[Word, sp.Expr, sp.Expr] | None:
        """Wᵀ X W, or kernels of the spectrum times it."""
        plain = self._conjugated(word, on_diagonal=False)
        if plain is not None:
            X, scale = plain
            return X, scale, scale.subs(self.j, self.i)
        if len(word) != 1:
            return None
        sign, pairs = entrywise.pairs_of(word[0])
        off, diagonal = sp.Integer(sign), sp.Integer(sign)
        inside: tuple[Word, sp.Expr] | None = None
        for base, p in pairs:
            if p != 1:
                return None
            if isinstance(base, Kernel):
                kernel = self._kernel(base)
                if kernel is None:
                    return None
                off *= kernel[0]
                diagonal *= kernel[1]
            elif inside is None:
                inside = self._conjugated(_letters(base), on_diagonal=False)
                if inside is None:
                    return None
            else:
                return None
        if inside is None:
            return None
        X, scale = inside
        return X, off * scale, diagonal * scale.subs(self.j, self.i)

    def _conjugated(self, word: Word, on_diagonal: bool) -> tuple[Word, sp.Expr] | None:
        """(X, factor) with the word equal to factor(i, j) (Wᵀ X W)_ij."""
        if len(word) < 2:
            return None
        left, right = self._frame_letter(flip(word[0])[1]), self._frame_letter(word[-1])
        if left is None or right is None:
            return None
        X = (*flip_word(left[0])[1], *word[1:-1], *right[0])
        if not X:
            return None
        at = self.i if on_diagonal else self.j
        return X, 1 / (left[1] * right[1].subs(self.i, at))

    def _kernel(self, K: Kernel) -> tuple[sp.Expr, sp.Expr] | None:
        """(entry, diagonal) of a kernel of the spectrum."""
        off: dict[sp.Symbol, sp.Expr] = {}
        on: dict[sp.Symbol, sp.Expr] = {}
        for k, operand in enumerate(K.args):
            if operand.is_scalar:
                off[row(k)] = on[row(k)] = self.scalars.symbol(operand)
            elif operand.cols == ONE:
                v = form(operand).expression()
                value = self.scalars.column(v, self.frame.spectrum, self.i)
                if value is None:
                    return None
                off[row(k)] = on[row(k)] = on[col(k)] = value
                off[col(k)] = value.subs(self.i, self.j)
            else:
                return None
        entry = K.entry.xreplace(off)
        return entry, entry.subs(self.j, self.i) if K.diagonal is None else K.diagonal.xreplace(on)


def _letters(e: Expr) -> Word:
    return e.args if isinstance(e, Product) else (e,)


# --- collapsing -----------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 12)
def collapsed(total: Form, in_frame: bool = False) -> Form:
    """The form with what its frames allow written as functions of the decomposed matrices.

    With `in_frame` the frames stay and only the kernels of each sum become one, pole-free.
    """
    total = _collapsed_inside(total, in_frame)
    for frame in _frames_in(total):
        other = _collapsed_in(frame, total, in_frame)
        if other != total:
            return other if in_frame else collapsed(other)
    return total


def _collapsed_inside(total: Form, in_frame: bool) -> Form:
    """Operands of letters and of scalars first."""
    terms = []
    for key, c in total.terms.items():
        powers, word = key
        scalars = [_collapsed_base(base, p, in_frame) for base, p in powers]
        letters = [_collapsed_letter(letter, in_frame) for letter in word]
        body = Form(total.rows, total.cols, {((), ()): c})
        if letters:
            body = products.multiply(Form(ONE, ONE, {((), ()): c}), *letters)
        terms.append(products.multiply(body, *scalars))
    return add(terms, total.rows, total.cols)


def _collapsed_base(base: Expr, p: Exponent, in_frame: bool) -> Form:
    value = None if in_frame else _spectral_scalar(base)
    if value is None:
        value = _collapsed_letter(base, in_frame)
    return entrywise.power_form(value, p)


def _collapsed_letter(letter: Expr, in_frame: bool) -> Form:
    if isinstance(letter, Diag | Hadamard | Kernel) or not _has_frames(letter):
        return of_letter(letter)  # what a frame's core is made of stays for the word's reader
    if isinstance(letter, Transpose):
        return transpose(_collapsed_letter(letter.args[0], in_frame))
    if isinstance(letter, Product | Variation | Named | Output):
        return form(letter)
    args = tuple(collapsed(form(arg), in_frame).expression() for arg in letter.args)
    return form(build.rebuild(letter, args))


@lru_cache(maxsize=1 << 14)
def _has_frames(e: Expr) -> bool:
    return any(isinstance(node, Output) and node.data[-1] > 1 for node in topological(e))


def _spectral_scalar(base: Expr) -> Form | None:
    """Σ f(λ_i) (Wᵀ X W)_ii = Tr(f(A) X), and the determinant of diag(f(λ)) that of f(A)."""
    match base:
        case Det(args=(Diag() as D,)) | LogDet(args=(Diag() as D,)):
            pass
        case Product(args=(left, right)) if _has_frames(base):
            pairs = (*entrywise.column_pairs(flip(left)[1]), *entrywise.column_pairs(right))
            column = entrywise.monomial_column(pairs, right.rows)
            if len(column.terms) != 1:
                return None
            D = Diag(column.expression())
        case _:
            return None
    for frame in _frames_in_letters(_letters_below(base)):
        scalars = _Scalars()
        found = _Reader(frame, scalars).diagonal((D,))
        if found is None:
            continue
        X, _, f = found
        value = _applied(frame, scalars, _of_eigenvalue(frame, f), None)
        if isinstance(base, Det | LogDet):
            return None if X else form(type(base)(value.expression()))
        if X is not None:
            value = products.multiply(value, of_word(X, X[0].rows, X[-1].cols))
        return products.trace(value)
    return None


def _letters_below(e: Expr) -> Iterator[Expr]:
    return (node for node in topological(e) if isinstance(node, Output))


def _frames_in(total: Form) -> Iterator[Frame]:
    letters = (letter for _, word in total.terms for letter in word)
    return _frames_in_letters(x.args[0] if isinstance(x, Transpose) else x for x in letters)


def _frames_in_letters(letters: Iterable[Expr]) -> Iterator[Frame]:
    seen: set[tuple[str, tuple[Expr, ...]]] = set()
    for W in letters:
        if isinstance(W, Output) and W.data[-1] > 1 and (W.rule, W.args) not in seen:
            seen.add((W.rule, W.args))
            yield from frames(W.rule, W.args)


def _collapsed_in(frame: Frame, total: Form, in_frame: bool) -> Form:
    """The form with every sum collapsed that is a function in this frame.

    A term may be read in several ways, the longest first; what does not collapse as a part of one
    sum may as a part of another.
    """
    scalars = _Scalars()
    reader = _Reader(frame, scalars)
    readings = {key: reader.read(key[1]) for key in total.terms}
    result = total
    while readings:
        sums: dict[_Place, dict[Key, _Reading]] = {}
        for key, ways in list(readings.items()):
            reading = next(ways, None)
            if reading is None:
                del readings[key]
            else:
                sums.setdefault(_place(reading), {})[key] = reading
        for (prefix, suffix, _), members in sums.items():
            value = _function(frame, scalars, total, members, in_frame)
            if value is None:
                continue
            for key in members:
                del readings[key]
            kept = {key: c for key, c in result.terms.items() if key not in members}
            factors = [of_word(w, w[0].rows, w[-1].cols) for w in (prefix,) if w] + [value]
            factors += [of_word(w, w[0].rows, w[-1].cols) for w in (suffix,) if w]
            rest = Form(total.rows, total.cols, kept)
            result = add((rest, products.multiply(*factors)), total.rows, total.cols)
    return result


_Place = tuple[Word, Word, frozenset[Word] | None]


def _place(reading: _Reading) -> _Place:
    """What terms of one kernel sum have in common: the surroundings, X or its transpose."""
    X = reading.X
    return reading.prefix, reading.suffix, None if X is None else frozenset((X, flip_word(X)[1]))


def _function(
    frame: Frame, scalars: _Scalars, total: Form, members: dict[Key, _Reading], in_frame: bool
) -> Form | None:
    """Σ W (k ∘ Wᵀ X W) Wᵀ as functions of A; None unless the kernels are divided differences."""
    kernels: dict[Word | None, sp.Expr] = {}
    diagonal = sp.Integer(0)
    for key, reading in members.items():
        c = total.terms[key]
        factor = sp.Rational(c.numerator, c.denominator) * scalars.powers(key[0])
        diagonal += factor * reading.diagonal
        kernels[reading.X] = kernels.get(reading.X, sp.Integer(0)) + factor * reading.off
    if None in kernels:
        return None if in_frame else _applied(frame, scalars, _of_eigenvalue(frame, diagonal), None)
    if in_frame and all(off.is_number or len(members) == 1 for off in kernels.values()):
        return None
    terms: list[Form] = []
    slopes = sp.Integer(0)
    for X, off in kernels.items():
        assert X is not None
        if off == 0 and len(kernels) > 1:
            continue  # Wᵀ X W and its transpose have one diagonal
        g = _antiderivative(frame, off)
        if g is None:
            return None
        slopes += sp.diff(g, frame.symbol) / sp.diff(frame.eigenvalue, frame.symbol)
        terms.append(_kernel_of(frame, scalars, g, X) if in_frame
                     else _applied(frame, scalars, _of_eigenvalue(frame, g), X))  # fmt: skip
    if not _is_zero(diagonal - slopes):
        return None
    return add(terms, frame.A.rows, frame.A.rows)


def _kernel_of(frame: Frame, scalars: _Scalars, g: sp.Expr, X: Word) -> Form:
    """W (k ∘ Wᵀ X W) Wᵀ with the divided difference k of g in the spectrum, g′ on the diagonal."""
    i, j = frame.at(False), frame.at(True)
    c, g = g.as_independent(i, as_Add=False)
    names = sorted(g.free_symbols - {i}, key=lambda symbol: symbol.name)
    at = {i: row(0), j: col(0)} | {symbol: row(k + 1) for k, symbol in enumerate(names)}
    eigenvalue = frame.eigenvalue
    entry = (g - g.subs(i, j)) / (eigenvalue - eigenvalue.subs(i, j))
    diagonal = sp.diff(g, i) / sp.diff(eigenvalue, i)
    operands = (frame.spectrum, *(scalars.known[symbol] for symbol in names))
    n = frame.A.rows
    K = build.kernel(entry.xreplace(at), diagonal.xreplace(at), operands, n, n)
    W = frame.W
    core = build.hadamard(K, build.matmul(build.transpose(W), *X, W))
    value = form(build.matmul(W, core, build.transpose(W)))
    return products.multiply(form(scalars.expression(c)), value)


def _antiderivative(frame: Frame, off: sp.Expr) -> sp.Expr | None:
    """g with off = (g(s_i) − g(s_j))/(λ_i − λ_j)."""
    i, j = frame.at(False), frame.at(True)
    difference = frame.eigenvalue - frame.eigenvalue.subs(i, j)
    terms = [sp.cancel(term * difference) for term in sp.Add.make_args(off)]
    mixed = sp.Add(*(term for term in terms if term.has(i) and term.has(j)))
    plain = sp.Add(*(term for term in terms if not (term.has(i) and term.has(j))))
    h = plain + sp.expand(sp.cancel(sp.together(mixed)))
    g = h.as_independent(j, as_Add=True)[0]
    return g if _is_zero(h - g + g.subs(i, j)) else None


@lru_cache(maxsize=1 << 12)
def _is_zero(e: sp.Expr) -> bool:
    if e == 0:
        return True
    if sp.expand(e) == 0 or sp.cancel(sp.together(e)) == 0:
        return True
    return bool(sp.simplify(e) == 0)


def _of_eigenvalue(frame: Frame, g: sp.Expr) -> sp.Expr:
    """A function of the spectrum as a function of the eigenvalue x."""
    if frame.eigenvalue == frame.symbol:
        return g.subs(frame.symbol, scalar.X)
    x = sp.Symbol("x", positive=True)
    root = next(s for s in sp.solve(frame.eigenvalue - x, frame.symbol) if s.is_nonnegative)
    return sp.expand_log(sp.powsimp(g.subs(frame.symbol, root))).subs(x, scalar.X)


def _applied(frame: Frame, scalars: _Scalars, g: sp.Expr, X: Word | None) -> Form:
    """g(A), or g's derivative at A along X; A takes up a shift x + c of g's argument."""
    c, g = (g, sp.Integer(1)) if not g.has(scalar.X) else g.as_independent(scalar.X, as_Add=False)
    n = frame.A.rows
    A = frame.A
    shift = _shift(g)
    if shift is not None:
        g = g.subs(scalar.X, scalar.X - shift)
        A = add((A, products.multiply(form(scalars.expression(shift)), form(build.eye(n)))), n, n)
    names = sorted(g.free_symbols - {scalar.X}, key=lambda symbol: symbol.name)
    parameters = tuple(scalars.known[symbol] for symbol in names)
    g = g.subs({symbol: scalar.parameter(k) for k, symbol in enumerate(names)}, simultaneous=True)
    front = form(scalars.expression(c))
    if X is None:
        return products.multiply(front, matrix_function(g, A, parameters))
    direction = build.matmul(*X)
    return products.multiply(front, form(build.frechet(g, A.expression(), parameters, direction)))


def _shift(g: sp.Expr) -> sp.Expr | None:
    """c when g is a function of x + c."""
    x = scalar.X
    shifts = {sum_ - x for sum_ in g.atoms(sp.Add)
              if sum_.has(x) and not (sum_ - x).has(x)}  # fmt: skip
    if len(shifts) != 1:
        return None
    shift = shifts.pop()
    y = sp.Dummy("y", real=True)
    return shift if not g.subs(x + shift, y).has(x) else None
