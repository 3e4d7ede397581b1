"""A derivation as plain text: aligned formulas in the grammar, justifications at the right."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from mbp.derive.derivation import Derivation, Side, Step
from mbp.expr.nodes import Expr, Sum
from mbp.expr.text import text
from mbp.present.page import CONVENTION, Page, page

_WIDTH = 88
_FORMULA = 68
_WIDEST_LEFT = 24
_REASON = 80
"""Justifications stand in one column, unless a formula reaches beyond this one."""


def rendered(derivation: Derivation) -> str:
    """The derivation as text that ends in a line break."""
    shown = page(derivation)
    blocks = [
        list(_layer(shown)),
        *_proof(shown),
        list(_results(shown)),
        list(_where(shown)),
        list(_conditions(shown)),
        list(_convention(shown)),
    ]
    texts = ("\n".join(line.rstrip() for line in block) for block in blocks if block)
    return "\n\n".join(texts) + "\n"


def _layer(shown: Page) -> Iterator[str]:
    definition = shown.definition
    yield f"{definition.name}: {first_line(definition.doc)}" if definition.doc else definition.name
    yield ""
    declarations = {**shown.inputs, **shown.outputs}
    width = max(map(len, declarations))
    for name, declaration in shown.inputs.items():
        yield f"  {name:{width}} : {declaration}"
    for name, declaration in shown.outputs.items():
        yield f"  {name:{width}} : {declaration}   (output)"
    if shown.cotangents or not shown.starts_at_definition:
        yield ""
    if not shown.starts_at_definition:
        rows = [(name, shown.text(Y)) for name, Y in shown.definitions]
        rows += [
            (", ".join(call.names), shown.call_text(call))
            for call in shown.calls
            if set(call.outputs) & set(definition.outputs.values())
        ]
        yield from _equations(rows)
    for name, G in shown.cotangents.items():
        yield f"  {G.name} is the derivative of the loss with respect to {name}"


def _proof(shown: Page) -> Iterator[list[str]]:
    block: list[Step] = []
    for step in shown.steps:
        if step.heading:
            yield list(_block(shown, block))
            block = []
        block.append(step)
    yield list(_block(shown, block))


def _block(shown: Page, steps: list[Step]) -> Iterator[str]:
    formulas = [shown.sides(s, text) for s in steps if s.lhs is not None and s.rhs is not None]
    left = min(max((len(lhs) for lhs, _ in formulas), default=0), _WIDEST_LEFT)
    if not any(step.note or step.entries or step.lhs is not None for step in steps):
        return
    previous: Step | None = None
    lines: list[tuple[str, str]] = []
    for step in steps:
        if step.heading:
            lines += [(step.heading, ""), ("", "")]
        if step.lhs is None or step.rhs is None:
            lines += [(f"  {line}", "") for line in textwrap.wrap(step.note, _WIDTH)]
            lines += [(line, "") for line in _entries(shown, step)]
            previous = None
            continue
        lhs, rhs = shown.sides(step, text)
        lhs = "" if continues(previous, step) else lhs
        previous = step
        if len(lhs) > left:
            lines.append((f"  {lhs}", ""))
            lhs = ""
        broken = [rhs] if len(rhs) <= _FORMULA else list(wrapped(shown, step.rhs))
        for k, line in enumerate(broken):
            front = f"  {'' if k else lhs:{left}} {' ' if k else '='} {line}"
            lines.append((front, reason_of(step) if k == len(broken) - 1 else ""))
    fronts = [len(front) for front, reason in lines if reason and len(front) <= _REASON]
    column = max(fronts, default=0)
    for front, reason in lines:
        yield f"{front:{column}}   {reason}" if reason else front


def _entries(shown: Page, step: Step) -> Iterator[str]:
    if step.entries is None:
        return
    yield f"  {step.entries.head}:"
    yield from (f"  {line}" for line in _equations(list(entry_rows(shown, step))))


def entry_rows(shown: Page, step: Step) -> Iterator[tuple[str, str]]:
    """The equations of a step between entries, as text."""
    for lhs, rhs in shown.entries(step):
        yield _side(shown, lhs), _side(shown, rhs)


def _side(shown: Page, side: Side) -> str:
    if isinstance(side, tuple):
        return "".join(_side(shown, word) for word in side)
    return shown.text(side) if isinstance(side, Expr) else str(side)


def _results(shown: Page) -> Iterator[str]:
    if shown.variations:
        yield "Variation"
        yield from _formulas(shown, {f"d({name})": A for name, A in shown.variations.items()})
    if shown.variations and shown.gradients:
        yield ""
    if shown.gradients:
        yield "Gradient"
        yield from _formulas(shown, {f"dL/d{name}": A for name, A in shown.gradients.items()})


def _formulas(shown: Page, formulas: dict[str, Expr]) -> Iterator[str]:
    width = max(map(len, formulas))
    for name, formula in formulas.items():
        for k, line in enumerate(wrapped(shown, formula)):
            yield f"  {name if k == 0 else '':{width}} {'=' if k == 0 else ' '} {line}"


def _where(shown: Page) -> Iterator[str]:
    if not shown.where and not shown.letters:
        return
    yield "where"
    told = shown.abbreviations.items()
    rows = [(letter, shown.spelled(node, text)) for letter, node in told]
    for call in shown.calls:
        kinds = "; ".join(
            f"{name}: {' '.join(node.properties) or 'general'}"
            for name, node in zip(call.names, call.outputs, strict=True)
        )
        names = ", ".join(call.names)
        index = "" if len(call.names) == call.total else f"[{call.outputs[0].index}]"
        if index and len(call.names) > 1:
            indices = ", ".join(str(node.index) for node in call.outputs)
            index = f"[{indices}]"
        rows.append((names, f"{shown.call_text(call)}{index}   ({kinds})"))
    for name, kernel, entry in shown.kernels:
        off, on = entry.text
        at = "" if entry.is_uniform else f", and {on} at i = j"
        rows.append((f"{name}[i, j]", f"{off}{at}   ({kernel.rows}×{kernel.cols})"))
    yield from _equations(rows)


def _conditions(shown: Page) -> Iterator[str]:
    conditions = [
        f"{c}   ({meaning})" if (meaning := shown.meaning(c)) else c for c in shown.conditions
    ]
    for title, sentences in (("Holds when", conditions), ("Gauge", shown.gauges)):
        if sentences:
            yield title
            yield from (f"  {sentence}" for sentence in sentences)


def _convention(shown: Page) -> Iterator[str]:
    if not shown.projections:
        return
    yield from textwrap.wrap(CONVENTION, _WIDTH)
    for projection in shown.projections:
        yield f"  {projection.name} is {projection.prop}: M becomes {shown.text(projection.onto)}"


def _equations(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in rows), default=0)
    for name, right in rows:
        yield f"  {name:{width}} = {right}"


def wrapped(shown: Page, formula: Expr) -> Iterator[str]:
    """The formula's text, a long sum broken before its signs."""
    whole = shown.text(formula)
    if len(whole) <= _FORMULA or not isinstance(formula, Sum) or formula in shown.names:
        yield whole
        return
    line = shown.text(formula.args[0])
    for term in formula.args[1:]:
        piece = f"({shown.text(term)})" if isinstance(term, Sum) else shown.text(term)
        signed = f"- {piece[1:]}" if piece.startswith("-") else f"+ {piece}"
        if len(line) + len(signed) + 1 <= _FORMULA:
            line = f"{line} {signed}"
        else:
            yield line
            line = signed
    yield line


def reason_of(step: Step) -> str:
    """What justifies a line, in a few words."""
    by = f"by {', '.join(step.by)}" if step.by else ""
    return "; ".join(word for word in (by, step.note) if word)


def continues(previous: Step | None, step: Step) -> bool:
    """Whether a line goes on from the one before: the same left side, or from its right side."""
    return previous is not None and (step.lhs is previous.lhs or step.lhs is previous.rhs)


def first_line(doc: str) -> str:
    """The first sentence of a docstring."""
    return doc.strip().split("\n", 1)[0].strip()
