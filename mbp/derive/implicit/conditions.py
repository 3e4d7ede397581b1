"""Where a solution holds and what it leaves free: the denominators it divides by, the gauges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.derive.derivation import Words
from mbp.derive.implicit.frames import Columns, Frames, Hidden, Null, transposed
from mbp.derive.implicit.matrix_form import MatrixForm
from mbp.derive.implicit.pairs import ACROSS, index_symbol
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr


@dataclass(frozen=True)
class Condition:
    """What must hold for the variation to exist: `text` in the vocabulary of conditions.

    `detail` is the denominator or reason, `larger` holds dimensions of which the first must
    exceed the second for it to matter. A condition on spectra gives their vectors by letter, any
    other the matrix that it is said `of`.
    """

    text: str
    detail: str
    larger: tuple[Dim, Dim] | None = None
    spectra: tuple[tuple[str, Expr], ...] = ()
    of: Expr | None = None

    @property
    def when(self) -> str:
        """The restriction, such as "m > n", or nothing."""
        return "" if self.larger is None else f"{self.larger[0]} > {self.larger[1]}"


@dataclass(frozen=True)
class Gauge:
    """A part of an output's variation that the equations leave free, and how it is fixed."""

    output: str
    part: str
    fixed: str

    def __str__(self) -> str:
        return f"{self.output}: {self.part} is free; {self.fixed}"


def conditions(form: MatrixForm) -> Iterator[Condition]:
    """The conditions under which the variations of `form` hold."""
    frames = form.frames
    for X, needed in frames.conditions:
        text = f"{needed}({X})" if needed == "nonzero" else f"{X} {needed}"
        yield Condition(text, "its inverse occurs", of=X)
    for letter in frames.setting.constant_rank:
        if letter in frames.cores:
            reason = "the null space keeps its dimension"
            yield Condition(f"rank({letter}) constant", reason, of=letter)
    denominators = [
        (factor, null and _larger(null.size))
        for pair in form.pairs
        for null in [next((label for label in (pair.row, pair.col) if label.null), None)]
        for line in pair.solution.values()
        for k in line.values()
        for factor, _ in sp.factor_list(sp.fraction(sp.cancel(k))[1])[1]
    ]
    always = {factor for factor, larger in denominators if larger is None}
    for factor, larger in denominators:
        if not _never_zero(form.frames, factor, always):
            yield _condition(form, factor, larger)


def _condition(form: MatrixForm, factor: sp.Expr, larger: tuple[Dim, Dim] | None) -> Condition:
    spectra = [
        s for s in form.frames.spectra
        if factor.free_symbols & {index_symbol(s, "i"), index_symbol(s, "j")}
    ]
    shown = form.systems.shown(factor)
    shown = shown.xreplace({s: sp.Symbol(s.name) for s in shown.free_symbols})
    detail = f"{shown} != 0"
    vectors = tuple((s.name, form.frames.spectra[s]) for s in spectra)
    for name, vector in vectors:
        if str(vector) != f"diag({name.upper()})":
            detail += f", {name} = {vector}"
    inside = str(shown)
    word = "nonzero"
    if len(spectra) == 1:
        i, j = (index_symbol(spectra[0], index) for index in "ij")
        if 0 in (sp.expand(factor - i + j), sp.expand(factor + i - j)):
            word, inside = "distinct", spectra[0].name
        elif factor in (i, j):
            inside = spectra[0].name
    return Condition(f"{word}({inside})", detail, larger, vectors)

def _never_zero(frames: Frames, factor: sp.Expr, others: set[sp.Expr]) -> bool:
    """Whether what is declared, or that `others` do not vanish, keeps the factor from zero."""
    ranked, positive, nonnegative = (
        {index_symbol(s, i) for s in some for i in "ij"}
        for some in (frames.ranked, frames.positive, frames.nonnegative | frames.positive)
    )
    scalars = {c for c in factor.free_symbols if c.is_positive}
    if factor in ranked:
        return True
    terms = sp.Add.make_args(sp.expand(factor))
    if any(t.as_coeff_Mul()[0] < 0 or t.free_symbols - nonnegative - scalars for t in terms):
        return False
    if any(t.free_symbols <= positive | scalars for t in terms):
        return True
    # Of values that are not negative two never sum to zero if they are distinct or nonzero.
    inside = factor.free_symbols - scalars
    return any(
        inside == {i, j} and (not others.isdisjoint({i - j, j - i}) or {i} & others)
        for s in frames.spectra
        for i, j in [(index_symbol(s, "i"), index_symbol(s, "j"))]
    )


def gauges(form: MatrixForm) -> Iterator[Gauge]:
    """The freedoms that were fixed, one for each block of an output."""
    for pair, place in dict.fromkeys((p, x) for p in form.pairs for x in p.free):
        y = place.letter
        left = readable(transposed(form.frames.dual(y, 0, pair.row)))
        right = readable(form.frames.dual(y, 1, pair.col))
        sides = ("".join(map(str, words)) for words in (left, (f"d{y}",), right))
        part = " ".join(side for side in sides if side)
        if pair.case == ACROSS:
            yield Gauge(str(y), part, "it is set to zero")
        else:
            yield Gauge(str(y), f"the antisymmetric part of {part}", "it is set to zero")


def readable(columns: Columns) -> Words:
    """Columns of a frame as a person writes them; nothing for the identity."""
    words: list[str | Expr] = []
    for mark in columns:
        atom = mark.atom
        if isinstance(atom, Null):
            words += [" ", "Nᵀ" if mark.transposed else "N"]
        elif isinstance(atom, Hidden) and atom.whole is None:
            words += [" ", "range(", atom.of, ")ᵀ" if mark.transposed else ")"]
        else:
            X = atom.whole if isinstance(atom, Hidden) else atom
            assert X is not None
            words += [" ", build.transpose(X) if mark.transposed else X]
    return tuple(words[1:])


def _larger(size: Dim) -> tuple[Dim, Dim]:
    above = sp.Add(*(t for t in sp.Add.make_args(size) if not t.could_extract_minus_sign()))
    return above, above - size
