"""The diagonals of the letters in their frames, from the undifferentiated equations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.derive.implicit.frames import Core, FrameError, Frames, Label
from mbp.expr.nodes import Expr


class ContradictionError(FrameError):
    """The defining equations contradict each other or fix an input; the message says how."""


@dataclass(frozen=True)
class Cores:
    """Completes the cores of `frames`."""

    frames: Frames

    def solve(self) -> None:
        """Solves the undifferentiated equations on the diagonals, label by label."""
        self._linear_cores()
        self._remaining_cores()
        for X in self.frames.setting.multipliers:
            if X not in self.frames.cores:
                raise FrameError(f"{X} multiplies an unknown variation and is not diagonal")

    def _scalar_equation(
        self, number: int, label: Label, unknown: dict[tuple[Expr, Label], sp.Expr]
    ) -> sp.Expr:
        total = sp.Integer(0)
        for word, c in self.frames.setting.equations[number][0].items():
            term = c
            for f in word:
                value = unknown.get((f.letter, label))
                term *= value if value is not None else self.frames.entry(f, label) or sp.Integer(0)
            total += term
        return sp.expand(total)

    def _equation_labels(self, number: int) -> list[Label]:
        return [k for k in self.frames.labels(number, 0) if k in self.frames.labels(number, 1)]

    def _linear_cores(self) -> None:
        """An equation with one letter left, linear in it, proves that letter's core diagonal."""
        progress = True
        while progress:
            progress = False
            for number, (p, _, _) in enumerate(self.frames.setting.equations):
                if number in self.frames.setting.partial:
                    continue
                inside = {f.letter for word in p for f in word}
                missing = {X for X in inside if X not in self.frames.cores}
                if len(missing) == 1 and self._solve_linear(number, missing.pop()):
                    progress = True

    def _solve_linear(self, number: int, X: Expr) -> bool:
        x = sp.Dummy("x")
        if not self._isolates(number, X):
            return False
        core: Core = {}
        for label in self._equation_labels(number):
            if label in self.frames.labels(X, 0) and label in self.frames.labels(X, 1):
                e = sp.Poly(self._scalar_equation(number, label, {(X, label): x}), x)
                if e.degree() != 1:
                    return False
                core[label] = sp.cancel(-e.coeff_monomial(1) / e.coeff_monomial(x))
        self.frames.cores[X] = {label: value for label, value in core.items() if value != 0}
        return True

    def _isolates(self, number: int, X: Expr) -> bool:
        """Whether every block of X's core is multiplied by something that does not vanish."""
        reached = set()
        for word in self.frames.setting.equations[number][0]:
            places = [k for k, f in enumerate(word) if f.letter is X]
            if len(places) > 1:
                return False
            for k in places:
                rows, cols = (
                    {label for label in self.frames.labels(number, which)
                     if all(self.frames.entry(f, label) != 0 for f in part)}
                    for which, part in ((0, word[:k]), (1, word[k + 1 :]))
                )
                if word[k].transposed:
                    rows, cols = cols, rows
                reached |= {(r, c) for r in rows for c in cols}
        rows, cols = (set(self.frames.labels(X, which)) for which in (0, 1))
        return all((r, c) in reached for r in rows for c in cols)

    def _remaining_cores(self) -> None:
        """Outputs whose cores are diagonal because the equations single them out.

        Conjugation by diagonal signs leaves such a system unchanged, so a unique solution is
        diagonal; the solver checks uniqueness to first order (`uncertain`).
        """
        unsolved = {X for X in self.frames.setting.letters if X not in self.frames.cores}
        found = unsolved & self.frames.setting.outputs
        equations = self.frames.setting.equations
        inside = [{f.letter for word in p for f in word} for p, _, _ in equations]
        while True:
            blocked = unsolved - found
            blocked |= {
                X for k in self.frames.setting.partial for X in inside[k] & found
            }
            free = {
                X for X in found
                if set(self.frames.labels(X, 0)) & set(self.frames.labels(X, 1))
                and not any(X in s and s & blocked for s in inside)
            }
            if free == found:
                break
            found = free
        unknown: dict[tuple[Expr, Label], sp.Expr] = {
            (X, label): sp.Dummy(f"{X}_{label.name}")
            for X in self.frames.setting.letters if X in found
            for label in self.frames.labels(X, 0) if label in self.frames.labels(X, 1)
        }
        nonzero: set[sp.Expr] = set(self.frames.spectra)
        pairs = self.frames.setting.equal_rank
        for X, Y in [*pairs, *(pair[::-1] for pair in pairs)]:
            for letter, label in unknown:
                if letter is X and Y in self.frames.cores:
                    if self.frames.cores[Y].get(label, 0) == 0:
                        unknown[letter, label] = sp.Integer(0)
                    else:
                        nonzero.add(unknown[letter, label])
        numbers = [
            k for k, s in enumerate(inside)
            if not s & (unsolved - found) and k not in self.frames.setting.partial
        ]
        values = self._solve_scalars(numbers, unknown, nonzero)
        for X in found:
            self.frames.cores[X] = {
                label: value for (letter, label), symbol in unknown.items()
                if letter is X and (value := symbol.xreplace(values)) != 0
            }
        self.frames.cores = {
            X: {label: sp.cancel(value.xreplace(values)) for label, value in core.items()}
            for X, core in self.frames.cores.items()
        }
        for symbol in values:
            self.frames.spectra.pop(symbol, None)
        self.frames.uncertain = found

    def _solve_scalars(
        self,
        numbers: list[int],
        unknown: dict[tuple[Expr, Label], sp.Expr],
        nonzero: set[sp.Expr],
    ) -> dict[sp.Expr, sp.Expr]:
        values: dict[sp.Expr, sp.Expr] = {}
        waiting = {x for x in unknown.values() if x.is_Symbol}
        equations = [
            self._scalar_equation(number, label, unknown)
            for number in numbers for label in self._equation_labels(number)
        ]
        while True:
            equations = [_without_factors(e.xreplace(values), nonzero) for e in equations]
            equations = [e for e in equations if e != 0]
            step = next((s for e in equations for s in _linear_steps(e, waiting, nonzero)), None)
            if step is None:
                # The spectrum of an input as a function of an output's, x = y², stays rational.
                given = nonzero & set(self.frames.spectra) - self.frames.flexible
                step = next((
                    s for e in equations if e.free_symbols & self.frames.flexible
                    for s in _linear_steps(e, given, nonzero)
                ), None)
            if step is None:
                break
            symbol, value = step
            nonzero.discard(symbol)
            values = {k: sp.cancel(v.xreplace({symbol: value})) for k, v in values.items()}
            values[symbol] = value
            waiting.discard(symbol)
        for e in equations:
            if e.free_symbols and e.free_symbols <= self.frames.flexible and not values:
                raise FrameError(f"the spectrum of an output is fixed: {e} = 0")
            if not e.free_symbols & waiting:
                raise ContradictionError(
                    "the defining equations contradict each other"
                    if not e.free_symbols
                    else f"the defining equations fix the spectrum of an input: {e} = 0"
                )
        if waiting:
            raise FrameError(f"the equations between diagonals do not determine {waiting}")
        return values


def _without_factors(e: sp.Expr, nonzero: set[sp.Expr]) -> sp.Expr:
    numerator = sp.numer(sp.together(e))
    if numerator == 0:
        return sp.Integer(0)
    _, factors = sp.factor_list(numerator)
    return sp.Mul(*(f for f, _ in factors if f not in nonzero))


def _linear_steps(
    e: sp.Expr, waiting: set[sp.Expr], nonzero: set[sp.Expr]
) -> Iterator[tuple[sp.Expr, sp.Expr]]:
    for x in sorted(e.free_symbols & waiting, key=str):
        p = sp.Poly(e, x)
        slope = p.coeff_monomial(x)
        if p.degree() == 1 and all(f in nonzero for f, _ in sp.factor_list(slope)[1]):
            yield x, sp.cancel(-p.coeff_monomial(1) / slope)
