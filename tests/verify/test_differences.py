"""Numeric derivatives along admissible curves agree with those known in closed form."""

import numpy as np
import pytest

from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, Array, multiprecision
from mbp.numeric.evaluate import Interpreter
from mbp.numeric.instances import curve
from mbp.rulebook import RULEBOOK
from mbp.verify.differences import (
    BasePoint,
    Instance,
    directional_derivatives,
    random_instance,
)

BOTH = pytest.mark.parametrize(
    ("at", "tolerance"), [(FLOAT64, 1e-9), (multiprecision(50), 1e-25)], ids=["float64", "mpmath"]
)


def differentiated(
    text: str, at: Arithmetic, seed: int = 0, **declarations: str
) -> tuple[Instance, dict[str, Array], dict[str, Array], Array, Array]:
    """The instance, points and directions by name, the value and its numeric derivative."""
    names = {name: declare(name, words) for name, words in declarations.items()}
    Y: Expr = parse(text, names, RULEBOOK.functions)
    instance = random_instance([Y], np.random.default_rng(seed), at)
    point = {x.name: value for x, value in instance.point.items()}
    direction = {x.name: value for x, value in instance.direction.items()}
    value = Interpreter(instance.at(0.0), at).value(Y)
    return instance, point, direction, value, directional_derivatives([Y], instance)[0]


def close(at: Arithmetic, A: Array, B: Array, tolerance: float) -> bool:
    return at.norm(A - B) <= tolerance * (1 + at.norm(B))


@BOTH
def test_products_and_inverses(at: Arithmetic, tolerance: float) -> None:
    _, p, d, _, dY = differentiated("X.T @ X", at, X="m n")
    assert close(at, dY, d["X"].T @ p["X"] + p["X"].T @ d["X"], tolerance)
    _, p, d, Y, dY = differentiated("inv(A)", at, A="n n invertible")
    assert close(at, dY, -Y @ d["A"] @ Y, tolerance)


@BOTH
def test_constraints_hold_to_first_order(at: Arithmetic, tolerance: float) -> None:
    _, _, _, _, dY = differentiated("Q.T @ Q", at, Q="m n orthonormal_columns")
    assert close(at, dY, 0 * dY, tolerance)
    _, _, d, _, dY = differentiated("P @ P", at, P="n n projector")
    assert close(at, dY, d["P"], tolerance)
    _, _, _, _, dY = differentiated("det(A)", at, A="n n antisymmetric invertible")
    assert at.norm(dY) > 1e-3


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_eigenvectors_follow_one_branch(at: Arithmetic, tolerance: float, seed: int) -> None:
    _, p, d, U, dU = differentiated("eig(S)[0]", at, seed, S="n n symmetric")
    values = np.diagonal(U.T @ p["S"] @ U)
    gaps = values - values.reshape(-1, 1) + at.eye(len(U))
    expected = U @ ((U.T @ d["S"] @ U) / gaps * (1 - np.eye(len(U), dtype=int)))
    assert close(at, dU, expected, 100 * tolerance)


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_the_completion_of_a_full_svd_does_not_rotate(
    at: Arithmetic, tolerance: float, seed: int
) -> None:
    instance, _, _, U, dU = differentiated("svd_full(X)[0]", at, seed, X="m n")
    null = U[:, instance.sizes["n"] :]
    assert close(at, null.T @ dU[:, instance.sizes["n"] :], 0 * (null.T @ null), 10 * tolerance)
    assert close(at, U.T @ dU + dU.T @ U, 0 * U, 10 * tolerance)
    assert at.norm(dU) > 1e-3


@BOTH
def test_a_projector_onto_a_deficient_range_keeps_its_rank(
    at: Arithmetic, tolerance: float
) -> None:
    _, p, d, P, dP = differentiated("projector(A)", at, A="m n")
    rank = round(float(np.trace(P)))
    assert 0 < rank < min(p["A"].shape)
    # dP = (I − P) dA A⁺ + its transpose (Golub and Pereyra 1973).
    half = (at.eye(len(P)) - P) @ d["A"] @ at.pinv(p["A"])
    assert close(at, dP, half + half.T, 100 * tolerance)


@BOTH
def test_generalised_eigenvectors_and_factors(at: Arithmetic, tolerance: float) -> None:
    text = "generalized_eig(A, B)[0]"
    _, p, d, V, dV = differentiated(text, at, A="n n symmetric", B="n n positive_definite")
    zero = dV.T @ p["B"] @ V + V.T @ d["B"] @ V + V.T @ p["B"] @ dV
    assert close(at, zero, 0 * zero, 100 * tolerance)
    _, p, d, L, dL = differentiated("cholesky(A)", at, A="n n positive_definite")
    assert close(at, dL @ L.T + L @ dL.T, d["A"], 10 * tolerance)


def test_a_branch_keeps_the_signs_of_its_base_point() -> None:
    X = declare("X", "m n full_column_rank")
    Q, R = RULEBOOK.call("qr", X)
    instance = random_instance([Q, R], np.random.default_rng(0))
    here = Interpreter(instance.at(0.0))
    signs = np.diag([(-1.0) ** k for k in range(instance.sizes["n"])])
    turned = (here.value(Q) @ signs, signs @ here.value(R))
    base = BasePoint(instance.at(0.0), FLOAT64, {(Q.rule, Q.args): turned})
    one, other = (directional_derivatives([Q, R], instance, at) for at in (None, base))
    assert np.allclose(one[0] @ signs, other[0]) and np.allclose(signs @ one[1], other[1])


def test_differences_resolve_a_nearly_singular_system() -> None:
    A, C = declare("A", "n n symmetric"), declare("C", "n n symmetric")
    (Y,) = RULEBOOK.call("lyapunov_symmetric", A, C)
    point = {A: np.diag([1.0, -0.995]), C: np.ones((2, 2))}
    direction = {A: np.array([[1.0, 2.0], [2.0, 0.5]]), C: np.zeros((2, 2))}
    curves = {x: (lambda t, x=x: point[x] + t * direction[x]) for x in point}
    instance = Instance(FLOAT64, {"n": 2}, point, direction, curves)
    (dY,) = directional_derivatives([Y], instance)
    value = Interpreter(instance.at(0.0)).value(Y)
    equation = point[A] @ dY + dY @ point[A] + direction[A] @ value + value @ direction[A]
    assert np.abs(equation).max() < 1e-7 * np.abs(dY).max()


def test_the_first_step_stays_in_the_domain() -> None:
    x = declare("x", "n")
    X, dX = np.array([[1e-4], [2.0]]), np.ones((2, 1))
    instance = Instance(FLOAT64, {"n": 2}, {x: X}, {x: dX}, {x: curve(x, X, dX)})
    (found,) = directional_derivatives([build.apply("sqrt", x)], instance)
    np.testing.assert_allclose(found, 0.5 / np.sqrt(X), rtol=1e-9)
