"""A derivation as Markdown with LaTeX formulas between dollar signs."""

from __future__ import annotations

from mbp.derive.derivation import Derivation
from mbp.present.latex import aligned
from mbp.present.lines import parts


def rendered(derivation: Derivation) -> str:
    """The derivation as Markdown that ends in a line break."""
    blocks = []
    for k, part in enumerate(parts(derivation)):
        if part.title:
            blocks.append(f"{'##' if k == 0 else '###'} {_escaped(part.title)}")
        for item in part.items:
            if isinstance(item, str):
                blocks.append(_escaped(item))
            elif item:
                blocks.append(f"$$\n{aligned(item, starred=False)}\n$$")
    return "\n\n".join(blocks) + "\n"


def _escaped(sentence: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>$" else c for c in sentence)
