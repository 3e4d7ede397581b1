"""Hessians in a vector are matrices, and they are the derivative of the gradient."""

import numpy as np
import pytest

import mbp
from mbp.expr import build
from mbp.expr.nodes import Expr, variables
from mbp.numeric.evaluate import evaluate
from mbp.targets import targets

SIZES = {"n": 3, "m": 4, "p": 2}
STEP = 1e-5

LET = {"x": "n", "y": "n", "A": "n n", "S": "n n symmetric", "B": "m n", "C": "p m", "b": "m"}

IN_A_VECTOR = [
    "x.T @ A @ x", "sumsq(B @ x - b)", "norm(x)", "norm(B @ x - b)", "log(sum(exp(x)))",
    "sum(log(ones(m) + exp(B @ x)))", "x.T @ x * (x.T @ A @ x)", "(x.T @ S @ x) / (x.T @ x)",
    "sum(x ** 3)", "sum(tanh(C @ tanh(B @ x)))", "x.T @ inv(eye(n) + x @ x.T) @ x",
    "tr(inv(diag(exp(x))) @ A)", "logdet(diag(exp(x)) + S @ S)", "sumsq(x @ x.T - A)",
    "sum(exp(x @ x.T))", "tr(expm(diag(x)))", "logdet(eye(n) + x @ x.T)",
    "sum(exp(diag(x) @ A @ x))", "(x.T @ y) ** 3", "exp(-sumsq(x - y) / 2)",
    "y.T @ inv(diag(x) @ diag(x) + S @ S + eye(n)) @ y", "sum((x @ x.T) ** 3)", "tr(A) * (x.T @ y)",
    "sum(sin(A * (x @ y.T)))", "det(eye(n) + x @ x.T)",
]  # fmt: skip

IN_A_MATRIX = [
    "logdet(X)", "tr(inv(X))", "tr(logm(X))", "sumsq(X @ A)", "tr(X @ X @ X)", "tr(X @ logm(X))",
]  # fmt: skip


def declared(text: str, **more: str) -> dict[str, str]:
    let = LET | more
    return {name: let[name] for name in let if name in set(text.replace("(", " ").replace(")", " ")
            .replace("*", " ").replace(".T", " ").split())}  # fmt: skip


def point(root: Expr, wrt: str, rng: np.random.Generator) -> dict:
    values: dict = dict(SIZES)
    for v in variables(root):
        shape = [SIZES.get(str(n), 1) for n in v.shape]
        V = rng.normal(size=shape)
        if "symmetric" in v.properties:
            V = V + V.T
        if "positive_definite" in v.properties:
            V = V @ V.T + np.eye(shape[0])
        values[v.name] = V
    return values


def value(root: Expr, named: dict) -> np.ndarray:
    env = dict(SIZES) | {v: named[v.name] for v in variables(root)}
    return evaluate(root, env)


@pytest.mark.parametrize("text", IN_A_VECTOR)
def test_a_hessian_in_a_vector_is_the_matrix_of_second_derivatives(text):
    let = declared(text)
    hessian = mbp.hessian(text, wrt="x", **let)
    assert hessian.shape == (mbp.parse("x", x="n").rows,) * 2
    gradient = mbp.grad(text, wrt="x", **let)
    named = point(mbp.parse(text, **let), "x", np.random.default_rng(3))
    columns = []
    for k in range(SIZES["n"]):
        e = STEP * np.eye(SIZES["n"])[:, k : k + 1]
        ahead, behind = (value(gradient, named | {"x": named["x"] + s * e}) for s in (1, -1))
        columns.append((ahead - behind) / (2 * STEP))
    found = value(hessian, named)
    np.testing.assert_allclose(found, np.hstack(columns), rtol=1e-6, atol=1e-6 * abs(found).max())


@pytest.mark.parametrize("text", IN_A_MATRIX)
def test_a_hessian_in_a_matrix_is_an_operator_on_the_variation(text):
    let = declared(text, X="n n positive_definite")
    operator = mbp.hessian(text, wrt="X", **let)
    gradient = mbp.grad(text, wrt="X", **let)
    rng = np.random.default_rng(5)
    named = point(mbp.parse(text, **let), "X", rng)
    dX = rng.normal(size=(3, 3))
    dX = dX + dX.T
    ahead, behind = (value(gradient, named | {"X": named["X"] + s * STEP * dX}) for s in (1, -1))
    X = next(v for v in variables(operator) if v.name == "X") if variables(operator) else None
    env = dict(SIZES) | {v: named[v.name] for v in variables(operator)}
    x = X or mbp.parse("X", X="n n positive_definite")
    found = evaluate(operator, env | {build.variation(x): dX})
    np.testing.assert_allclose(found, (ahead - behind) / (2 * STEP), rtol=1e-6, atol=1e-6)


def test_a_matrix_has_no_hessian():
    with pytest.raises(mbp.MbpError, match="one scalar"):
        mbp.hessian("X @ X", wrt="X", X="n n")


def test_order_two_shows_the_hessian_and_every_line_holds():
    (target,) = targets([], "(x.T @ y) ** 3 + x.T @ A @ x", ["x: n", "y: n", "A: n n"])
    derivation = target.derivation("x", 2)
    assert str(derivation.variations["grad_x"]) == "(6 * (x.T @ y) * y @ y.T + A + A.T) @ d(x)"
    assert max(error for _, error in derivation.verify()) < 1e-20
