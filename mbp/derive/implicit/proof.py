"""What a solved set of outputs reports: conditions, gauges and the lines of the proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp
from sympy.polys.matrices import DomainMatrix

from mbp.derive.derivation import Entries, Step, Words
from mbp.derive.implicit import BACK
from mbp.derive.implicit.frames import Columns, FrameError, Hidden, Label, Mark, Null, transposed
from mbp.derive.implicit.matrix_form import MatrixForm
from mbp.derive.implicit.pairs import (
    ACROSS,
    EQUAL,
    Line,
    Pair,
    Place,
    entry_symbol,
    index_symbol,
)
from mbp.derive.implicit.polynomial import (
    Polynomial,
    add,
    matrix,
    resolved,
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

Scalars = tuple[tuple[sp.Expr, sp.Expr], ...]


_LONGEST = 72
"""A condition on a matrix of more characters than this is said in words."""


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


def opening(equations: list[Equation], outputs: tuple[Expr, ...]) -> Iterator[Step]:
    """The equations, and their variations with what is known on the left."""
    for e in equations:
        yield Step(e.left, e.right, (e.source,))
    for e in equations:
        known, unknown = varied_sides(e.p, outputs)
        sides = (matrix(p, e.rows, e.cols) for p in (known, unknown))
        left, right = (build.diagpart(M) if e.diagonal else M for M in sides)
        yield Step(left, right, ("variation",))


def varied_sides(p: Polynomial, outputs: tuple[Expr, ...]) -> tuple[Polynomial, Polynomial]:
    """The varied equation p = 0 as known = unknown, signs turned so that most are positive."""
    varied = resolved(variation(p, varies), frozenset(outputs))
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
        for X, needed in frames.conditions:
            text = f"{needed}({X})" if needed == "nonzero" else f"{X} {needed}"
            yield Condition(text, "its inverse occurs", of=X)
        for letter in frames.setting.constant_rank:
            if letter in frames.cores:
                reason = "the null space keeps its dimension"
                yield Condition(f"rank({letter}) constant", reason, of=letter)
        denominators = [
            (factor, null and _larger(null.size))
            for pair in self.form.pairs
            for null in [next((label for label in (pair.row, pair.col) if label.null), None)]
            for line in pair.solution.values()
            for k in line.values()
            for factor, _ in sp.factor_list(sp.fraction(sp.cancel(k))[1])[1]
        ]
        always = {factor for factor, larger in denominators if larger is None}
        for factor, larger in denominators:
            if not self._never_zero(factor, always):
                yield self._condition(factor, larger)

    def _condition(self, factor: sp.Expr, larger: tuple[Dim, Dim] | None) -> Condition:
        spectra = [
            s for s in self.form.frames.spectra
            if factor.free_symbols & {index_symbol(s, "i"), index_symbol(s, "j")}
        ]
        shown = self.form.systems.shown(factor)
        shown = shown.xreplace({s: sp.Symbol(s.name) for s in shown.free_symbols})
        detail = f"{shown} != 0"
        vectors = tuple((s.name, self.form.frames.spectra[s]) for s in spectra)
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

    def _never_zero(self, factor: sp.Expr, others: set[sp.Expr]) -> bool:
        """Whether what is declared, or that `others` do not vanish, keeps the factor from zero."""
        frames = self.form.frames
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

    # --- gauges -----------------------------------------------------------------------------

    def gauges(self) -> Iterator[Gauge]:
        """The freedoms that were fixed, one for each block of an output."""
        for pair, place in dict.fromkeys((p, x) for p in self.form.pairs for x in p.free):
            y = place.letter
            left = readable(transposed(self.form.frames.dual(y, 0, pair.row)))
            right = readable(self.form.frames.dual(y, 1, pair.col))
            sides = ("".join(map(str, words)) for words in (left, (f"d{y}",), right))
            part = " ".join(side for side in sides if side)
            if pair.case == ACROSS:
                yield Gauge(str(y), part, "it is set to zero")
            else:
                yield Gauge(str(y), f"the antisymmetric part of {part}", "it is set to zero")

    # --- proof ------------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """The proof, from the defining equations to the variations."""
        yield from opening(self.equations, self.outputs)
        yield Step(None, None, entries=self._frames())
        for number, e in enumerate(self.equations):
            yield from self._transformed(number, e)
        for pair in self.form.pairs:
            if pair.equations:
                system, solved = self._system(pair)
                yield Step(None, None, entries=Entries(f"for {self._where(pair)}", system))
                if not set(solved) <= set(system):
                    yield Step(None, None, entries=Entries("so that", solved))
        for y, dy in self.variations.items():
            yield Step(Variation(y), dy, (BACK,))

    def _frames(self) -> Entries:
        """Each variation in its frame, with the spectra that the frames come with."""
        frames = self.form.frames
        known = {
            place.letter for pair in self.form.pairs for line in pair.equations for place in line
        }
        letters = [x for x in frames.setting.letters if x in known and x not in self.outputs]
        rows: list[tuple[str, Words | Expr]] = [
            (f"d{x}", self._frame(x)) for x in (*self.outputs, *letters)
        ]
        for number, e in enumerate(self.equations):
            if number in known:
                rows.append((f"d{_lump(number)}", self._frame(number)))
                lumped = next(v for v in self.form.systems.equations if v.number == number).lumped
                whole = matrix(scaled(sp.Integer(-1), lumped), e.rows, e.cols)
                rows.append((f"d{_lump(number)}", whole))
        used = {
            s for pair in self.form.pairs for line in pair.equations for k in line.values()
            for s in frames.spectra if k.has(index_symbol(s, "i"), index_symbol(s, "j"))
        }
        rows += [(s.name, frames.spectra[s]) for s in frames.spectra if s in used]
        null = any("N" in row for _, row in rows if isinstance(row, tuple))
        completing = ", where N completes the columns before it" if null else ""
        return Entries(f"in the frames{completing}", tuple(rows))

    def _frame(self, y: Expr | int) -> Words:
        frames = self.form.frames
        core = f"δ{_lump(y) if isinstance(y, int) else y}"
        sides = []
        for which in (0, 1):
            columns = [frames.basis(y, which, label) for label in frames.labels(y, which)]
            blocks = [readable(c) or ("I",) for c in columns]
            if len(blocks) > 1:
                inner = [word for block in blocks for word in (" | ", *block)][1:]
                blocks = [("(", *inner, ")")]
            sides.append(() if blocks[0] == ("I",) else blocks[0])
        left = (*sides[0], " ") if sides[0] else ()
        match sides[1]:
            case ():
                right: Words = ()
            case (Expr() as X,):
                right = (" ", build.transpose(X))
            case words:
                right = (" ", *words, "ᵀ")
        return (*left, core, *right)

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
                known_side, unknown_side = sides
                if unknown_side is None:
                    continue
                if known_side is None:
                    known_side = build.zeros(*unknown_side.shape)
                    if build.coefficient(unknown_side)[0] is build.number(-1):
                        unknown_side = build.negate(unknown_side)
                yield Step(known_side, unknown_side, ("the frames",))

    def _projection(self, number: int, which: int, label: Label) -> Columns:
        frames = self.form.frames
        dual = transposed(frames.dual(number, which, label))
        whole = all(
            not isinstance(m.atom, Null) and not (isinstance(m.atom, Hidden) and not m.atom.whole)
            for m in dual
        )
        return dual if whole else (*frames.basis(number, which, label), *dual)

    def _between(self, left: Columns, p: Polynomial, right: Columns) -> Expr | None:
        terms: dict[Expr, sp.Expr] = {}
        for word, c in p.items():
            marks = tuple(
                Mark(Variation(f.letter) if f.varied else f.letter, f.transposed) for f in word
            )
            product = self.form.product((*left, *marks, *right))
            terms[product] = terms.get(product, sp.Integer(0)) + c
        summands = [build.scale(scalar_expr(c), X) for X, c in terms.items() if c != 0]
        return build.add(*summands) if summands else None

    def _where(self, pair: Pair) -> str:
        if pair.case == ACROSS:
            return f"i in {self._label(pair.row)} and j in {self._label(pair.col)}"
        null = " in the null space" if pair.row.null else ""
        return f"i = j{null}" if pair.case == EQUAL else f"i > j{null}"

    def _label(self, label: Label) -> str:
        return "the null space" if label.null else "the range"

    def _system(self, pair: Pair) -> tuple[Scalars, Scalars]:
        """The system with its invariants used up, known = unknown, and its solution."""
        fixed = _fixed(pair)
        system = [(entry_symbol(p), self._sum(line)) for p, line in fixed.items()]
        for line in _independent(pair.equations):
            left: Line = {}
            for p, k in line.items():
                for q, c in fixed.get(p, {p: sp.Integer(1)}).items():
                    left[q] = left.get(q, sp.Integer(0)) + c * k
            known = {p: -k for p, k in left.items() if p not in pair.solution and k != 0}
            unknown = {p: k for p, k in left.items() if p in pair.solution and k != 0}
            if not unknown:
                continue
            if all(k.could_extract_minus_sign() for k in (known or unknown).values()):
                known, unknown = ({p: -k for p, k in x.items()} for x in (known, unknown))
            equation = (self._sum(known), self._sum(unknown))
            if equation not in system:
                system.append(equation)
        solved = [
            (entry_symbol(p), self._sum(line))
            for p, line in pair.solution.items() if p not in fixed and p not in pair.free
        ]
        turned = [side[::-1] if side[::-1] in solved else side for side in system]
        return tuple(turned), tuple(solved)

    def _sum(self, line: Line) -> sp.Expr:
        total = sp.Add(*(self.form.systems.shown(k) * entry_symbol(p) for p, k in line.items()))
        numerator, denominator = sp.fraction(sp.cancel(total))
        below = sp.expand(denominator)
        if len(sp.Add.make_args(below)) > 2:
            below = sp.factor(denominator)
        above = sp.Add(*(sp.factor(t) for t in sp.Add.make_args(sp.expand(numerator))))
        if below.could_extract_minus_sign():
            above, below = sp.expand(-above), sp.expand(-below)
        if below != 1 and all(t.as_coeff_Mul()[0] < 0 for t in sp.Add.make_args(above)):
            return -sp.expand(-above) / below
        return above / below


def _fixed(pair: Pair) -> dict[Place, Line]:
    """What an invariant alone says of an unknown entry: that it vanishes, or mirrors another."""
    found: dict[Place, Line] = {}
    for line in pair.equations:
        places = list(line)
        if not all(p in pair.solution for p in places) or len(places) > 2:
            continue
        p, q = sorted((places[0], places[-1]), key=lambda place: place.order)
        if p == q:
            found[p] = {}
        elif p.letter == q.letter and (p.row, p.col) == (q.col, q.row):
            c = -line[p] / line[q]
            if c.is_number and q not in found and p not in found:
                found[q] = {p: c}
    return found


def _independent(lines: tuple[Line, ...]) -> Iterator[Line]:
    """The lines that do not follow from those before them."""
    places = list(dict.fromkeys(place for line in lines for place in line))
    kept: list[list[sp.Expr]] = []
    for line in lines:
        row = [line.get(place, sp.Integer(0)) for place in places]
        stacked = DomainMatrix.from_list_sympy(len(kept) + 1, len(places), [*kept, row])
        if stacked.to_field().rank() > len(kept):
            kept.append(row)
            yield line


def _lump(number: int) -> str:
    """The letter of what is known in an equation whose coefficients are not diagonal."""
    return "W" if number == 0 else f"W{number}"


@dataclass(frozen=True)
class OperatorReport:
    """The proof of outputs that are the solution operator of their stacked equations."""

    coefficient: Expr
    equations: list[Equation]
    outputs: tuple[Expr, ...]
    variations: dict[Expr, Expr]

    def conditions(self) -> Iterator[Condition]:
        """The system must be regular."""
        names = ", ".join(f"d({y})" for y in self.outputs)
        known = "invertible" if self.coefficient.is_square else "full_column_rank"
        text = f"{self.coefficient} {known}"
        if len(text) > _LONGEST:
            yield Condition(f"the varied equations determine {names}", "their matrix is regular")
            return
        yield Condition(text, f"the coefficient of vec({names})", of=self.coefficient)

    def gauges(self) -> Iterator[Gauge]:
        """None: what the equations do not determine is refused."""
        yield from ()

    def steps(self) -> Iterator[Step]:
        """The equations, their variation, the stacked system solved."""
        yield from opening(self.equations, self.outputs)
        names = ", ".join(f"d{y}" for y in self.outputs)
        stacked = (("vec(L dY R)", ("kron(Rᵀ, L) vec(dY)",)), ("C", self.coefficient))
        head = f"stacked, C the coefficient of vec({names})"
        yield Step(None, None, entries=Entries(head, stacked))
        for y, dy in self.variations.items():
            yield Step(Variation(y), dy, (BACK,))


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
