"""The normal form is equal to the expression, canonical and stable."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mbp.api import parse
from mbp.expr.nodes import Expr
from mbp.numeric.evaluate import evaluate
from mbp.simplify import equal, normal, simplify
from tests.simplify.expressions import expressions, instance

CALM = settings(
    max_examples=600, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip


def same_value(e: Expr, f: Expr, seed: int) -> None:
    env = instance((e, f), seed)
    with np.errstate(all="ignore"):
        try:
            value = evaluate(e, env)
            nearby = evaluate(e, {x: (1 + 1e-9) * A for x, A in env.items()})
        except (np.linalg.LinAlgError, OverflowError):
            assume(False)
    size = np.max(np.abs(value))
    assume(np.all(np.isfinite(value)) and size < 1e6)
    # The range of what is zero but for rounding is noise.
    assume(np.max(np.abs(nearby - value)) < 1e-4 * (1 + size))
    other = evaluate(f, env)
    assert np.allclose(value, other, rtol=1e-7, atol=1e-7 * (1 + size)), (
        f"{e}\n  became {f}\n{value}\n{other}"
    )


@CALM
@given(expressions(), st.integers(0, 2**16))
def test_normal_form_has_the_same_value(e: Expr, seed: int) -> None:
    same_value(e, normal(e), seed)


@CALM
@given(expressions())
def test_normal_form_is_its_own_normal_form(e: Expr) -> None:
    assert normal(normal(e)) is normal(e)


@CALM
@given(expressions())
def test_transposing_twice_changes_nothing(e: Expr) -> None:
    assert normal(normal(e.T).T) is normal(e)


@CALM
@given(expressions(), st.integers(0, 2**16))
def test_simplified_form_has_the_same_value(e: Expr, seed: int) -> None:
    same_value(e, simplify(e), seed)


@CALM
@given(expressions())
def test_an_expression_equals_its_simplified_form(e: Expr) -> None:
    assert equal(e, simplify(e))


def test_a_row_equals_its_simplified_form_where_its_normal_form_is_another():
    e = parse("exp(sin(ones(1, m))) ** -1 @ (A * (sym(ones(m, m)) @ A))", A="m n")
    assert normal(e) is not normal(simplify(e))
    assert equal(e, simplify(e))
