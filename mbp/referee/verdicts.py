"""From a claim to its verdict: judge, then search conditions, then mend, then show the fault."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import sympy as sp

from mbp.errors import MbpError, ShapeError
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Var
from mbp.invariants.vocabulary import VOCABULARY
from mbp.referee.conditions import Condition, Trial
from mbp.referee.counterexample import counterexample
from mbp.referee.judge import Deadline, Judgement, Level, judged
from mbp.referee.mend import conforming, projected, slip
from mbp.referee.needs import Needs, needs
from mbp.referee.proof import is_proven, right_formula, spelled_out
from mbp.referee.search import patterned, weakest
from mbp.referee.statement import (
    Claim,
    Comparison,
    Kind,
    Setting,
    Verdict,
    dimension_symbols,
)

Progress = Callable[[str], None]

_SEARCHED, _MENDED = 4.0, 6.0
"""Seconds after which the search of conditions ends, and that of slips: an answer within ten."""

_ORDER = tuple(Kind)


def silent(what: str) -> None:
    """Reports no progress."""


@dataclass(frozen=True)
class Statement:
    """A claim as it was written; its formula may turn out to be ill-formed."""

    setting: Setting
    formula: str
    target: Expr | str | None = None
    wrt: str | None = None
    relation: str = "=="
    given: Comparison | None = None

    def claim(self) -> Claim:
        """The claim; raises ShapeError where shapes do not conform, MbpError for other faults."""
        target = self.setting.parse(self.target) if isinstance(self.target, str) else self.target
        return Claim(
            self.setting, self.setting.parse(self.formula), self.formula, target, self.wrt,
            self.relation, self.given,
        )  # fmt: skip

    def with_equal(self, m: sp.Symbol, n: sp.Symbol) -> Statement:
        """The statement where n is m."""
        setting = self.setting

        def renamed(A: Expr) -> Expr:
            return build.instantiate(A, {}, {n: m})

        def texts(text: Expr | str | None) -> Expr | str | None:
            if isinstance(text, str):
                return re.sub(rf"\b{n.name}\b", m.name, text)
            return None if text is None else renamed(text)

        inputs = {name: renamed(x) for name, x in setting.inputs.items()}
        formula = texts(self.formula)
        assert isinstance(formula, str)
        return replace(
            self,
            setting=Setting(
                {name: x for name, x in inputs.items() if isinstance(x, Var)},
                {name: renamed(A) for name, A in setting.outputs.items()},
                {name: renamed(A) for name, A in setting.cotangents.items()},
                {name: renamed(A) for name, A in setting.letters.items()},
                {renamed(x): name for x, name in setting.gradients.items()},
                tuple((_at(big, m, n), _at(small, m, n)) for big, small in setting.assumed),
            ),
            formula=formula,
            target=texts(self.target),
        )


def _at(d: Dim, m: sp.Symbol, n: sp.Symbol) -> Dim:
    return sp.expand(d.xreplace({n: m}))


def verdict(
    statement: Statement, progress: Progress = silent, patience: float = 1.0
) -> Verdict:
    """The verdict on one statement; raises MbpError for a text that cannot be read at all.

    The searches for conditions and slips take `patience` times their usual seconds at most.
    """
    start = time.monotonic()
    try:
        claim = statement.claim()
    except ShapeError as error:
        return _ill_formed(statement, error, Deadline(patience * _MENDED, start), progress)
    progress("evaluating random instances")
    judgement = judged(claim)
    needed = needs(claim)
    if judgement.level is not Level.FAILS:
        return _sound(claim, judgement, needed)
    found = weakest(claim, Deadline(patience * _SEARCHED, start), progress)
    progress("looking for the slip")
    wrong = slip(claim, found is None, Deadline(patience * _MENDED, start), progress)
    if found is None and wrong is None:
        found = patterned(claim, Deadline(patience * _MENDED, start), progress)
    mended = wrong if wrong is not None and wrong.is_right else None
    correct = spelled_out(claim, mended.text) if mended else _derived(statement, claim)
    if found is not None:
        conditions, under = found
        sound = _sound(claim, under, needed, conditions)
        return replace(
            sound,
            correct=(correct if mended else sound.correct) or correct,
            mend=str(mended) if mended else sound.mend,
        )
    assert judgement.seed is not None
    return Verdict(
        Kind.WRONG,
        (*needed.structural, *needed.mild),
        judgement.error,
        correct,
        None if wrong is None else str(wrong),
        counterexample(claim, judgement.seed),
        "numerically, in float64 and in 50 digits",
    )


def _derived(statement: Statement, claim: Claim) -> str | None:
    """The right formula as the engine derives it, unless it is what the left side says already."""
    formula = right_formula(claim)
    return None if formula == statement.target else formula


def _sound(
    claim: Claim, judgement: Judgement, needed: Needs, found: Sequence[Condition] = ()
) -> Verdict:
    """The verdict on a claim that is true, at least as a functional and under conditions."""
    structural = (*map(str, found), *needed.structural)
    trial = Trial(tuple(found))
    implied = {f"{x} {prop}" for x in claim.setting.inputs.values()
               for prop in VOCABULARY.closure(trial.declared(x).properties)}  # fmt: skip
    mild = (condition for condition in needed.mild if condition not in implied)
    conditions = tuple(dict.fromkeys((*structural, *mild)))
    by = "numerically, in float64 and in 50 digits"
    if judgement.level is Level.FUNCTIONAL:
        right = projected(claim, trial) or right_formula(claim)
        mend = f"project it onto the admissible variations: {right}"
        return Verdict(Kind.PROJECTION, conditions, judgement.error, right, mend, None, by)
    if not structural and is_proven(claim):
        by = "by the normal form, and " + by
    kind = Kind.HOLDS_WHEN if structural else Kind.HOLDS
    return Verdict(kind, conditions, judgement.error, by=by)


def _ill_formed(
    statement: Statement, error: ShapeError, deadline: Deadline, progress: Progress
) -> Verdict:
    progress("looking for the slip")
    mend = correct = None
    for what, text in conforming(
        statement.formula, lambda text: replace(statement, formula=text).claim(),
        statement.setting.names,
    ):  # fmt: skip
        if deadline.passed:
            break
        if _is_true(replace(statement, formula=text)):
            mend, correct = f"{what}: {text}", text
            break
    conditions = tuple(_equal_sizes(statement)) if mend is None else ()
    return Verdict(
        Kind.ILL_FORMED, conditions, None, correct, mend, str(error), "the shapes do not conform"
    )


def _equal_sizes(statement: Statement) -> Iterable[str]:
    """The equality of two dimensions that makes an ill-formed statement true, if one does."""
    for m, n in combinations(dimension_symbols(statement.setting.inputs.values()), 2):
        if _is_true(statement.with_equal(m, n)):
            yield f"{m} = {n}"
            return


def _is_true(statement: Statement) -> bool:
    try:
        return judged(statement.claim(), rough=6).level is not Level.FAILS
    except MbpError:
        return False


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several statements made at once: the worst, with all conditions."""
    worst = max(verdicts, key=lambda one: _ORDER.index(one.kind))
    conditions = tuple(dict.fromkeys(c for one in verdicts for c in one.conditions))
    if worst.kind in (Kind.HOLDS, Kind.HOLDS_WHEN):
        error = max((one.error for one in verdicts if one.error is not None), default=None)
        return replace(worst, conditions=conditions, error=error)
    return replace(worst, conditions=conditions)
