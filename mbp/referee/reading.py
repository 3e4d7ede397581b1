"""Reads claims as users write them: a layer, an expression or an equation, and a formula."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mbp.api import Layer, one_off_layer
from mbp.definition import Definition
from mbp.derive.deriver import cotangent_names, derive
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.expr.parser import FUNCTION_NAMES
from mbp.invariants.declare import check_name, declare
from mbp.invariants.infer import is_
from mbp.present.naming import named
from mbp.present.page import page
from mbp.referee.kernels import defined
from mbp.referee.statement import Setting
from mbp.referee.verdicts import Statement
from mbp.rulebook import RULEBOOK
from mbp.targets import named as named_layer

_NAME = re.compile(r"[^\W\d]\w*")


def equation_statements(
    text: str, declarations: Mapping[str, str], where: Sequence[str]
) -> list[Statement]:
    """The statements of "LHS == RHS", or of a chain of equalities; raises MbpError."""
    inputs = {name: declare(name, declaration) for name, declaration in declarations.items()}
    setting = _with_kernels(Setting(inputs), where)
    first, *others = (side.strip() for side in text.split("=="))
    if not others:
        raise MbpError("an identity is written 'LHS == RHS'", text=text, column=len(text))
    return [Statement(setting, other, first) for other in others]


def layer_statements(
    target: str | Layer, declarations: Mapping[str, str], *, gradient: str | None,
    variation: str | None, formula: str, where: Sequence[str],
) -> list[Statement]:  # fmt: skip
    """The statement that a gradient or variation is `formula`; raises MbpError.

    `target` is a layer, the name of one, or an expression in the variables declared.
    """
    one_off = isinstance(target, str) and bool(declarations)
    definition = _layer(target, declarations).definition
    setting = _with_kernels(_setting(definition, [formula, *where], one_off), where)
    if variation is not None:
        if variation not in definition.outputs:
            known = ", ".join(definition.outputs)
            raise MbpError(f"there is no output {variation!r}; there are {known}")
        return [Statement(setting, formula, build.variation(definition.outputs[variation]))]
    if gradient not in definition.inputs:
        known = ", ".join(definition.inputs)
        raise MbpError(f"there is no input {gradient!r}; there are {known}")
    if gradient not in definition.differentiable:
        raise MbpError(f"{gradient} is constant, so there is no gradient in it")
    return [Statement(setting, formula, None, gradient)]


def _layer(target: str | Layer, declarations: Mapping[str, str]) -> Layer:
    if isinstance(target, Layer):
        if declarations:
            raise MbpError(f"the layer {target.name} declares its own variables")
        return target
    if declarations:
        return one_off_layer(target, declarations, "expression")
    return named_layer(target)


def _setting(definition: Definition, texts: Sequence[str], one_off: bool) -> Setting:
    cotangents: dict[str, Expr] = {}
    used = _words(texts)
    for name, letter in cotangent_names(definition.outputs).items():
        Y = definition.outputs[name]
        # A scalar's gradient that names no cotangent is the textbook's, with cotangent 1.
        textbook = len(definition.outputs) == 1 and Y.is_scalar and (one_off or letter not in used)
        cotangents[name] = build.number(1) if textbook else build.var(letter, *Y.shape)
    setting = Setting(definition.inputs, definition.outputs, cotangents)
    letters = _aliases(definition.outputs, setting.names)
    unknown = used - {*setting.names, *letters, *FUNCTION_NAMES, *RULEBOOK.functions}
    if unknown:
        found = _letters_of_derivation(definition)
        letters |= {name: A for name, A in found.items() if name not in setting.names}
        letters |= _aliases(found, {**setting.names, **letters})
    return replace(setting, letters=letters)


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _NAME.findall(text)}


def _aliases(letters: Mapping[str, Expr], taken: Mapping[str, Expr]) -> dict[str, Expr]:
    """The small letter of a diagonal matrix stands for its diagonal as a column."""
    return {
        name.lower(): build.diag(A)
        for name, A in letters.items()
        if not A.is_scalar and is_(A, "diagonal") and name.lower() not in taken
    }


def _letters_of_derivation(definition: Definition) -> dict[str, Expr]:
    """The decompositions' outputs and kernels by the names that the derivation prints."""
    try:
        return dict(page(derive(definition), masks=True).where)
    except MbpError:
        return named(definition.outputs.values(), definition.inputs, definition.outputs, {}, {})


def _with_kernels(setting: Setting, where: Sequence[str]) -> Setting:
    letters = dict(setting.letters)
    for text in where:
        name, K = defined(text, {**letters, **setting.names})
        check_name(name)
        if name in setting.inputs:
            raise MbpError(f"{name} names both an input and a kernel; rename one")
        letters[name] = K
    return replace(setting, letters=letters)
