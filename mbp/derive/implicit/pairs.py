"""The scalar linear system for each pair of entries (i, j), (j, i), solved symbolically."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import sympy as sp
from sympy.polys.matrices import DomainMatrix

from mbp.derive.implicit.frames import FrameError, Frames, Label
from mbp.derive.implicit.polynomial import Polynomial, Word, properties, varied_factor
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr

OFF, EQUAL, ACROSS = "i > j", "i = j", "across"
"""Cases: two entries mirrored in one label, its diagonal, entries between two labels."""


class Place(NamedTuple):
    """An entry of a transformed variation: letter (or equation number), labels, index order.

    `order` is "ij", "ji" (row index j, column index i) or "ii".
    """

    letter: Expr | int
    row: Label
    col: Label
    order: str


Line = dict[Place, sp.Expr]
"""A linear form in entries."""


class FreeError(FrameError):
    """The equations leave an output free along an unbounded set."""


class UnsolvableError(FrameError):
    """The varied equations hold only for some variations of the inputs."""


@dataclass(frozen=True)
class VariedEquation:
    """A varied equation, its words split by whether they hold an unknown variation.

    `lumped` words have coefficients that are not diagonal; minus their sum is one known matrix,
    with its symmetry. A `given` equation is an invariant of the inputs.
    """

    number: int
    unknown: Polynomial
    known: Polynomial
    lumped: Polynomial
    symmetry: int
    given: bool
    rows: Dim
    cols: Dim


@dataclass(frozen=True, eq=False)
class Pair:
    """A solved system: each unknown entry as {known entry: coefficient}."""

    row: Label
    col: Label
    case: str
    equations: tuple[Line, ...]
    solution: dict[Place, Line]
    free: tuple[Place, ...] = ()


@dataclass
class PairSystems:
    """All pair systems of a setting, in frames."""

    frames: Frames
    equations: list[VariedEquation]
    unknowns: list[Expr]
    unsymmetric: set[Expr] = field(default_factory=set)

    # --- entries ----------------------------------------------------------------------------

    def place(self, X: Expr | int, row: Label, col: Label, order: str) -> tuple[int, Place] | None:
        """The representative of an entry, with its sign; None where the pattern is zero."""
        known: frozenset[str] = frozenset()
        symmetry = 0
        if isinstance(X, int):
            symmetry = next(e.symmetry for e in self.equations if e.number == X)
        else:
            known = properties(X)
            if not self._admits(X, known, row, col, order):
                return None
            symmetry = ("symmetric" in known) - ("antisymmetric" in known)
        if symmetry and self.frames.same_side(X):
            if row == col:
                if order == "ii" and symmetry < 0:
                    return None
                if order == "ji":
                    return symmetry, Place(X, row, col, "ij")
            elif order == "ji":
                return symmetry, Place(X, col, row, "ij")
        return 1, Place(X, row, col, order)

    def _admits(self, X: Expr, known: frozenset[str], row: Label, col: Label, order: str) -> bool:
        frames = self.frames
        left, right = frames.pattern(X, 0), frames.pattern(X, 1)
        if X in frames.setting.constant_rank and X in frames.cores:
            support = frames.cores[X]
            if row not in support and col not in support:
                return False
        if "diagonal" in known and left == right == "identity":
            return row == col and order == "ii"
        for side, other in (("lower", "upper"), ("upper", "lower")):
            if f"{side}_triangular" in known and left in ("identity", side) and right in (
                "identity", other
            ):
                strict = bool(known & {f"unit_{side}_triangular", f"strictly_{side}_triangular"})
                rank = self._position(X, row, col, order)
                rank = rank if side == "lower" else -rank
                return rank > 0 or (rank == 0 and not strict)
        return True

    def _position(self, X: Expr, row: Label, col: Label, order: str) -> int:
        """Below (> 0), on (0) or above (< 0) the diagonal, for i > j."""
        if row == col:
            return {"ij": 1, "ji": -1, "ii": 0}[order]
        rows, cols = self.frames.labels(X, 0), self.frames.labels(X, 1)
        if row not in rows or col not in cols:
            raise FrameError(f"the frames of {X} do not keep its triangle")
        return rows.index(row) - cols.index(col)

    def check_patterns(self) -> None:
        """Raises FrameError when an unknown's zeros are not zeros of its transformed variation.

        An unknown whose symmetry does not show in these frames goes into `unsymmetric`.
        """
        for X in self.unknowns:
            known = properties(X)
            if known & {"symmetric", "antisymmetric"} and not self.frames.same_side(X):
                self.unsymmetric.add(X)
            left, right = self.frames.pattern(X, 0), self.frames.pattern(X, 1)
            for side, other in (("lower", "upper"), ("upper", "lower")):
                if f"{side}_triangular" in known and not (
                    left in ("identity", side) and right in ("identity", other)
                ):
                    raise FrameError(f"the frames do not keep the zeros of {X}")

    def _term(
        self, word: Word, c: sp.Expr, row: Label, col: Label, order: str
    ) -> tuple[sp.Expr, Place] | None:
        k = varied_factor(word)
        assert k is not None
        f = word[k]
        if f.letter not in self.frames.setting.letters:
            raise FrameError(f"{f.letter} has no frames")
        value = c
        for label, index, part in ((row, order[0], word[:k]), (col, order[1], word[k + 1 :])):
            for other in part:
                entry = self.frames.entry(other, label)
                if entry is None:
                    raise FrameError(f"{other.letter} is not diagonal")
                value *= self.indexed(entry, index)
        if value == 0:
            return None
        rows, cols = self.frames.labels(f.letter, 0), self.frames.labels(f.letter, 1)
        if f.transposed:
            row, col, order = col, row, order[::-1]
        if row not in rows or col not in cols:
            return None
        found = self.place(f.letter, row, col, order)
        return None if found is None else (value * found[0], found[1])

    def _entries(self, e: VariedEquation, row: Label, col: Label, order: str) -> Line:
        total: Line = {}
        for word, c in [*e.unknown.items(), *e.known.items()]:
            term = self._term(word, c, row, col, order)
            if term is not None:
                total[term[1]] = total.get(term[1], sp.Integer(0)) + term[0]
        if e.lumped:
            found = self.place(e.number, row, col, order)
            if found is not None:
                total[found[1]] = -sp.Integer(found[0])
        return {place: value for place, value in total.items() if value != 0}

    def within(self, p: Polynomial, row: Label, col: Label) -> Polynomial:
        """The words of a varied equation that do not vanish between two labels."""
        orders = ("ij", "ji", "ii") if row == col else ("ij",)
        kept: Polynomial = {}
        entries: Line = {}
        for word, c in p.items():
            if varied_factor(word) is None:
                return p
            try:
                terms = [self._term(word, c, row, col, order) for order in orders]
            except FrameError:
                return p
            for term in terms:
                if term is not None:
                    kept[word] = c
                    entries[term[1]] = entries.get(term[1], sp.Integer(0)) + term[0]
        return kept if any(sp.cancel(k) != 0 for k in entries.values()) else {}

    # --- systems ----------------------------------------------------------------------------

    def solve(self) -> Iterator[Pair]:
        """The solved systems of all pairs of labels. Raises FrameError or UnsolvableError."""
        self.check_patterns()
        labels = list(dict.fromkeys(
            label for component in self.frames.components.values() for label in component.labels
        ))
        for row, col in combinations_with_replacement(labels, 2):
            within = (OFF, EQUAL) if row.size != ONE else (EQUAL,)
            for case in within if row == col else (ACROSS,):
                pair = self._solve_pair(row, col, case)
                if pair is not None:
                    yield pair

    def _unknown_places(self, row: Label, col: Label, case: str) -> list[Place]:
        orders = [(row, col, "ii")] if case == EQUAL else [(row, col, "ij"), (col, row, "ji")]
        found: dict[Place, None] = {}
        for X in self.unknowns:
            for r, c, order in orders:
                if r in self.frames.labels(X, 0) and c in self.frames.labels(X, 1):
                    place = self.place(X, r, c, order)
                    if place is not None:
                        found[place[1]] = None
        return list(found)

    def _solve_pair(self, row: Label, col: Label, case: str) -> Pair | None:
        orders = [(row, col, "ii")] if case == EQUAL else [(row, col, "ij"), (col, row, "ji")]
        unknowns = self._unknown_places(row, col, case)
        lines: list[Line] = []
        given: list[Line] = []
        for e in self.equations:
            for r, c, order in orders:
                if r in self.frames.labels(e.number, 0) and c in self.frames.labels(e.number, 1):
                    line = self._entries(e, r, c, order)
                    if line and line not in lines:
                        (given if e.given else lines).append(line)
        if not unknowns and not lines:
            return None
        rows, free = self._reduced(lines, given, unknowns, row, col)
        for place in free:
            # A gauge that mixes (i, j) and (j, i) of one unknown is split evenly between them.
            twin = place._replace(row=place.col, col=place.row, order=place.order[::-1])
            if twin != place and twin in unknowns:
                tied = [*lines, {place: sp.Integer(1), twin: sp.Integer(-1)}]
                try:
                    rows, rest = self._reduced(tied, given, unknowns, row, col)
                except UnsolvableError:
                    continue
                lines = tied
                if not rest:
                    break
        solution: dict[Place, Line] = {place: {} for place in unknowns}
        for line in rows:
            pivot = next(iter(line))
            solution[pivot] = {
                place: -value for place, value in line.items() if place not in solution
            }
        return Pair(row, col, case, tuple(lines), solution, free)

    def _reduced(
        self, lines: list[Line], given: list[Line], unknowns: list[Place], row: Label, col: Label
    ) -> tuple[list[Line], tuple[Place, ...]]:
        """The reduced row echelon form of [unknown | known], and the unknowns without pivot."""
        lines = [*lines, *given]
        columns = list(dict.fromkeys([*unknowns, *(p for line in lines for p in line)]))
        # Invariants of the inputs relate known entries; more relations than those are conditions.
        allowed = len(_echelon(given, columns))
        pivots, rows = set(), []
        for line in _echelon(lines, columns):
            pivot = next(iter(line))
            if pivot in unknowns:
                pivots.add(pivot)
                rows.append(line)
                continue
            allowed -= 1
            if allowed < 0:
                known = str(sp.Add(*(self.shown(v) * entry_symbol(p) for p, v in line.items())))
                raise UnsolvableError(
                    f"the equations restrict the inputs: they are solvable only if {known} = 0, "
                    "entry by entry in the frames, which nothing declared implies: inconsistent"
                )
        return rows, tuple(p for p in unknowns if p not in pivots)

    # --- indices ----------------------------------------------------------------------------

    def indexed(self, entry: sp.Expr, index: str) -> sp.Expr:
        """A diagonal entry at index i or j."""
        return entry.xreplace({s: index_symbol(s, index) for s in self.frames.spectra})

    def shown(self, k: sp.Expr) -> sp.Expr:
        """k with its indices written out, as s[i]."""
        return k.xreplace({
            index_symbol(s, index): sp.Symbol(f"{s.name}[{index}]")
            for s in self.frames.spectra for index in "ij"
        })

    def swapped(self, k: sp.Expr) -> sp.Expr:
        """k(j, i) for a k(i, j)."""
        return k.xreplace({
            index_symbol(s, a): index_symbol(s, b)
            for s in self.frames.spectra for a, b in ("ij", "ji")
        })

    def on_diagonal(self, k: sp.Expr) -> sp.Expr | None:
        """k(i, i), or None where it has a pole."""
        numerator, denominator = (
            part.xreplace({index_symbol(s, "j"): index_symbol(s, "i") for s in self.frames.spectra})
            for part in sp.fraction(sp.cancel(k))
        )
        denominator = sp.expand(denominator)
        return None if denominator == 0 else sp.cancel(numerator / denominator)


def entry_symbol(place: Place) -> sp.Symbol:
    """The name of an entry of a transformed variation in the proof."""
    letter = f"W{place.letter or ''}" if isinstance(place.letter, int) else str(place.letter)
    return sp.Symbol(f"δ{letter}_{place.order}")


def _echelon(lines: list[Line], columns: list[Place]) -> list[Line]:
    """The rows of the reduced row echelon form, pivot first, over rational functions."""
    if not lines:
        return []
    entries = [[line.get(place, sp.Integer(0)) for place in columns] for line in lines]
    matrix = DomainMatrix.from_list_sympy(len(lines), len(columns), entries).to_field()
    reduced, pivots = matrix.rref()
    return [
        {
            place: reduced.domain.to_sympy(value)
            for place, value in zip(columns, line, strict=True) if value != 0
        }
        for line in reduced.to_list()[: len(pivots)]
    ]


@cache
def index_symbol(symbol: sp.Symbol, index: str) -> sp.Symbol:
    """A spectrum's symbol at index i or j."""
    return sp.Dummy(f"{symbol.name}[{index}]", real=True)
