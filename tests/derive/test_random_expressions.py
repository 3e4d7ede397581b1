"""Gradients of random well-typed expressions agree with autograd, forward with reverse mode."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from mbp.expr.nodes import Expr, variables
from tests.agreement import derived, disagreement
from tests.strategies import expressions


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
