"""Gradients of random well-typed expressions agree with autograd, forward with reverse mode."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from mbp.expr.nodes import Expr, variables
from mbp.expr.parser import parse
from mbp.rulebook import RULEBOOK
from tests.agreement import derived, disagreement
from tests.strategies import VARIABLES, expressions


# Shrinking would take longer than the test; the seed in the message is enough to repeat it.
@settings(
    max_examples=1000,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(Y=expressions(depth=3), seed=st.integers(0, 2**32 - 1))
def test_gradient_agrees_with_autograd_and_with_the_variation(Y: Expr, seed: int) -> None:
    assume(variables(Y))
    assert disagreement(derived(Y), seed) is None


@pytest.mark.parametrize(
    "text",
    [
        "sqrtm((abs(B) * P).T @ (abs(B) * P) + eye(n))",
        'matfun("sin", inv(R @ R).T @ (hstack(C ** 3, kron_left(kron(X, X), Y)) @ vstack(R, W.T)).T'
        " @ sym(C) @ hstack(C ** 3, kron_left(kron(X, X), Y)) @ vstack(R, W.T) @ inv(R @ R))",
    ],
)
def test_symmetric_arguments_stay_so_in_other_forms(text: str) -> None:
    assert disagreement(derived(parse(text, VARIABLES, RULEBOOK.functions)), 0) is None
