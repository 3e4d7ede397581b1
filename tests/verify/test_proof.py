"""Derivations of the built-in layers are right line by line, and wrong ones are found out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mbp.layers
from mbp.api import Layer
from mbp.definition import Definition
from mbp.derive.deriver import derive
from mbp.expr import build
from mbp.expr.nodes import Expr, variables
from mbp.verify.proof import adjoint_error, gradient_error, verify_derivation
from tests.strategies import expressions

TOLERANCE = 1e-10
LAYERS = {
    name: layer for name, layer in vars(mbp.layers).items() if isinstance(layer, Layer)
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_every_line_of_a_built_in_layers_proof_holds(name: str) -> None:
    lines = verify_derivation(LAYERS[name].derive())
    assert len(lines) >= 4
    assert max(error for _, error in lines) <= TOLERANCE


@pytest.mark.parametrize("name", LAYERS)
def test_variation_and_gradient_are_adjoint_and_agree_with_finite_differences(name: str) -> None:
    derivation = LAYERS[name].derive()
    assert adjoint_error(derivation) <= TOLERANCE
    assert gradient_error(derivation) <= TOLERANCE


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions(depth=2))
def test_every_line_of_a_random_expressions_proof_holds(Y: Expr) -> None:
    inputs = {x.name: x for x in variables(Y)}
    if not inputs:
        return
    derivation = derive(Definition("random", inputs, {"Z": Y}))
    for step, error in verify_derivation(derivation, instances=1):
        assert error <= TOLERANCE, f"{step.lhs} = {step.rhs}"
    assert gradient_error(derivation) <= TOLERANCE


def test_a_wrong_line_is_found() -> None:
    derivation = LAYERS["svd"].derive()
    for k, step in enumerate(derivation.steps):
        if step.lhs is None or step.rhs is None or build.is_zero(step.lhs):
            continue
        wrong = replace(step, rhs=build.number(1.000001) * step.rhs)
        steps = (*derivation.steps[:k], wrong, *derivation.steps[k + 1 :])
        found = dict(verify_derivation(replace(derivation, steps=steps), instances=1))
        assert found[wrong] > 1e-8, step


@pytest.mark.parametrize("name", ["o2p", "eig", "ncuts_j2", "projector"])
def test_a_wrong_gradient_is_found(name: str) -> None:
    derivation = LAYERS[name].derive()
    x = next(iter(derivation.gradients))
    for factor in (-1, 2, 1.000001):
        wrong = {**derivation.gradients, x: build.number(factor) * derivation.gradients[x]}
        assert adjoint_error(replace(derivation, gradients=wrong)) > 1e-8
        assert gradient_error(replace(derivation, gradients=wrong)) > 1e-8


def test_a_gradient_that_ignores_the_structure_of_its_input_is_not_told_apart() -> None:
    # Only admissible variations are tried, and on those both functionals agree.
    derivation = LAYERS["eig"].derive()
    unprojected = replace(derivation, gradients=derivation.functionals)
    assert adjoint_error(unprojected) <= TOLERANCE


def test_verification_is_reproducible() -> None:
    derivation = LAYERS["o2p"].derive()
    first, second = (verify_derivation(derivation, seed=3) for _ in range(2))
    assert [error for _, error in first] == [error for _, error in second]
    assert np.isfinite([error for _, error in first]).all()
