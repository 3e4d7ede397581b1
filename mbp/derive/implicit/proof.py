"""What a solved set of outputs reports: conditions, gauges and the lines of the proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.derive.implicit.frames import Columns, FrameError, Hidden, Label, Mark, Null, transposed
from mbp.derive.implicit.matrix_form import MatrixForm
from mbp.derive.implicit.pairs import ACROSS, EQUAL, Pair, Place, entry_symbol, index_symbol
from mbp.derive.implicit.polynomial import (
    Polynomial,
    add,
    matrix,
    scalar_expr,
    scaled,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Variation


@dataclass(frozen=True)
class Equation:
    """An undifferentiated equation p = 0, left = right, with what states it.

    Of a `diagonal` equation only the diagonal of p vanishes.
    """

    p: Polynomial
    left: Expr
    right: Expr
    source: str
    diagonal: bool = False

    @property
    def rows(self) -> Dim:
        """The equation's rows."""
        return self.left.rows

    @property
    def cols(self) -> Dim:
        """The equation's columns."""
        return self.left.cols


@dataclass(frozen=True)
class Condition:
    """What must hold for the variation to exist: `text` in the vocabulary of conditions.

    `detail` is the denominator or reason, `when` restricts it ("m > n"), or is empty.
    """

    text: str
    detail: str
    when: str = ""


@dataclass(frozen=True)
class Gauge:
    """A part of an output's variation that the equations leave free, and how it is fixed."""

    output: str
    part: str
    fixed: str

    def __str__(self) -> str:
        return f"{self.output}: {self.part} is free; {self.fixed}"


@dataclass(frozen=True)
class Step:
    """A line of the proof: an equation between expressions or a text, and what justifies it."""

    by: str
    note: str
    lhs: Expr | None = None
    rhs: Expr | None = None


def opening(equations: list[Equation], outputs: tuple[Expr, ...]) -> Iterator[Step]:
    """The equations, and their variations with what is known on the left."""
    for e in equations:
        yield Step(e.source, "", e.left, e.right)
    for e in equations:
        known, unknown = varied_sides(e.p, outputs)
        sides = (matrix(p, e.rows, e.cols) for p in (known, unknown))
        yield Step("variation", "", *(build.diagpart(M) if e.diagonal else M for M in sides))


def varied_sides(p: Polynomial, outputs: tuple[Expr, ...]) -> tuple[Polynomial, Polynomial]:
    """The varied equation p = 0 as known = unknown, signs turned so that most are positive."""
    varied = variation(p, varies)
    unknown = {
        w: c for w, c in varied.items()
        if (k := varied_factor(w)) is not None and w[k].letter in outputs
    }
    sign = sp.Integer(-1 if sum(c.could_extract_minus_sign() for c in unknown.values()) * 2
                      > len(unknown) else 1)
    return scaled(sign, add(unknown, scaled(sp.Integer(-1), varied))), scaled(sign, unknown)


@dataclass(frozen=True)
class Report:
    """The proof of one set of outputs that frames have solved."""

    form: MatrixForm
    equations: list[Equation]
    outputs: tuple[Expr, ...]
    variations: dict[Expr, Expr]

    # --- conditions -------------------------------------------------------------------------

    def conditions(self) -> Iterator[Condition]:
        """The conditions under which the variations hold."""
        frames = self.form.frames
        for text in frames.conditions:
            yield Condition(text, "its inverse occurs")
        for letter in frames.setting.constant_rank:
            if letter in frames.cores:
                yield Condition(f"rank({letter}) constant", "the null space keeps its dimension")
        for pair in self.form.pairs:
            null = next((label for label in (pair.row, pair.col) if label.null), None)
            for line in pair.solution.values():
                for k in line.values():
                    for factor, _ in sp.factor_list(sp.fraction(sp.cancel(k))[1])[1]:
                        if not self._never_zero(factor):
                            when = "" if null is None else _larger(null.size)
                            yield self._condition(factor, when)

    def _condition(self, factor: sp.Expr, when: str) -> Condition:
        spectra = [
            s for s in self.form.frames.spectra
            if factor.free_symbols & {index_symbol(s, "i"), index_symbol(s, "j")}
        ]
        shown = self.form.systems.shown(factor)
        detail = f"{shown} != 0"
        for s in spectra:
            vector = self.form.frames.spectra[s]
            if str(vector) != f"diag({s.name.upper()})":
                detail += f", {s.name} = {vector}"
        if len(spectra) == 1:
            i, j = (index_symbol(spectra[0], index) for index in "ij")
            if 0 in (sp.expand(factor - i + j), sp.expand(factor + i - j)):
                return Condition(f"distinct({spectra[0].name})", detail, when)
            if factor in (i, j):
                return Condition(f"nonzero({spectra[0].name})", detail, when)
        return Condition(f"nonzero({shown})", detail, when)

    def _never_zero(self, factor: sp.Expr) -> bool:
        frames = self.form.frames
        ranked, positive, nonnegative = (
            {index_symbol(s, i) for s in some for i in "ij"}
            for some in (frames.ranked, frames.positive, frames.nonnegative | frames.positive)
        )
        terms = sp.Add.make_args(sp.expand(factor))
        same_sign = all(t.as_coeff_Mul()[0] > 0 for t in terms)
        # Of distinct values that are not negative two never sum to zero.
        pool = positive if len(terms) == 1 else nonnegative
        return factor in ranked or (same_sign and factor.free_symbols <= pool)

    # --- gauges -----------------------------------------------------------------------------

    def gauges(self) -> Iterator[Gauge]:
        """The freedoms that were fixed, one for each block of an output."""
        for pair, place in dict.fromkeys((p, x) for p in self.form.pairs for x in p.free):
            y = place.letter
            left = readable(self.form.frames.dual(y, 0, pair.row), transpose=True)
            right = readable(self.form.frames.dual(y, 1, pair.col))
            part = " ".join(name for name in (left, f"d{y}", right) if name)
            if pair.case == ACROSS:
                yield Gauge(str(y), part, "it is set to zero")
            else:
                yield Gauge(str(y), f"the antisymmetric part of {part}", "it is set to zero")

    # --- proof ------------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """The proof, from the defining equations to the variations."""
        yield from opening(self.equations, self.outputs)
        for y in self.outputs:
            yield Step("frames", self._frame(y))
        for number, e in enumerate(self.equations):
            yield from self._transformed(number, e)
        for pair in self.form.pairs:
            if pair.equations:
                yield Step("entries", f"{self._where(pair)}: {self._system(pair)}")
                yield Step("solution", f"{self._where(pair)}: {self._solved(pair)}")
        for name, kernel in self.form.kernels.items():
            yield Step("kernel", name, rhs=kernel)
        for y, dy in self.variations.items():
            yield Step("back in matrix form", "", Variation(y), dy)

    def _frame(self, y: Expr) -> str:
        frames = self.form.frames
        sides = []
        for which in (0, 1):
            columns = [
                readable(frames.basis(y, which, label)) or "I" for label in frames.labels(y, which)
            ]
            joined = columns[0] if len(columns) == 1 else f"({' | '.join(columns)})"
            sides.append("" if joined == "I" else joined)
        right = f"{sides[1]}ᵀ" if sides[1] else ""
        text = " ".join(part for part in (sides[0], f"δ{y}", right) if part)
        null = " with N completing the columns before it" if "N" in text.split("|")[-1] else ""
        return f"d{y} = {text}{null}"

    def _transformed(self, number: int, e: Equation) -> Iterator[Step]:
        """The varied equation in frames, for each pair of labels of its sides."""
        frames = self.form.frames
        known, unknown = varied_sides(e.p, self.outputs)
        own_transpose = e.p in (transpose(e.p), scaled(sp.Integer(-1), transpose(e.p)))
        for k, row in enumerate(frames.labels(number, 0)):
            for col in frames.labels(number, 1)[k if own_transpose else 0 :]:
                left = self._projection(number, 0, row)
                right = transposed(self._projection(number, 1, col))
                if not left and not right:
                    continue
                kept = [self.form.systems.within(p, row, col) for p in (known, unknown)]
                try:
                    sides = [self._between(left, p, right) for p in kept]
                except FrameError:
                    continue
                if sides[1] is not None:
                    zero = build.zeros(*sides[1].shape)
                    yield Step("multiplied by the frames", "", sides[0] or zero, sides[1])

    def _projection(self, number: int, which: int, label: Label) -> Columns:
        frames = self.form.frames
        dual = transposed(frames.dual(number, which, label))
        whole = all(
            not isinstance(m.atom, Null) and not (isinstance(m.atom, Hidden) and not m.atom.whole)
            for m in dual
        )
        return dual if whole else (*frames.basis(number, which, label), *dual)

    def _between(self, left: Columns, p: Polynomial, right: Columns) -> Expr | None:
        terms = []
        for word, c in p.items():
            marks = tuple(
                Mark(Variation(f.letter) if f.varied else f.letter, f.transposed) for f in word
            )
            product = self.form.product((*left, *marks, *right))
            terms.append(build.scale(scalar_expr(c), product))
        return build.add(*terms) if terms else None

    def _where(self, pair: Pair) -> str:
        if pair.case == ACROSS:
            return f"i in {self._label(pair.row)}, j in {self._label(pair.col)}"
        null = " in the null space" if pair.row.null else ""
        return f"i = j{null}" if pair.case == EQUAL else f"i > j{null}"

    def _label(self, label: Label) -> str:
        return "the null space" if label.null else "the range"

    def _system(self, pair: Pair) -> str:
        texts = []
        for line in pair.equations:
            known = {p: -k for p, k in line.items() if p not in pair.solution}
            unknown = {p: k for p, k in line.items() if p in pair.solution}
            if all(k.could_extract_minus_sign() for k in unknown.values()):
                known, unknown = ({p: -k for p, k in x.items()} for x in (known, unknown))
            texts.append(f"{self._form(known)} = {self._form(unknown)}")
        return "; ".join(texts)

    def _solved(self, pair: Pair) -> str:
        return "; ".join(
            f"{entry_symbol(p)} = {self._form(line)}" for p, line in pair.solution.items()
        )

    def _form(self, line: dict[Place, sp.Expr]) -> str:
        total = sp.Add(*(self.form.systems.shown(k) * entry_symbol(p) for p, k in line.items()))
        return str(sp.factor(total))


@dataclass(frozen=True)
class OperatorReport:
    """The proof of outputs that are the solution operator of their stacked equations."""

    coefficient: Expr
    equations: list[Equation]
    outputs: tuple[Expr, ...]
    variations: dict[Expr, Expr]

    def conditions(self) -> Iterator[Condition]:
        """The system must be regular."""
        names = ", ".join(f"d{y}" for y in self.outputs)
        known = "invertible" if self.coefficient.is_square else "full_column_rank"
        yield Condition(f"{self.coefficient} {known}", f"the coefficient of vec({names})")

    def gauges(self) -> Iterator[Gauge]:
        """None: what the equations do not determine is refused."""
        yield from ()

    def steps(self) -> Iterator[Step]:
        """The equations, their variation, the stacked system solved."""
        yield from opening(self.equations, self.outputs)
        yield Step("stacked", "vec(L dY R) = kron(R.T, L) vec(dY)", rhs=self.coefficient)
        for y, dy in self.variations.items():
            yield Step("back in matrix form", "", Variation(y), dy)


def readable(columns: Columns, transpose: bool = False) -> str:
    """Columns of a frame as a person writes them; empty for the identity."""
    names = []
    for mark in transposed(columns) if transpose else columns:
        atom = mark.atom
        name = "N" if isinstance(atom, Null) else str(
            atom.whole or f"range({atom.letter})" if isinstance(atom, Hidden) else atom
        )
        names.append(f"{name}ᵀ" if mark.transposed else name)
    return " ".join(names)


def _larger(size: sp.Expr) -> str:
    above = [t for t in sp.Add.make_args(size) if not t.could_extract_minus_sign()]
    return f"{sp.Add(*above)} > {sp.Add(*above) - size}"
