"""Finds the layers that a command line names: built in, in a user's file, or an expression."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mbp.api import Layer, derive_expression, fixing_all_but, one_off_layer
from mbp.definition import Definition
from mbp.derive.derivation import Derivation
from mbp.derive.hessian import second_derivative
from mbp.errors import MbpError
from mbp.layers import registry
from mbp.rulebook import RULEBOOK


@dataclass(frozen=True)
class Target:
    """A layer that was asked for; a `one_off` scalar expression has cotangent 1."""

    layer: Layer
    one_off: bool = False

    def derivation(self, wrt: str | None, order: int) -> Derivation:
        """The derivation in all inputs or in one, or that of its backward pass if `order` is 2.

        Raises MbpError for no such input.
        """
        if self.one_off:
            definition = self.layer.definition
            first = derive_expression(
                definition if wrt is None else fixing_all_but(definition, wrt)
            )
        else:
            first = self.layer.derive(wrt)
        return first if order == 1 else second_derivative(first)


def targets(
    names: Sequence[str],
    expression: str | None,
    let: Sequence[str],
    *,
    every: bool = False,
    name: str | None = None,
) -> list[Target]:
    """The layers named on the command line, in its order; `every` gives all built-in ones.

    Raises MbpError for what cannot be found, for no target and for kinds of target mixed.
    """
    given = {"TARGET": bool(names), "-e": expression is not None, "--all": every}
    kinds = [kind for kind, there in given.items() if there]
    if len(kinds) != 1:
        found = f"; here are {' and '.join(kinds)}" if kinds else ""
        raise MbpError(f"name a layer, FILE.py:NAME, or -e EXPR with --let 'X: m n'{found}")
    if expression is None:
        if let:
            raise MbpError("--let declares the variables of -e EXPR; a layer has its own")
        if every:
            return [Target(layer) for layer in registry().values()]
        return [Target(named(target)) for target in names]
    if not let:
        raise MbpError("declare the variables of -e EXPR, as in --let 'X: m n'")
    layer = one_off_layer(expression, declarations(let), name or "expression")
    return [Target(layer, one_off=True)]


def declarations(let: Sequence[str]) -> dict[str, str]:
    """Declarations by name from texts such as 'F: m d'; raises MbpError for any other form."""
    found: dict[str, str] = {}
    for text in let:
        name, colon, declaration = text.partition(":")
        name = name.strip()
        if not colon:
            raise MbpError("a variable is declared as --let 'F: m d'", text=text, column=len(text))
        if name in found:
            raise MbpError(f"--let declares {name} twice")
        found[name] = declaration.strip()
    return found


def named(target: str) -> Layer:
    """The layer called `target`, or FILE.py:NAME. Raises MbpError when there is none."""
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(".py"):
        return _layer_of_file(Path(path), name)
    if target.endswith(".py"):
        raise MbpError(f"say which layer of {target}: {target}:NAME")
    layers = registry()
    if target in layers:
        return layers[target]
    if target in RULEBOOK.decompositions:
        return _layer_of_rule(target)
    known = [*layers, *RULEBOOK.decompositions]
    near = difflib.get_close_matches(target, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(layers)}"
    raise MbpError(f"unknown layer {target!r}; {hint}")


def _layer_of_rule(name: str) -> Layer:
    rule = RULEBOOK.decompositions[name]
    inputs = {x.name: x for x in rule.inputs}
    outputs = RULEBOOK.call(name, *rule.inputs)
    letters = [Y.name for Y in rule.outputs]
    doc = f"{name}: {'; '.join(rule_equations(name))}"
    return Layer(Definition(name, inputs, dict(zip(letters, outputs, strict=True)), doc=doc))


def rule_equations(name: str) -> list[str]:
    """The defining equations of a decomposition as text."""
    return [f"{left} = {right}" for left, right in RULEBOOK.decompositions[name].equations]


def _layer_of_file(path: Path, name: str) -> Layer:
    if not path.is_file():
        raise MbpError(f"{path}: no such file")
    content = vars(_executed(path))
    layer = content.get(name)
    if isinstance(layer, Layer):
        return layer
    there = ", ".join(key for key, value in content.items() if isinstance(value, Layer)) or "none"
    what = "is no layer" if name in content else "is not defined"
    raise MbpError(f"{path}: {name!r} {what} there; its layers are: {there}")


def _executed(path: Path) -> ModuleType:
    """The user's file as a module; what it prints goes to stderr, for stdout is the answer's."""
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is the user's: leaving is a fault as well
        raise _fault(path, error) from error
    finally:
        sys.path.remove(folder)
    return module


def _fault(path: Path, error: BaseException) -> MbpError:
    own = str(path.resolve())
    if isinstance(error, SyntaxError) and error.filename == own:
        return MbpError(f"{path}:{error.lineno}: {error.msg}")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == own]
    place = f"{path}:{lines[-1]}" if lines else str(path)
    if isinstance(error, MbpError):
        return MbpError(f"{place}: {error.message}", text=error.text, column=error.column)
    said = ": ".join(filter(None, [type(error).__name__, str(error).partition("\n")[0]]))
    return MbpError(f"{place}: {said}")
