"""A derivation as LaTeX: the body of a section, for amsmath."""

from __future__ import annotations

from collections.abc import Iterator

from mbp.derive.derivation import Derivation
from mbp.present.lines import Line, Part, parts, results


def rendered(derivation: Derivation) -> str:
    """The derivation as a LaTeX section."""
    blocks = [_part(part, k) for k, part in enumerate(parts(derivation))]
    return "% needs \\usepackage{amsmath}\n" + "\n\n".join(blocks) + "\n"


def displayed(derivation: Derivation) -> str:
    """The derivation's formulas without its proof, between double dollar signs."""
    runs = (item for part in results(derivation) for item in part.items if isinstance(item, list))
    return "\n".join(f"$$\n{aligned(run, starred=False)}\n$$" for run in runs)


def _part(part: Part, k: int) -> str:
    return "\n".join(_lines(part, "section" if k == 0 else "paragraph"))


def _lines(part: Part, command: str) -> Iterator[str]:
    if part.title:
        yield rf"\{command}*{{{escaped(part.title)}}}"
    for item in part.items:
        if isinstance(item, str):
            yield escaped(item) + "\n"
        else:
            yield aligned(item, starred=True)


def aligned(lines: list[Line], *, starred: bool) -> str:
    """Lines as one aligned display, justifications as text at the right."""
    rows = []
    for line in lines:
        reason = rf" && \text{{{escaped(line.reason)}}}" if line.reason else ""
        rows.append(f"  {line.lhs} &= {line.rhs}{reason}")
    name = "align*" if starred else "aligned"
    return rf"\begin{{{name}}}" + "\n" + " \\\\\n".join(rows) + "\n" + rf"\end{{{name}}}"


_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def escaped(sentence: str) -> str:
    """Plain words as LaTeX text."""
    return "".join(_SPECIAL.get(c, c) for c in sentence)
