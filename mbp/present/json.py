"""A derivation as one JSON object, every formula in the expression grammar."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import sympy as sp

from mbp.derive.derivation import Derivation, Step
from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import Expr, Kernel, Named, Output
from mbp.expr.text import text
from mbp.invariants.declare import declaration_text
from mbp.present.entries import entries
from mbp.present.page import Page, page
from mbp.present.text import entry_rows

_CONSTANTS: dict[Expr, str] = {build.number(sp.pi): repr(math.pi)}
"""The numbers that have a name here but none in the grammar."""


def rendered(derivation: Derivation) -> str:
    """The derivation as JSON text; the object's keys are those of the command line's contract."""
    return json.dumps(data(derivation), indent=2, ensure_ascii=False)


def data(derivation: Derivation) -> dict[str, Any]:
    """The derivation as plain lists, dictionaries and texts.

    A line of the proof that is pure text joins the note of the formula after it.
    """
    shown = page(derivation, masks=True)
    shown = replace(shown, names={**shown.names, **_CONSTANTS})
    return {
        "layer": shown.definition.name,
        "inputs": shown.inputs,
        "outputs": shown.outputs,
        "cotangents": {name: G.name for name, G in shown.cotangents.items()},
        "variations": {name: shown.text(A) for name, A in shown.variations.items()},
        "gradients": {name: shown.text(A) for name, A in shown.gradients.items()},
        "where": {name: _definition(shown, node) for name, node in shown.where.items()},
        "conditions": list(shown.conditions),
        "steps": _steps(shown),
    }


def _definition(shown: Page, node: Expr) -> dict[str, Any]:
    if isinstance(node, Kernel):
        entry, diagonal = entries(node, shown.names).text
        shape = f"{node.rows} {node.cols}" if node.cols != ONE else f"{node.rows}"
        return {"kind": "kernel", "shape": shape, "entry": entry, "diagonal": diagonal}
    if isinstance(node, Named):
        return {
            "kind": "expression",
            "of": shown.spelled(node, text),
            "declaration": declaration_text(node, node.properties),
        }
    assert isinstance(node, Output)
    operands = ", ".join(map(shown.text, node.args))
    return {
        "kind": "output",
        "of": f"{node.rule}({operands})",
        "index": node.index,
        "declaration": declaration_text(node, node.properties),
    }


def _steps(shown: Page) -> list[dict[str, Any]]:
    steps = []
    said: list[str] = []
    for step in shown.steps:
        said += [word for word in (step.heading, step.note) if word]
        if step.entries is not None:
            rows = "; ".join(f"{lhs} = {rhs}" for lhs, rhs in entry_rows(shown, step))
            said.append(f"{step.entries.head}: {rows}")
        if step.lhs is None or step.rhs is None:
            continue
        steps.append(_step(shown, step, said))
        said = []
    return steps


def _step(shown: Page, step: Step, said: list[str]) -> dict[str, Any]:
    lhs, rhs = shown.sides(step, text)
    return {
        "lhs": lhs,
        "rhs": rhs,
        "by": list(step.by),
        "note": ". ".join(word.rstrip(".") for word in said),
    }
