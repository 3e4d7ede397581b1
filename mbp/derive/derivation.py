"""A derivation: the recorded proof of a layer's variation and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import sympy as sp

from mbp.definition import Definition
from mbp.expr.nodes import Expr, Var

Words: TypeAlias = tuple[str | Expr, ...]
"""Words and matrix expressions side by side, such as (U | N) δU."""

Side: TypeAlias = sp.Expr | str | Expr | Words


@dataclass(frozen=True)
class Entries:
    """Equations between letters or single entries, and what they are said of ("for i > j").

    A side is a scalar in entries such as δU_ij and s[i], a frame in words, or the matrix
    expression that a letter stands for. `letters` says what the letters of a decomposition's own
    definition are at hand.
    """

    head: str
    equations: Sequence[tuple[sp.Expr | str, Side]]
    letters: Mapping[str, Expr] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One line of the proof: lhs = rhs, what justifies it, and a word to the reader.

    Both sides may contain d(x) of inputs, of the expressions in `Derivation.named` and of the
    outputs; each line can be evaluated on a random admissible instance. `heading` opens a new
    part of the proof ("Step 1: …"); a line of `entries` has neither side.
    """

    lhs: Expr | None
    rhs: Expr | None
    by: tuple[str, ...] = ()
    note: str = ""
    heading: str = ""
    entries: Entries | None = None

    def rewritten(self, f: Callable[[Expr], Expr]) -> Step:
        """The step with f applied to each of its matrix expressions."""
        entries = self.entries
        if entries is not None:
            equations = tuple((lhs, _rewritten(rhs, f)) for lhs, rhs in entries.equations)
            letters = {name: f(A) for name, A in entries.letters.items()}
            entries = replace(entries, equations=equations, letters=letters)
        lhs, rhs = (None if side is None else f(side) for side in (self.lhs, self.rhs))
        return replace(self, lhs=lhs, rhs=rhs, entries=entries)


def _rewritten(side: Side, f: Callable[[Expr], Expr]) -> Side:
    if isinstance(side, tuple):
        return tuple(f(word) if isinstance(word, Expr) else word for word in side)
    return f(side) if isinstance(side, Expr) else side


@dataclass(frozen=True)
class Derivation:
    """A layer's variation and gradients with their proof.

    variations: per output, an expression linear in d(input) (the forward-mode rule).
    gradients: per input, the projected gradient, linear in the cotangents.
    functionals: per input, the coefficient of d(input) before the projection.
    cotangents: per output, the variable G or G_Y.
    where: names for kernels and outputs of decompositions that occur in the above.
    conditions: what must hold, in the vocabulary of conditions.
    spectra: the vectors that the small letters of the conditions stand for.
    gauges: unknowns that no equation determines, and how they were fixed.
    """

    definition: Definition
    cotangents: Mapping[str, Var]
    variations: Mapping[str, Expr]
    functionals: Mapping[str, Expr]
    gradients: Mapping[str, Expr]
    where: Mapping[str, Expr] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    spectra: Mapping[str, Expr] = field(default_factory=dict)
    gauges: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    def verify(self) -> list[tuple[Step, float]]:
        """Each line of the proof with the relative error of its two sides, in 50 digits.

        Evaluated on random admissible instances; see `mbp.verify.proof`.
        """
        from mbp.verify.proof import verify_derivation

        return verify_derivation(self)

    def to_text(self) -> str:
        """The proof in the expression grammar, justifications at the right."""
        from mbp.present import to_text

        return to_text(self)

    def to_markdown(self) -> str:
        """The proof as Markdown with LaTeX formulas."""
        from mbp.present import to_markdown

        return to_markdown(self)

    def to_latex(self) -> str:
        """The proof as a LaTeX section for amsmath."""
        from mbp.present import to_latex

        return to_latex(self)

    def to_html(self) -> str:
        """The proof as one self-contained page with MathML."""
        from mbp.present import to_html

        return to_html(self)

    def to_json(self) -> str:
        """The derivation as one JSON object, every formula in the expression grammar."""
        from mbp.present import to_json

        return to_json(self)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from mbp.present import to_html

        return to_html(self, fragment=True)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _repr_latex_(self) -> str:
        from mbp.present import to_latex_display

        return to_latex_display(self)
