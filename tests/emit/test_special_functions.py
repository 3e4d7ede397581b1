"""Functions that a target has, or has a formula for, and those it refuses by name."""

from __future__ import annotations

import pytest

import mbp
from mbp.errors import MbpError


@pytest.mark.parametrize(
    "text", ["besselj3(x)", "besseli2(x)", "besselk1(x)", "erfinv(tanh(x) / 2)"]
)
def test_a_module_with_a_special_function_is_right(text):
    assert mbp.Layer.from_text(text, x="n positive").check().passed


def test_a_bessel_function_of_a_matrix_is_right():
    assert mbp.Layer.from_text('matfun("besselj0(x)", A)', A="n n symmetric").check().passed


def test_a_function_that_the_target_lacks_is_named_with_what_there_is():
    with pytest.raises(MbpError, match=r"torch target has no function airyai.*erfinv"):
        mbp.Layer.from_text("airyai(x)", x="n").compile()


@pytest.mark.parametrize("target", ["torch", "numpy", "jax"])
@pytest.mark.parametrize(
    ("text", "declarations"),
    [
        ("tr(unvec(x, n, n) @ unvec(x, n, n))", {"x": "n*n"}),
        ("sumsq(unvec(x, m, n) @ b)", {"x": "m*n", "b": "n"}),
        ("sumsq(kron(X, eye(n)) @ b)", {"X": "k k", "b": "k*n"}),
    ],
)
def test_a_dimension_is_read_from_a_product(text, declarations, target):
    assert mbp.Layer.from_text(text, **declarations).check(target=target).passed
