"""The referee: is a claimed formula right, under what conditions, and if not, what is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mbp.api import Layer
from mbp.errors import MbpError
from mbp.referee.reading import equation_statements, layer_statements
from mbp.referee.statement import Kind, Verdict
from mbp.referee.verdicts import Progress, combined, silent, verdict

__all__ = ["Kind", "Verdict", "claim", "verdict_on"]


def claim(
    target: str | Layer,
    /,
    *,
    gradient: str | None = None,
    variation: str | None = None,
    is_: str | None = None,
    where: str | Sequence[str] = (),
    **declarations: str,
) -> Verdict:
    """The verdict on a gradient, a variation, or an identity "LHS == RHS".

    `target` is a layer, its name or FILE.py:NAME, or the text of an expression with the
    `declarations` of its variables; `gradient` names the input or `variation` the output whose
    derivative `is_` gives. `where` defines kernels, as 'K: entry(i, j) = …, diagonal = 0'.
    Raises MbpError for a text that cannot be read; shapes that do not conform are a verdict.
    """
    kernels = [where] if isinstance(where, str) else where
    return verdict_on(
        target, declarations, gradient=gradient, variation=variation, formula=is_, where=kernels
    )


def verdict_on(
    target: str | Layer,
    declarations: Mapping[str, str],
    *,
    gradient: str | None,
    variation: str | None,
    formula: str | None,
    where: Sequence[str],
    progress: Progress = silent,
) -> Verdict:
    """Like `claim`, for variables of any name; `progress` is told what is being tried."""
    if (gradient is not None) + (variation is not None) != (formula is not None):
        raise MbpError("a claim is a gradient or a variation and what it is, or 'LHS == RHS'")
    if formula is not None:
        statements = layer_statements(
            target, declarations, gradient=gradient, variation=variation, formula=formula,
            where=where,
        )  # fmt: skip
    elif isinstance(target, Layer):
        raise MbpError(f"say what of {target.name}: gradient or variation, and what it is")
    else:
        statements = equation_statements(target, declarations, where)
    return combined([verdict(statement, progress) for statement in statements])
