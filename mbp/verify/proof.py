"""Evaluates a derivation on random admissible instances: every line, the adjoint, the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mbp.derive.derivation import Derivation, Step
from mbp.expr.nodes import Expr, Variation, topological, variables
from mbp.numeric.arithmetic import Arithmetic, Array, multiprecision
from mbp.numeric.evaluate import Environment, Interpreter
from mbp.verify.differences import Instance, directional_derivatives, random_instance

_DIGITS = 50
_NOISE = 1e-20
_MOST_INSTANCES = 8


def verify_derivation(
    derivation: Derivation, seed: int = 0, instances: int = 2
) -> list[tuple[Step, float]]:
    """Each step that states an equation, with the largest relative error of its two sides.

    On random admissible instances in 50 digits, enough of them to give every line a value. The
    variations of inputs are random tangent vectors; those of outputs and of named expressions are
    numeric derivatives along admissible curves, never a derived formula. Raises MbpError for a
    step with a letter of no known value.
    """
    stated = [step for step in derivation.steps if step.lhs is not None and step.rhs is not None]
    errors: dict[int, float] = {}
    rng = np.random.default_rng(seed)
    for k in range(_MOST_INSTANCES):
        if k >= instances and len(errors) == len(stated):
            break
        env = _witnessed(derivation, rng, tall=k % 2 == 0)
        interpreter = Interpreter(env, multiprecision(_DIGITS))
        for line, step in enumerate(stated):
            assert step.lhs is not None and step.rhs is not None
            try:
                error = relative_error(step.lhs, step.rhs, interpreter)
            except ZeroDivisionError:  # a line on the way may have poles that its result has not
                continue
            errors[line] = max(errors.get(line, 0.0), error)
    return [(step, errors.get(line, float("inf"))) for line, step in enumerate(stated)]


def relative_error(lhs: Expr, rhs: Expr, interpreter: Interpreter) -> float:
    """‖lhs − rhs‖ relative to the larger side; to the largest ingredient where both vanish."""
    at = interpreter.arithmetic
    left, right = interpreter.value(lhs), interpreter.value(rhs)
    size = max(at.norm(left), at.norm(right))
    largest = max(at.norm(interpreter.value(node)) for node in topological(lhs, rhs))
    if size <= _NOISE * largest:
        size = largest
    error = at.norm(left - right)
    if not np.isfinite(error):
        return float("inf")
    return error / size if size else 0.0


def _witnessed(derivation: Derivation, rng: np.random.Generator, tall: bool) -> Environment:
    """Values of inputs, outputs, cotangents and of every variation that the proof speaks of."""
    definition = derivation.definition
    instance = instance_of(derivation, rng, tall)
    base = Interpreter(instance.at(0.0), instance.arithmetic)
    env: dict[Any, Any] = dict(instance.at(0.0))
    letters: dict[Expr, Expr] = {}
    sides = [side for step in derivation.steps for side in (step.lhs, step.rhs) if side is not None]
    for x in variables(*sides):
        if x.name in definition.outputs:
            letters[x] = definition.outputs[x.name]
            env[x] = base.value(letters[x])
    for G in derivation.cotangents.values():
        env[G] = _random(G, base, rng)
    varied = [node for node in topological(*sides) if isinstance(node, Variation)]
    inputs: dict[Expr, Array] = dict(instance.direction.items())
    named = [node for node in varied if node.args[0] not in inputs]
    meant = [letters.get(node.args[0], node.args[0]) for node in named]
    env |= dict(zip(named, directional_derivatives(meant, instance), strict=True))
    env |= {node: inputs[node.args[0]] for node in varied if node.args[0] in inputs}
    return env


def instance_of(derivation: Derivation, rng: np.random.Generator, tall: bool) -> Instance:
    """A random admissible instance of a derivation's inputs where its layer is finite."""
    definition = derivation.definition
    exprs = [*definition.outputs.values(), *definition.inputs.values()]
    return random_instance(exprs, rng, multiprecision(_DIGITS), tall)


def _random(x: Expr, base: Interpreter, rng: np.random.Generator) -> Array:
    return base.arithmetic.matrix(rng.normal(size=(base.size(x.rows), base.size(x.cols))))


def adjoint_error(derivation: Derivation, seed: int = 0) -> float:
    """The relative error of Σ ⟨G_Y, L_Y(dX)⟩ = Σ ⟨gradient, dX⟩ for random cotangents and dX.

    The dot-product test of the derived variation against the derived gradient, in 50 digits.
    """
    return max(_adjoint_errors(derivation, seed, numeric=False))


def gradient_error(derivation: Derivation, seed: int = 0) -> float:
    """The relative error of the derived gradient against finite differences along dX.

    Compares Σ ⟨gradient, dX⟩ with Σ ⟨G_Y, dY/dt⟩ along admissible curves, in 50 digits.
    """
    return max(_adjoint_errors(derivation, seed, numeric=True))


def _adjoint_errors(derivation: Derivation, seed: int, numeric: bool) -> Iterator[float]:
    rng = np.random.default_rng(seed)
    definition = derivation.definition
    for tall in (True, False):
        instance = instance_of(derivation, rng, tall)
        base = Interpreter(instance.at(0.0), instance.arithmetic)
        cotangents = {G: _random(G, base, rng) for G in derivation.cotangents.values()}
        tangents = {Variation(x): dX for x, dX in instance.direction.items()}
        at = Interpreter({**instance.at(0.0), **cotangents, **tangents}, instance.arithmetic)
        if numeric:
            varied = directional_derivatives(list(definition.outputs.values()), instance)
        else:
            varied = at.values(derivation.variations[name] for name in definition.outputs)
        forward = [
            (at.value(derivation.cotangents[name]), dY)
            for name, dY in zip(definition.outputs, varied, strict=True)
        ]
        backward = [
            (at.value(gradient), instance.direction[definition.inputs[name]])
            for name, gradient in derivation.gradients.items()
        ]
        yield _mismatch(forward, backward, instance.arithmetic)


def _mismatch(
    forward: list[tuple[Array, Array]], backward: list[tuple[Array, Array]], at: Arithmetic
) -> float:
    totals = [sum((A * B).sum() for A, B in pairs) for pairs in (forward, backward)]
    error = abs(float(totals[0] - totals[1]))
    if not np.isfinite(error):
        return float("inf")
    terms = [sum(float(abs(A * B).sum()) for A, B in pairs) for pairs in (forward, backward)]
    # Where the layer is locally constant both sides are noise, to be measured by what they meet.
    largest = max((at.norm(A) for pair in (*forward, *backward) for A in pair), default=0.0)
    size = max(terms) if max(terms) > _NOISE * largest else largest
    return error / size if size else 0.0
