"""Verdicts as text for a reader."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from mbp.referee.statement import Kind, Verdict


def verdict_text(verdict: Verdict) -> str:
    """The verdict, what it depends on and rests on, and what would be right."""
    return "\n".join(_lines(verdict))


def verdict_json(verdict: Verdict) -> str:
    """The verdict as one JSON object."""
    return json.dumps(plain(verdict.data()), indent=2, ensure_ascii=False)


def plain(row: dict[str, object]) -> dict[str, object]:
    """The values with no number that JSON cannot write: an infinite error is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _lines(verdict: Verdict) -> Iterator[str]:
    structural = verdict.kind is Kind.HOLDS_WHEN
    said = ", ".join(verdict.conditions)
    yield f"{verdict.verdict} {said}" if structural else verdict.verdict
    if said and not structural:
        yield f"  conditions      {said}"
    if verdict.error is not None:
        yield f"  error           {verdict.error:.2g}"
    if verdict.by:
        yield f"  judged          {verdict.by}"
    if verdict.correct:
        yield f"  right           {verdict.correct}"
    if verdict.mend:
        yield f"  mend            {verdict.mend}"
    if verdict.counterexample:
        yield "  where" if verdict.kind is Kind.ILL_FORMED else "  counterexample"
        yield from (f"    {line}" for line in verdict.counterexample.splitlines())
