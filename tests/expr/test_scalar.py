"""Scalar functions of SymPy and of the user's own, elementwise and of matrices."""

import numpy as np
import pytest
import sympy as sp

import mbp
from mbp.numeric.evaluate import evaluate

x, z = sp.symbols("x z")
ENTRIES = np.array([[0.3, 0.7, 1.3], [2.4, 0.9, 0.2]])
STEP = 1e-4

FUNCTIONS = [
    sp.sin, sp.sec, sp.coth, sp.sinc, sp.loggamma, sp.digamma, sp.LambertW, sp.Si,
    sp.Lambda(z, z / (1 + z**2)), sp.exp(-(x**2)) * sp.erf(x), sp.Max(x, 1, 2 - x), sp.Min(x, 1),
    sp.polygamma(2, x), sp.besselj(0, x), sp.besselj(3, x), sp.besselk(2, x), x ** sp.S.Half,
    sp.cbrt(x), sp.log(x, 2), sp.pi ** x,
    sp.Piecewise((x**2 / 2, abs(x) < 1), (abs(x) - sp.S.Half, True)),
    "Piecewise((x**2/2, Abs(x) < 1), (Abs(x) - 1/2, True))",
    "x * exp(-x**2)", "sech", "polygamma2", "cot(x) + atan(1/x)",
]  # fmt: skip


def value_of(g, entry):
    """g at a number, by SymPy alone."""
    if isinstance(g, str):
        g = sp.polygamma(2, x) if g == "polygamma2" else sp.sympify(g if "x" in g else f"{g}(x)")
    if isinstance(g, type | sp.Lambda):
        return float(g(entry))
    return float(g.subs(x, entry).evalf(25))


@pytest.mark.parametrize("g", FUNCTIONS, ids=str)
def test_a_sympy_function_acts_on_each_entry_and_is_differentiated(g):
    X = mbp.parse("X", X="2 3")
    Y = mbp.apply(g, X)
    expected = [[value_of(g, entry) for entry in row] for row in ENTRIES]
    np.testing.assert_allclose(evaluate(Y, {X: ENTRIES}), expected, rtol=1e-10)
    slope = evaluate(mbp.grad(mbp.sum(Y), wrt="X"), {X: ENTRIES})
    ahead, behind = (
        np.vectorize(lambda entry, h=h: value_of(g, entry + h))(ENTRIES) for h in (STEP, -STEP)
    )
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * STEP), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", ["Piecewise(x)", "Piecewise((x, x))", "Piecewise((x, 1 < x < 2))"])
def test_a_piece_is_a_value_and_an_inequality(text):
    with pytest.raises(mbp.MbpError, match="a piece is"):
        mbp.parse(f'apply("{text}", X)', X="m n")


@pytest.mark.parametrize("text", ['apply("x/(1 + x**2)", X)', "sec(X)", "besselj0(X)", "cot(X).T"])
def test_texts_apply_functions_of_sympy(text):
    Y = mbp.parse(text, X="m n")
    assert mbp.parse(str(Y), X="m n") is Y


@pytest.mark.parametrize("g", [sp.besselj(0, x), sp.sec(x), sp.loggamma, sp.Lambda(z, sp.atan(z))])
def test_a_sympy_function_of_a_matrix_prints_and_parses_with_its_derivative(g):
    A = mbp.parse("A", A="n n positive_definite")
    Y = mbp.matfun(g, A)
    assert mbp.parse(str(Y), A="n n positive_definite") is Y
    slope = mbp.grad(mbp.tr(Y), wrt="A")
    assert mbp.parse(str(slope), A="n n positive_definite") is slope


def test_a_function_of_two_variables_is_refused():
    with pytest.raises(mbp.MbpError, match="one variable"):
        mbp.apply(x * z, mbp.parse("X", X="m n"))


def test_a_layer_with_a_function_of_ones_own_is_emitted_and_checked():
    layer = mbp.Layer.from_text('apply("x/(1 + x**2)", X) @ y', X="m n", y="n")
    assert layer.check().passed
