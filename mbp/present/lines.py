"""A derivation as titled parts of sentences and LaTeX formulas: what the rich formats share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mbp.derive.derivation import Derivation, Side, Step
from mbp.expr.latex import latex, letter, scalar_latex
from mbp.expr.nodes import Expr
from mbp.expr.parser import FUNCTION_NAMES
from mbp.present.page import CONVENTION, Page, page
from mbp.present.text import continues, first_line, reason_of


@dataclass(frozen=True)
class Line:
    """lhs = rhs in LaTeX; an empty lhs continues the line before."""

    lhs: str
    rhs: str
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """A titled part: sentences, and runs of lines that align with each other."""

    title: str
    items: tuple[str | list[Line], ...]


def parts(derivation: Derivation) -> tuple[Part, ...]:
    """The derivation part by part, the layer first, its proof, then its results."""
    shown = page(derivation)
    found = [
        _layer(shown),
        *_proof(shown),
        *_results(shown),
        _where(shown),
        *_conditions(shown),
        _convention(shown),
    ]
    return tuple(part for part in found if part.items)


def results(derivation: Derivation) -> tuple[Part, ...]:
    """Variations, gradients and what their names stand for, without the proof."""
    shown = page(derivation)
    return tuple(part for part in (*_results(shown), _where(shown)) if part.items)


def _layer(shown: Page) -> Part:
    definition = shown.definition
    rows = []
    if not shown.starts_at_definition:
        rows += [Line(letter(name), shown.latex(Y)) for name, Y in shown.definitions]
        rows += [
            Line(r",\ ".join(map(letter, call.names)), shown.call_latex(call))
            for call in shown.calls
            if set(call.outputs) & set(definition.outputs.values())
        ]
    declared = [f"{name}: {text}" for name, text in (*shown.inputs.items(), *shown.outputs.items())]
    sentences = [first_line(definition.doc)] if definition.doc else []
    loss = [
        f"{G.name} is the derivative of the loss with respect to {name}."
        for name, G in shown.cotangents.items()
    ]
    formulas = [rows] if rows else []
    return Part(definition.name, (*sentences, *formulas, "; ".join(declared) + ".", *loss))


def _proof(shown: Page) -> Iterator[Part]:
    title, items = "", list[str | list[Line]]()
    previous: Step | None = None
    for step in shown.steps:
        if step.heading:
            if items:
                yield Part(title, tuple(items))
            title, items, previous = step.heading, [], None
        if step.lhs is None or step.rhs is None:
            if step.note:
                items.append(step.note)
            if step.entries is not None:
                # A display of its own for each class of entries.
                items.append(f"{step.entries.head[0].upper()}{step.entries.head[1:]}:")
                rows = shown.entries(step)
                items.append([Line(_side(shown, lhs), _side(shown, rhs)) for lhs, rhs in rows])
                previous = None
            continue
        lhs, rhs = shown.sides(step, latex)
        line = Line("" if continues(previous, step) else lhs, rhs, reason_of(step))
        previous = step
        if items and isinstance(items[-1], list):
            items[-1].append(line)
        else:
            items.append([line])
    if items:
        yield Part(title, tuple(items))


def _side(shown: Page, side: Side) -> str:
    """A side of an equation between entries."""
    if isinstance(side, tuple):
        return "".join(_side(shown, word) for word in side)
    if isinstance(side, Expr):
        return shown.latex(side)
    if isinstance(side, str):
        return _in_letters(side)
    names = {s: _in_letters(s.name) for s in side.free_symbols}
    return scalar_latex(side, names)


def _in_letters(words: str) -> str:
    """Letters with δ, d, ᵀ and indices, such as dU = (U | N) δU and δX_ij, as LaTeX."""
    shown = re.sub(r"[^\W_ᵀ][^\Wᵀ]*", lambda m: _letter_of(m[0]), words)
    for sign, command in (("ᵀ", r"^{\top}"), (" | ", r" \mid "), ("[", "_{"), ("]", "}")):
        shown = shown.replace(sign, command)
    return shown


def _letter_of(word: str) -> str:
    found = re.fullmatch(r"(δ|d(?=[A-Z]))?(.*?)(_(?:ij|ji|ii))?", word)
    assert found is not None
    front, name, index = found.groups()
    shown = rf"\operatorname{{{name}}}" if name in FUNCTION_NAMES | {"range"} else letter(name)
    if index and "_" in shown:
        shown = rf"\left({shown}\right)"
    index = f"_{{{index[1:]}}}" if index else ""
    return ("\\delta " if front == "δ" else front or "") + shown + index


def _results(shown: Page) -> Iterator[Part]:
    variations = [Line(f"d{letter(name)}", shown.latex(A)) for name, A in shown.variations.items()]
    gradients = [
        Line(rf"\frac{{\partial L}}{{\partial {letter(name)}}}", shown.latex(A))
        for name, A in shown.gradients.items()
    ]
    if variations:
        yield Part("Variation", (variations,))
    if gradients:
        yield Part("Gradient", (gradients,))


def _where(shown: Page) -> Part:
    told = shown.abbreviations.items()
    rows = [Line(letter(name), shown.spelled(A, latex)) for name, A in told]
    for call in shown.calls:
        names = r",\ ".join(map(letter, call.names))
        kinds = "; ".join(
            f"{name} {' '.join(node.properties).replace('_', ' ')}".strip()
            for name, node in zip(call.names, call.outputs, strict=True)
        )
        rows.append(Line(names, shown.call_latex(call), kinds))
    for name, _, entry in shown.kernels:
        off, on = entry.latex
        rhs = off
        if not entry.is_uniform:
            rhs = rf"\begin{{cases}} {off} & i \neq j \\ {on} & i = j \end{{cases}}"
        front = letter(name)
        front = rf"\left({front}\right)" if "_" in front else front
        rows.append(Line(f"{front}_{{ij}}", rhs))
    return Part("Where", (rows,) if rows else ())


def _conditions(shown: Page) -> Iterator[Part]:
    rows = [
        f"{c}, {meaning}." if (meaning := shown.meaning(c)) else f"{c}." for c in shown.conditions
    ]
    yield Part("Holds when", tuple(rows))
    yield Part("Gauge", tuple(f"{sentence}." for sentence in shown.gauges))


def _convention(shown: Page) -> Part:
    if not shown.projections:
        return Part("Projection", ())
    rows = [
        Line(
            rf"\frac{{\partial L}}{{\partial {letter(projection.name)}}}",
            shown.latex(projection.onto),
            f"{projection.name} {projection.prop.replace('_', ' ')}, M its coefficient",
        )
        for projection in shown.projections
    ]
    return Part("Projection", (CONVENTION, rows))
