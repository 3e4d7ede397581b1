"""Expressions survive the way to SymPy and back, and mean the same there."""

import numpy as np
import pytest
import sympy as sp

import mbp
from mbp.errors import MbpError
from mbp.numeric.arithmetic import FLOAT64
from mbp.numeric.evaluate import evaluate

DECLARED = {"X": "n n", "A": "n m", "S": "n n symmetric", "x": "n", "c": "scalar", "D": "n n"}
VARIABLES = {name: mbp.parse(name, **{name: text}) for name, text in DECLARED.items()}
TEXTS = [
    "X @ A", "A.T @ X.T", "inv(X) + S", "c * X - X", "tr(X @ S)", "det(X)", "x.T @ X @ x",
    "x @ x.T * X", "exp(X)", "X ** 2", "log(det(X)) * X", "kron(X, A)", "diag(x) @ A", "diag(X)",
    "eye(n) + ones(n, n)", "sym(X)", "inner(X, S)", "hstack(X, A)",
    "sigmoid(c) * x", "norm(x) * x", "logdet(X)", "diagpart(X)",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_the_way_there_and_back_keeps_the_value(text):
    e = mbp.parse(text, **DECLARED)
    back = mbp.from_sympy(e.to_sympy(), **DECLARED)
    rng = np.random.default_rng(0)
    sizes = {"n": 3, "m": 2}
    values = {
        x: rng.normal(size=[sizes.get(str(d), 1) for d in x.shape]) for x in VARIABLES.values()
    }
    values[VARIABLES["S"]] = values[VARIABLES["S"]] + values[VARIABLES["S"]].T
    expected, found = (evaluate(a, {**sizes, **values}, FLOAT64) for a in (e, back))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_sympy_user_brings_an_expression():
    n = sp.Symbol("n")
    X, A = sp.MatrixSymbol("X", n, n), sp.MatrixSymbol("A", n, n)
    e = mbp.from_sympy(sp.Trace(X.T * A * X), A="n n symmetric")
    assert str(mbp.grad(e, wrt="X")) == "2 * A @ X"


def test_a_scalar_product_is_a_trace_in_sympy():
    assert mbp.parse("x.T @ X @ x", **DECLARED).to_sympy().is_Matrix is not True


def test_what_has_no_counterpart_is_refused_by_name():
    with pytest.raises(MbpError, match="SymPy's matrix expressions have no"):
        mbp.parse("logm(S)", **DECLARED).to_sympy()
    X = sp.MatrixSymbol("X", 2, 2)
    with pytest.raises(MbpError, match="Permanent"):
        mbp.from_sympy(sp.Permanent(X))
    with pytest.raises(MbpError, match="X is 2×2 in SymPy but declared 3×3"):
        mbp.from_sympy(X.T, X="3 3")
