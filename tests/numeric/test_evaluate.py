"""The interpreter gives every node its definition's value, in both arithmetics."""

from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbp.errors import MbpError, ShapeError
from mbp.expr import build
from mbp.expr.nodes import Expr, I, J, both, col, row, topological
from mbp.expr.parser import parse
from mbp.numeric.arithmetic import FLOAT64, Array, multiprecision
from mbp.numeric.evaluate import Interpreter, evaluate
from mbp.numeric.instances import random_point
from mbp.rulebook import RULEBOOK
from mbp.verify.differences import random_instance
from tests.strategies import VARIABLES, expressions

SIZES = {"m": 4, "n": 3}
RNG = np.random.default_rng(3)
VALUES = {name: random_point(x, SIZES, RNG) for name, x in VARIABLES.items()}
ENV = {**SIZES, **{VARIABLES[name]: value for name, value in VALUES.items()}}


def read(text: str) -> Expr:
    return parse(text, VARIABLES, RULEBOOK.functions)


def function(S: Array, f: Callable[[Array], Array]) -> Array:
    values, U = np.linalg.eigh(S)
    return (U * f(values)) @ U.T


V = type("Values", (), VALUES)
MEANINGS: dict[str, Callable[[], Array]] = {
    "X.T @ Y + S": lambda: V.X.T @ V.Y + V.S,
    "X - 2 * Y / 3": lambda: V.X - 2 * V.Y / 3,
    "c * X * Y": lambda: V.c * V.X * V.Y,
    "X / W": lambda: V.X / V.W,
    "X ** 3": lambda: V.X**3,
    "X ** -1": lambda: 1 / V.X,
    "W ** c": lambda: V.W**V.c,
    "exp(X) + log(W) + tanh(Y)": lambda: np.exp(V.X) + np.log(V.W) + np.tanh(V.Y),
    "relu(X) + abs(Y) + sign(X)": lambda: np.maximum(V.X, 0) + np.abs(V.Y) + np.sign(V.X),
    "inv(P) @ v": lambda: np.linalg.solve(V.P, V.v),
    "det(B) * logdet(P)": lambda: np.linalg.det(V.B) * np.linalg.slogdet(V.P)[1] * np.ones((1, 1)),
    "logdet(B)": lambda: np.array([[np.linalg.slogdet(V.B)[1]]]),
    "tr(B) + norm(X) + sumsq(Y)": lambda: np.array(
        [[np.trace(V.B) + np.linalg.norm(V.X) + np.linalg.norm(V.Y) ** 2]]
    ),
    "inner(X, Y) + sum(X)": lambda: np.array([[np.trace(V.X.T @ V.Y) + V.X.sum()]]),
    "sym(B) + skew(B)": lambda: V.B,
    "diag(v) @ diagpart(B)": lambda: np.diag(V.v[:, 0]) @ np.diag(np.diag(V.B)),
    "diag(B)": lambda: np.diag(V.B)[:, None],
    "tril(X) + triu(X, 1)": lambda: np.tril(V.X) + np.triu(V.X, 1),
    "tril(X, -1) + triu(X)": lambda: V.X,
    "hstack(X, u)": lambda: np.hstack([V.X, V.u]),
    "vstack(X, B)": lambda: np.vstack([V.X, V.B]),
    "kron(X, B)": lambda: np.kron(V.X, V.B),
    "kron_left(kron(X, B), B)": lambda: V.X * (V.B**2).sum(),
    "kron_right(X, kron(X, B))": lambda: V.B * (V.X**2).sum(),
    "vec(X)": lambda: V.X.reshape(-1, 1, order="F"),
    "unvec(vec(X.T), m, n)": lambda: V.X.T.reshape(4, 3, order="F"),
    "eye(n) + ones(n, n) + zeros(n, n)": lambda: np.eye(3) + 1,
    "tr(eye(m)) * c": lambda: 4 * V.c,
    "logm(P)": lambda: function(V.P, np.log),
    "sqrtm(P) @ invsqrtm(P)": lambda: np.eye(3),
    "powm(P, c)": lambda: function(V.P, lambda x: x ** V.c[0, 0]),
    'matfun("x/(4 + x**2)", S)': lambda: function(V.S, lambda x: x / (4 + x**2)),
    "frechet(\"x**2\", 1, S, B)": lambda: V.S @ V.B + V.B @ V.S,
    "frechet(\"x**3\", 1, S, B)": lambda: V.S @ V.S @ V.B + V.S @ V.B @ V.S + V.B @ V.S @ V.S,
    "frechet(\"x**3\", 2, S, B, K)": lambda: (
        V.S @ V.B @ V.K + V.B @ V.S @ V.K + V.B @ V.K @ V.S
    ),
    "frechet(\"x**3\", 3, S, B, K, P)": lambda: V.B @ V.K @ V.P,
    "frechet(\"1/x\", 1, P, B)": lambda: -np.linalg.inv(V.P) @ V.B @ np.linalg.inv(V.P),
    "pinv(X)": lambda: np.linalg.pinv(V.X),
    "projector(X)": lambda: V.X @ np.linalg.pinv(V.X),
    "cholesky(P)": lambda: np.linalg.cholesky(V.P),
    "svd(X)[0] @ svd(X)[1] @ svd(X)[2].T": lambda: V.X,
    "eig(S)[1]": lambda: np.diag(np.linalg.eigvalsh(V.S)),
    "qr(X)[0] @ qr(X)[1]": lambda: V.X,
    "polar(X)[0].T @ polar(X)[0]": lambda: np.eye(3),
    "ldl(P)[0] @ ldl(P)[1] @ ldl(P)[0].T": lambda: V.P,
    "P @ sylvester(P, P, B) + sylvester(P, P, B) @ P": lambda: V.B,
    "generalized_eig(S, P)[0].T @ P @ generalized_eig(S, P)[0]": lambda: np.eye(3),
}  # fmt: skip


@pytest.mark.parametrize("text", MEANINGS)
def test_an_operation_has_the_value_that_numpy_gives(text: str) -> None:
    value = evaluate(read(text), ENV)
    assert np.allclose(value, MEANINGS[text](), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("text", [text for text in MEANINGS if "generalized_eig" not in text])
def test_fifty_digits_agree_with_float64(text: str) -> None:
    precise = evaluate(read(text), ENV, multiprecision(50))
    assert precise.dtype == object
    assert np.allclose(precise.astype(float), evaluate(read(text), ENV), rtol=1e-10, atol=1e-11)


def test_a_kernel_is_read_entry_by_entry() -> None:
    v, w, c, B = (VARIABLES[name] for name in "vwcB")
    n = v.rows
    entry = (row(0) - col(1)) * row(2) + both(3) * (I + 2 * J)
    value = evaluate(build.kernel(entry, row(0), (v, w, c, B), n, n), ENV)
    for i in range(3):
        for j in range(3):
            off = (V.v[i, 0] - V.w[j, 0]) * V.c[0, 0] + V.B[i, j] * (i + 2 * j)
            assert value[i, j] == pytest.approx(V.v[i, 0] if i == j else off)


def test_a_kernel_with_a_pole_on_its_diagonal_needs_only_the_diagonals_value() -> None:
    v = VARIABLES["v"]
    K = build.kernel(1 / (row(0) - col(0)), sp.Integer(0), (v,), v.rows, v.rows)
    value = evaluate(K, ENV)
    assert np.allclose(np.diag(value), 0) and np.allclose(value, -value.T)
    assert value[0, 1] == pytest.approx(1 / (V.v[0, 0] - V.v[1, 0]))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions(depth=3), st.integers(0, 2**32 - 1))
def test_random_expressions_have_finite_values_in_which_both_arithmetics_agree(
    e: Expr, seed: int
) -> None:
    env = random_instance([e], np.random.default_rng(seed)).at(0.0)
    rough, precise = evaluate(e, env), evaluate(e, env, multiprecision(30)).astype(float)
    largest = max(np.abs(Interpreter(env).value(node)).max() for node in topological(e))
    assert np.allclose(rough, precise, rtol=1e-8, atol=1e-10 * largest)


def test_what_has_no_value_is_named() -> None:
    X = VARIABLES["X"]
    with pytest.raises(MbpError, match="X has no value"):
        evaluate(X.T @ X, {})
    with pytest.raises(MbpError, match=r"d\(X\) has no value"):
        evaluate(build.variation(X), {X: VALUES["X"]})
    with pytest.raises(MbpError, match="dimension k"):
        evaluate(build.ones("k"), {})
    with pytest.raises(ShapeError, match="X is m×n"):
        evaluate(X, {X: np.ones((4, 3)), "n": 5})


def test_any_node_can_be_given_a_value() -> None:
    X, S = VARIABLES["X"], VARIABLES["S"]
    U = RULEBOOK.call("eig", S)[0]
    assert np.allclose(evaluate(X @ U, {X: VALUES["X"], U: 2 * np.eye(3)}), 2 * VALUES["X"])


def test_the_rank_tolerance_is_honoured() -> None:
    A = RNG.normal(size=(4, 2)) @ RNG.normal(size=(2, 3)) + 1e-13
    P = evaluate(read("projector(X)"), {VARIABLES["X"]: A})
    assert np.trace(P) == pytest.approx(2.0)
    at = multiprecision(50)
    exact = at.matrix(RNG.normal(size=(4, 2))) @ at.matrix(RNG.normal(size=(2, 3)))
    assert float(np.trace(evaluate(read("projector(X)"), {VARIABLES["X"]: exact}, at))) == (
        pytest.approx(2.0)
    )


def test_float64_is_the_default() -> None:
    assert evaluate(read("X"), ENV).dtype == np.float64
    assert FLOAT64.norm(np.array([[3.0, 4.0]])) == 5.0
