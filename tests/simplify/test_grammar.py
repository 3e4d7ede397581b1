"""Simplification keeps the value of random expressions of the whole grammar."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.numeric.evaluate import evaluate
from mbp.simplify import normal, simplify
from tests.simplify.test_derivations import value
from tests.strategies import VARIABLES, expressions

RNG = np.random.default_rng(0)
SIZED = {variable: value(variable, RNG) for variable in VARIABLES.values()}


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(expressions(depth=3), st.sampled_from([None, "sym", "skew"]))
def test_value_is_kept(e: Expr, part: str | None) -> None:
    if part is not None and e.is_square:
        e = build.part(part, e)
    with np.errstate(all="ignore"):
        before = evaluate(e, SIZED)
    assume(np.all(np.isfinite(before)) and np.abs(before).max() < 1e6)
    for f in (normal(e), simplify(e)):
        after = evaluate(f, SIZED)
        assert np.allclose(before, after, rtol=1e-6, atol=1e-7 * (1 + np.abs(before).max())), (
            f"{e}\n  became {f}"
        )
