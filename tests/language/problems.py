"""The derivative problems, and what is wrong with the answers: texts and compiled layers."""

from __future__ import annotations

import ast
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbp.api import Layer
from mbp.targets import Target
from tests.language.instances import SIZES, curve, point, projected, shape_of
from tests.language.interpreter import Interpreter

TOLERANCE = 1e-7
DIRECTIONS = 3
STEPS = (4e-3, 4e-4, 4e-5, 4e-6)
STENCIL = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
"""The weights of the central difference of sixth order."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A text over declared variables, of which those that occur in it are kept."""

    name: str
    text: str
    let: dict[str, str]

    @property
    def seed(self) -> int:
        """Tells the instances of problems apart."""
        return sum(self.name.encode())


def _problems() -> list[Problem]:
    with Path(__file__).with_name("problems.toml").open("rb") as file:
        groups = tomllib.load(file)
    found = []
    for group, table in groups.items():
        for k, text in enumerate(table["texts"]):
            tree = ast.walk(ast.parse(text, mode="eval"))
            used = {node.id for node in tree if isinstance(node, ast.Name)}
            let = {name: words for name, words in table["let"].items() if name in used}
            found.append(Problem(f"{group}:{k}", text, let))
    return found


PROBLEMS = _problems()


def _moves(declaration: str) -> bool:
    _, properties = shape_of(declaration)
    return not {"constant", "partition"} & set(properties)


def _instance(problem: Problem, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
    values = {name: point(words, rng) for name, words in problem.let.items()}
    Y = Interpreter(values, SIZES).value(problem.text)
    return values, rng.normal(size=Y.shape) if Y.size > 1 else np.ones((1, 1))


def _difference(problem: Problem, values: Arrays, name: str, G: np.ndarray,
                rng: np.random.Generator) -> tuple[np.ndarray, float]:  # fmt: skip
    """A random admissible variation of one input, and the derivative of G : Y along it."""
    dX, X = curve(problem.let[name], values[name], rng)

    def along(t: float) -> float:
        at = Interpreter({**values, name: X(t)}, SIZES)
        return float((G * at.value(problem.text)).sum())

    def quotient(h: float) -> float:
        return sum(w * (along(k * h) - along(-k * h)) / h for k, w in STENCIL.items())

    # Shorter steps only where a kink or a fast bend lies within the stencil.
    derivative = quotient(STEPS[0])
    for h in STEPS[1:]:
        coarser, derivative = derivative, quotient(h)
        if abs(coarser - derivative) <= TOLERANCE / 10 * max(1.0, abs(derivative)):
            break
    return dX, derivative


def _disagreement(problem: Problem, values: Arrays, G: np.ndarray, gradients: Arrays,
                  rng: np.random.Generator) -> str | None:  # fmt: skip
    for name, gradient in gradients.items():
        X = values[name]
        if gradient.shape != X.shape:
            return f"the gradient in {name} is {gradient.shape}, not {X.shape}"
        size = max(1.0, float(np.abs(gradient).max()))
        tangent = projected(problem.let[name], X, gradient)
        if not np.abs(tangent - gradient).max() <= TOLERANCE * size:
            return f"the gradient in {name} is not projected"
        for _ in range(DIRECTIONS):
            dX, expected = _difference(problem, values, name, G, rng)
            found = float((gradient * dX).sum())
            size = max(1.0, float(np.abs(gradient * dX).sum()))
            if not abs(found - expected) <= TOLERANCE * size:
                return f"d/d{name} is {expected:.12g} along a direction, not {found:.12g}"
    return None


def wrong(problem: Problem) -> str | None:
    """What is wrong with the JSON that the command line gives for `problem`, or None."""
    rng = np.random.default_rng(problem.seed)
    target = Target(Layer.from_text(problem.text, **problem.let), one_off=True)
    data = json.loads(target.derivation(None, 1).to_json())
    values, G = _instance(problem, rng)
    moving = {name for name, words in problem.let.items() if _moves(words)}
    if set(data["gradients"]) != moving:
        return f"gradients in {set(data['gradients'])}"
    known = {**values, **dict.fromkeys(data["cotangents"].values(), G)}
    interpreter = Interpreter(known, SIZES, data["where"])
    gradients = {name: interpreter.value(text) for name, text in data["gradients"].items()}
    found = _disagreement(problem, values, G, gradients, rng)
    return found and f"{found}\n    {data['gradients']} {data['where']}"


def wrong_compiled(problem: Problem) -> str | None:
    """What is wrong with the values and gradients of the compiled layer, or None."""
    import torch

    rng = np.random.default_rng(problem.seed)
    layer = Layer.from_text(problem.text, **problem.let)
    values, G = _instance(problem, rng)
    arguments = {
        name: torch.tensor(_as_passed(values[name], words), requires_grad=_moves(words))
        for name, words in problem.let.items()
    }
    Y = layer(**arguments)
    expected = Interpreter(values, SIZES).value(problem.text)
    value = Y.detach().numpy().reshape(expected.shape) if Y.numel() == expected.size else None
    if value is None or not np.allclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE):
        return f"the compiled value is {Y.detach().numpy()}, not {expected}"
    if Y.requires_grad:
        (Y * torch.from_numpy(G).reshape(Y.shape)).sum().backward()
    gradients = {}
    for name, argument in arguments.items():
        if _moves(problem.let[name]):
            given = np.zeros(argument.shape) if argument.grad is None else argument.grad.numpy()
            shape, properties = shape_of(problem.let[name])
            gradients[name] = np.diag(given) if "diagonal" in properties else given.reshape(shape)
    found = _disagreement(problem, values, G, gradients, rng)
    return found and f"compiled: {found}"


def _as_passed(value: np.ndarray, declaration: str) -> np.ndarray:
    """What a compiled layer takes: a diagonal's vector, a column as a vector, a scalar's number."""
    (rows, cols), properties = shape_of(declaration)
    if "diagonal" in properties:
        return np.diag(value).copy()
    if (rows, cols) == (1, 1):
        return value.reshape(())
    return value.reshape(rows) if cols == 1 else value
