"""The derivation of a decomposition, told: from its equations to the variations of its outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import sympy as sp
from sympy.polys.matrices import DomainMatrix

from mbp.derive.derivation import Entries, Step, Words
from mbp.derive.implicit.conditions import readable
from mbp.derive.implicit.equations import Equation
from mbp.derive.implicit.frames import Columns, FrameError, Hidden, Label, Mark, Null, transposed
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
    scalar_expr,
    scaled,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.derive.implicit.solver import Explicit, Framed, Solution, Stacked
from mbp.derive.variation import varied_in_letters
from mbp.expr import build
from mbp.expr.nodes import Expr, Variation

Scalars = tuple[tuple[sp.Expr, sp.Expr], ...]

BACK = "back in matrix form"
"""What justifies the last line of a proof: the solution of every system, put together."""


def proof(solution: Solution) -> Iterator[Step]:
    """The lines of the proof of every set of outputs that was solved together, in the outputs."""
    back = solution.restated.back
    for part in solution.parts:
        for step in _lines(part):
            yield replace(
                step,
                lhs=None if step.lhs is None else back(step.lhs),
                rhs=None if step.rhs is None else back(step.rhs),
            )


def _lines(part: Framed | Explicit | Stacked) -> Iterator[Step]:
    yield from _opening(part.equations, part.outputs)
    match part:
        case Framed():
            yield from _InFrames(part).steps()
        case Stacked():
            yield from _stacked(part)
    for y, dy in part.variations.items():
        yield Step(Variation(y), dy, (BACK,))


def _opening(equations: list[Equation], outputs: tuple[Expr, ...]) -> Iterator[Step]:
    """The equations, and their variations with what is known on the left."""
    for e in equations:
        yield Step(e.left, e.right, (e.source,))
    for e in equations:
        if e.obstacle:
            yield Step(varied_in_letters(e.left), varied_in_letters(e.right), ("variation",))
            continue
        known, unknown = _varied_sides(e.p, outputs)
        left, right = (matrix(p, e.rows, e.cols) for p in (known, unknown))
        yield Step(left, right, ("variation",))


def _varied_sides(p: Polynomial, outputs: tuple[Expr, ...]) -> tuple[Polynomial, Polynomial]:
    """The varied equation p = 0 as known = unknown, signs turned so that most are positive."""
    varied = variation(p, varies)
    unknown = {
        w: c for w, c in varied.items()
        if (k := varied_factor(w)) is not None and w[k].letter in outputs
    }
    sign = sp.Integer(-1 if sum(c.could_extract_minus_sign() for c in unknown.values()) * 2
                      > len(unknown) else 1)
    return scaled(sign, add(unknown, scaled(sp.Integer(-1), varied))), scaled(sign, unknown)


class _InFrames:
    """The proof of one set of outputs that frames have solved."""

    def __init__(self, part: Framed) -> None:
        self.form = part.form
        self.equations = part.equations
        self.outputs = part.outputs

    def steps(self) -> Iterator[Step]:
        """From the frames to the solution of every system."""
        yield Step(None, None, entries=self._frames())
        for number, e in enumerate(self.equations):
            yield from self._transformed(number, e)
        for pair in self.form.pairs:
            if pair.equations:
                system, solved = self._system(pair)
                yield Step(None, None, entries=Entries(f"for {self._where(pair)}", system))
                if not set(solved) <= set(system):
                    yield Step(None, None, entries=Entries("so that", solved))

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
        known, unknown = _varied_sides(e.p, self.outputs)
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


def _stacked(part: Stacked) -> Iterator[Step]:
    """The stacked system, solved."""
    names = ", ".join(f"d{y}" for y in part.outputs)
    stacked = (("vec(L dY R)", ("kron(Rᵀ, L) vec(dY)",)), ("C", part.coefficient))
    head = f"stacked, C the coefficient of vec({names})"
    yield Step(None, None, entries=Entries(head, stacked))
