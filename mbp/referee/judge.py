"""Judges a claim under given conditions: many instances in float64, and again in 50 digits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mbp.errors import MbpError
from mbp.numeric.arithmetic import FLOAT64, multiprecision
from mbp.referee.conditions import NOTHING, Trial
from mbp.referee.sampling import sample
from mbp.referee.statement import Claim
from mbp.referee.witness import Outcome, Status, outcome

PRECISE = multiprecision(50)

_MOST_DRAWS = 30
"""Draws of instances for each one wanted, before the target counts as defined nowhere."""


_OF_GRADIENTS = 4
"""Instances for a claim that names a gradient: each takes a derivative for every entry."""


class Level(IntEnum):
    """How far a claim is true, from worst to best."""

    FAILS = 0
    FUNCTIONAL = 1
    HOLDS = 2


@dataclass(frozen=True)
class Judgement:
    """The level under a trial's conditions, the error, and the seed of a failing instance.

    vanishes: the truth is zero at every instance, so that the conditions make the claim trivial.
    """

    level: Level
    error: float
    seed: int | None = None
    vanishes: bool = False


class Deadline:
    """A point in time after which a search stops."""

    def __init__(self, seconds: float, since: float | None = None) -> None:
        self._end = (time.monotonic() if since is None else since) + seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


def judged(claim: Claim, trial: Trial = NOTHING, rough: int = 12, precise: int = 2) -> Judgement:
    """The claim on `rough` instances in float64 and `precise` ones in 50 digits.

    A difference in float64 counts only where 50 digits confirm it. Raises MbpError when no
    admissible instance gives the true side a value.
    """
    if claim.names_gradients:
        rough = min(rough, _OF_GRADIENTS)
    level, error, vanishes = Level.HOLDS, 0.0, True
    agreed = []
    without_value: Judgement | None = None
    for seed, found in _defined(claim, trial, rough):
        if found.status is Status.DIFFERS and found.error == float("inf"):
            # A side without a value refutes too, but two values show the fault better.
            without_value = without_value or Judgement(Level.FAILS, found.error, seed)
            continue
        if found.status is Status.DIFFERS:
            return Judgement(Level.FAILS, found.error, seed)
        if found.status is Status.FUNCTIONAL:
            level = Level.FUNCTIONAL
        vanishes &= found.vanishes
        agreed.append(seed)
    if without_value is not None:
        return without_value
    if not agreed:
        raise MbpError("no admissible instance gives the claim's true side a value")
    for seed in _cheapest(agreed, precise):
        found = precisely(claim, trial, seed)
        if found.status is Status.DIFFERS:
            return Judgement(Level.FAILS, found.error, seed)
        if found.status is not Status.UNDEFINED:
            error = max(error, found.error)
    return Judgement(level, error, None, vanishes)


def precisely(claim: Claim, trial: Trial, seed: int) -> Outcome:
    """The outcome at one instance in 50 digits."""
    return outcome(claim, trial, sample(claim, trial, seed, PRECISE))


def _defined(claim: Claim, trial: Trial, wanted: int) -> Iterator[tuple[int, Outcome]]:
    """Seeds at which the true side has a value, with what comes out there.

    In float64, and in 50 digits where the sides differ: rounding may give a value to a side that
    has none.
    """
    found = 0
    for seed in range(_MOST_DRAWS * wanted):
        here = outcome(claim, trial, sample(claim, trial, seed, FLOAT64))
        if here.status is Status.DIFFERS:
            here = precisely(claim, trial, seed)
        if here.status is not Status.UNDEFINED:
            yield seed, here
            found += 1
        if found == wanted:
            return


def _cheapest(seeds: list[int], wanted: int) -> list[int]:
    # Even seeds have full rank, odd ones may be deficient: see both where both were admissible.
    odd = [seed for seed in seeds if seed % 2]
    even = [seed for seed in seeds if not seed % 2]
    return [seed for pair in zip(even or odd, odd or even) for seed in pair][:wanted]
