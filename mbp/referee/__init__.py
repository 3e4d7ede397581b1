"""The referee: is a claimed formula right, under what conditions, and if not, what is."""

from __future__ import annotations

from collections.abc import Sequence

from mbp.api import Layer
from mbp.errors import MbpError
from mbp.referee.reading import equation_statements, expression_layer, layer_statements
from mbp.referee.statement import Kind, Verdict
from mbp.referee.verdicts import Progress, combined, silent, verdict

__all__ = ["Kind", "Verdict", "claim"]


def claim(
    target: str | Layer,
    /,
    *,
    gradient: str | None = None,
    variation: str | None = None,
    is_: str | None = None,
    where: str | Sequence[str] = (),
    progress: Progress = silent,
    **declarations: str,
) -> Verdict:
    """The verdict on a gradient, a variation, or an identity "LHS == RHS".

    `target` is a layer, its name or FILE.py:NAME, or the text of an expression with the
    `declarations` of its variables; `gradient` names the input or `variation` the output whose
    derivative `is_` gives. `where` defines kernels, as 'K: entry(i, j) = …, diagonal = 0'.
    Raises MbpError for a text that cannot be read; shapes that do not conform are a verdict.
    """
    kernels = [where] if isinstance(where, str) else list(where)
    if (gradient is not None) + (variation is not None) != (is_ is not None):
        raise MbpError("a claim is a gradient or a variation and what it is, or 'LHS == RHS'")
    if is_ is None:
        if isinstance(target, Layer):
            raise MbpError(f"say what of {target.name}: gradient or variation, and what it is")
        statements = equation_statements(target, declarations, kernels)
    else:
        layer, one_off = _layer(target, declarations)
        statements = layer_statements(
            layer, gradient=gradient, variation=variation, formula=is_, where=kernels,
            one_off=one_off,
        )  # fmt: skip
    return combined([verdict(statement, progress) for statement in statements])


def _layer(target: str | Layer, declarations: dict[str, str]) -> tuple[Layer, bool]:
    if isinstance(target, Layer):
        return target, False
    if declarations:
        return expression_layer(target, declarations), True
    from mbp.targets import named

    return named(target), False
