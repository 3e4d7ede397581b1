"""A derivation as one self-contained HTML page with MathML: no script, nothing to download."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from latex2mathml.converter import convert

from mbp.derive.derivation import Derivation
from mbp.present.lines import Line, Part, parts

_STYLE = """
.mbp { --ink: #1c1e21; --soft: #6a7078; --rule: #d9dce0; --paper: #fdfdfb; --mark: #9a3412;
  color: var(--ink); background: var(--paper); max-width: 64rem; margin: 0 auto;
  padding: 1.5rem 2rem 3rem; font: 1rem/1.5 Charter, "Bitstream Charter", Georgia, serif; }
.mbp h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
.mbp h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; color: var(--mark); }
.mbp p { margin: .4rem 0; }
.mbp .formulas { overflow-x: auto; }
.mbp table { border-collapse: collapse; margin: .4rem 0; }
.mbp td { padding: .3rem .25rem; vertical-align: middle; white-space: nowrap; }
.mbp td.lhs { text-align: right; padding-left: 1rem; }
.mbp td.by { color: var(--soft); font-size: .85rem; padding-left: 2.5rem; white-space: normal; }
.mbp tr + tr td.by { border-top: 1px solid var(--rule); }
.mbp math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math; }
@media (prefers-color-scheme: dark) {
  .mbp { --ink: #e4e2dd; --soft: #9a9fa6; --rule: #3a3d42; --paper: #17181a; --mark: #f0a36b; } }
"""

_PAGE_STYLE = """
body { margin: 0; background: #fdfdfb; }
@media (prefers-color-scheme: dark) { body { background: #17181a; } }
"""


def rendered(derivation: Derivation, *, fragment: bool = False) -> str:
    """A whole page, or as a `fragment` its styled content alone."""
    first, *others = parts(derivation)
    lines = [*_part(first, "h1"), *(line for part in others for line in _part(part, "h2"))]
    content = "\n".join(lines)
    body = f'<style>{_STYLE}</style>\n<article class="mbp">\n{content}\n</article>'
    if fragment:
        return body
    title = escape(derivation.definition.name)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _part(part: Part, tag: str) -> Iterator[str]:
    if part.title:
        yield f"<{tag}>{escape(part.title)}</{tag}>"
    for item in part.items:
        if isinstance(item, str):
            yield f"<p>{escape(item)}</p>"
        elif item:
            rows = "\n".join(map(_row, item))
            yield f'<div class="formulas"><table>\n{rows}\n</table></div>'


def _row(line: Line) -> str:
    return (
        f'<tr><td class="lhs">{mathml(line.lhs) if line.lhs else ""}</td>'
        f"<td>{mathml('=')}</td><td>{mathml(line.rhs)}</td>"
        f'<td class="by">{escape(line.reason)}</td></tr>'
    )


def mathml(formula: str) -> str:
    """A LaTeX formula as MathML."""
    upright = re.sub(r"_\{(sym|skew|diag|left|right)\}", r"_{\\text{\1}}", formula)
    markup: str = convert(rf"\displaystyle {upright}")
    # The inner product's colon is a relation, which the converter takes for a letter.
    return markup.replace("<mi>:</mi>", '<mo lspace="0.28em" rspace="0.28em">:</mo>')
