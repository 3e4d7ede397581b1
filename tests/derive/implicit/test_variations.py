"""Derived variations against the null space of the varied equations, modulo the gauge."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbp.decomposition import read_decomposition
from mbp.derive.determinacy.determined import residual, small_sizes
from mbp.derive.determinacy.variety import Variety
from mbp.derive.implicit import variation_of
from mbp.derive.implicit.solver import Solution
from mbp.expr import build
from mbp.resources import rules_table
from mbp.verify.oracle import curve_error, linear_error

BUILT_IN: dict[str, Any] = rules_table("decompositions")

UNLISTED: dict[str, Any] = {
    "thin_factor": {
        "input": {"X": "n n positive_semidefinite"},
        "output": {"F": "n k full_column_rank"},
        "defines": ["X = F @ F.T"],
        "assumes": ["n >= k", "rank(X) constant"],
    },
    "schur": {
        "input": {"X": "n n"},
        "output": {"Q": "n n orthogonal", "T": "n n upper_triangular"},
        "defines": ["X = Q @ T @ Q.T"],
    },
    "general_eig": {
        "input": {"A": "n n"},
        "output": {"V": "n n invertible", "Q": "n n diagonal"},
        "defines": ["A @ V = V @ Q", "diagpart(V.T @ V) = eye(n)"],
    },
    "correlation": {
        "input": {"A": "n n positive_definite"},
        "output": {"D": "n n diagonal positive", "C": "n n symmetric"},
        "defines": ["diagpart(D @ A @ D) = eye(n)", "C = D @ A @ D"],
    },
    "simultaneous_diagonalisation": {
        "input": {"A": "n n positive_definite", "B": "n n symmetric"},
        "output": {"V": "n n invertible", "Q": "n n diagonal"},
        "defines": ["A = V @ V.T", "B = V @ Q @ V.T"],
    },
    "oblique_projector": {
        "input": {"A": "m k full_column_rank", "B": "m k full_column_rank"},
        "output": {"P": "m m"},
        "defines": ["P @ A = A", "B.T @ P = B.T", "P @ P = P"],
        "assumes": ["rank(P) == rank(A)"],
    },
    "weighted_least_squares": {
        "input": {"A": "m n full_column_rank", "W": "m m positive_definite"},
        "output": {"X": "n m"},
        "defines": ["A.T @ W @ A @ X = A.T @ W"],
    },
    "saddle_point": {
        "input": {
            "H": "n n positive_definite",
            "A": "m n full_row_rank",
            "g": "n",
            "b": "m",
        },
        "output": {"x": "n", "y": "m"},
        "defines": ["H @ x + A.T @ y = g", "A @ x = b"],
    },
    "lyapunov_factor": {
        "input": {"A": "n n", "C": "n n positive_definite"},
        "output": {"L": "n n lower_triangular"},
        "defines": ["A @ L @ L.T + L @ L.T @ A.T = C"],
    },
    "triangles_of_a_sum": {
        "input": {"A": "n n"},
        "output": {"L": "n n strictly_lower_triangular", "U": "n n upper_triangular"},
        "defines": ["A = L + U"],
    },
    "direction_and_length": {
        "input": {"x": "n"},
        "output": {"u": "n", "r": "scalar positive"},
        "defines": ["x = r * u", "u.T @ u = 1"],
    },
    "scaled_eig": {
        "input": {"A": "n n symmetric", "c": "scalar"},
        "output": {"U": "n n orthogonal", "Q": "n n diagonal"},
        "defines": ["c * A = U @ Q @ U.T"],
    },
    "least_squares": {
        "input": {"A": "m n full_column_rank", "B": "m k"},
        "output": {"Y": "n k"},
        "defines": ["A.T @ A @ Y = A.T @ B"],
    },
    "ridge": {
        "input": {"A": "m n", "B": "m k", "c": "scalar positive"},
        "output": {"Y": "n k"},
        "defines": ["(A.T @ A + c * eye(n)) @ Y = A.T @ B"],
    },
    "inverse_square_root": {
        "input": {"X": "n n positive_definite"},
        "output": {"Y": "n n positive_definite"},
        "defines": ["Y @ X @ Y = eye(n)"],
    },
    "cube_root": {
        "input": {"X": "n n positive_definite"},
        "output": {"Y": "n n positive_definite"},
        "defines": ["Y @ Y @ Y = X"],
    },
    "geometric_mean": {
        "input": {"A": "n n positive_definite", "B": "n n positive_definite"},
        "output": {"Y": "n n positive_definite"},
        "defines": ["Y @ inv(A) @ Y = B"],
    },
    "lu": {
        "input": {"A": "n n invertible"},
        "output": {"L": "n n unit_lower_triangular", "U": "n n upper_triangular"},
        "defines": ["A = L @ U"],
    },
    "upper_cholesky": {
        "input": {"A": "n n positive_definite"},
        "output": {"R": "n n upper_triangular"},
        "defines": ["A = R @ R.T"],
    },
    "lq": {
        "input": {"X": "m n full_row_rank"},
        "output": {"L": "m m lower_triangular", "Q": "n m orthonormal_columns"},
        "defines": ["X = L @ Q.T"],
        "assumes": ["n >= m"],
    },
    "qdr": {
        "input": {"X": "m n full_column_rank"},
        "output": {
            "Q": "m n orthonormal_columns",
            "D": "n n diagonal positive",
            "R": "n n unit_lower_triangular",
        },
        "defines": ["X = Q @ D @ R.T"],
    },
    "left_polar": {
        "input": {"X": "n n invertible"},
        "output": {"P": "n n positive_definite", "U": "n n orthogonal"},
        "defines": ["X = P @ U"],
    },
    "wide_svd": {
        "input": {"X": "m n"},
        "output": {
            "U": "m m orthogonal",
            "S": "m m diagonal nonnegative",
            "V": "n m orthonormal_columns",
        },
        "defines": ["X = U @ S @ V.T"],
    },
    "canonical_correlation": {
        "input": {
            "A": "n n",
            "B": "n n positive_definite",
            "C": "n n positive_definite",
        },
        "output": {
            "U": "n n invertible",
            "S": "n n diagonal nonnegative",
            "V": "n n invertible",
        },
        "defines": ["U.T @ A @ V = S", "U.T @ B @ U = eye(n)", "V.T @ C @ V = eye(n)"],
    },
    "whitening": {
        "input": {"A": "n n positive_definite"},
        "output": {"W": "n n lower_triangular"},
        "defines": ["W @ A @ W.T = eye(n)"],
    },
    "cholesky_solve": {
        "input": {"A": "n n positive_definite", "B": "n k"},
        "output": {"L": "n n lower_triangular", "Y": "n k"},
        "defines": ["A = L @ L.T", "L @ Y = B"],
    },
    "cayley": {
        "input": {"A": "n n antisymmetric"},
        "output": {"U": "n n orthogonal"},
        "defines": ["(eye(n) - A) @ U = eye(n) + A"],
    },
    "antisymmetric_lyapunov": {
        "input": {"S": "n n positive_definite", "C": "n n antisymmetric"},
        "output": {"Y": "n n antisymmetric"},
        "defines": ["S @ Y + Y @ S = C"],
    },
    "stein": {
        "input": {"A": "n n", "C": "n n symmetric"},
        "output": {"Y": "n n symmetric"},
        "defines": ["Y - A @ Y @ A.T = C"],
    },
    "riccati": {
        "input": {
            "A": "n n",
            "B": "n n positive_definite",
            "C": "n n positive_definite",
        },
        "output": {"Y": "n n symmetric"},
        "defines": ["A.T @ Y + Y @ A - Y @ B @ Y + C = zeros(n, n)"],
    },
    "discrete_riccati": {
        "input": {
            "A": "n n",
            "B": "n k",
            "R": "k k positive_definite",
            "C": "n n positive_definite",
        },
        "output": {"Y": "n n positive_definite"},
        "defines": [
            "Y = A.T @ Y @ A - A.T @ Y @ B @ inv(R + B.T @ Y @ B) @ B.T @ Y @ A + C",
        ],
    },
    "discrete_riccati_in_inverses": {
        "input": {"A": "n n", "B": "n n positive_definite", "C": "n n positive_definite"},
        "output": {"Y": "n n positive_definite"},
        "defines": ["Y = A.T @ inv(inv(Y) + B) @ A + C"],
    },
    "transposed_sylvester": {
        "input": {"A": "n n", "B": "n n", "C": "n n"},
        "output": {"Y": "n n"},
        "defines": ["A @ Y + Y.T @ B = C"],
    },
    "leading_eigenspace": {
        "input": {"A": "n n symmetric"},
        "output": {"U": "n k orthonormal_columns", "Q": "k k diagonal"},
        "defines": ["A @ U = U @ Q"],
    },
    "eigenpair": {
        "input": {"A": "n n symmetric"},
        "output": {"u": "n", "l": "scalar"},
        "defines": ["A @ u = l * u", "u.T @ u = 1"],
    },
    "rows_and_triangle": {
        "input": {"X": "m n full_row_rank"},
        "output": {"L": "m m lower_triangular", "Q": "m n"},
        "defines": ["X = L @ Q", "Q @ Q.T = eye(m)"],
    },
    "upper_root_free": {
        "input": {"A": "n n positive_definite"},
        "output": {"U": "n n upper_triangular", "D": "n n diagonal positive"},
        "defines": ["A = U @ D @ U.T", "diagpart(U) = eye(n)"],
    },
    "generalised_svd": {
        "input": {"A": "m n full_column_rank", "B": "k n full_column_rank"},
        "output": {
            "U": "m n orthonormal_columns",
            "V": "k n orthonormal_columns",
            "C": "n n diagonal positive",
            "S": "n n diagonal positive",
            "X": "n n invertible",
        },
        "defines": ["A = U @ C @ X.T", "B = V @ S @ X.T", "C @ C + S @ S = eye(n)"],
    },
    "sign_and_modulus": {
        "input": {"A": "n n symmetric invertible"},
        "output": {"S": "n n symmetric", "N": "n n positive_definite"},
        "defines": ["A = S @ N", "S @ S = eye(n)"],
    },
    "both_eigenvectors": {
        "input": {"A": "n n"},
        "output": {"v": "n", "u": "n", "l": "scalar"},
        "defines": ["A @ v = l * v", "A.T @ u = l * u", "v.T @ v = 1", "u.T @ v = 1"],
    },
    "both_polar_factors": {
        "input": {"X": "n n invertible"},
        "output": {
            "U": "n n orthogonal", "P": "n n positive_definite", "W": "n n positive_definite"
        },
        "defines": ["X = U @ P", "X = W @ U"],
    },
    "diagonal_root": {
        "input": {"X": "n n diagonal positive"},
        "output": {"Y": "n n diagonal positive"},
        "defines": ["Y @ Y = X"],
    },
    "row_space_projector": {
        "input": {"A": "m n"},
        "output": {"P": "n n projector"},
        "defines": ["A @ P = A"],
        "assumes": ["rank(A) constant", "rank(P) == rank(A)"],
    },
    "symmetric_projector": {
        "input": {"A": "n n symmetric"},
        "output": {"P": "n n projector"},
        "defines": ["P @ A = A"],
        "assumes": ["rank(A) constant", "rank(P) == rank(A)"],
    },
    "diagonal_of": {
        "input": {"A": "n n"}, "output": {"D": "n n diagonal"}, "defines": ["D = diagpart(A)"],
    },
    "root_of_the_diagonal": {
        "input": {"A": "n n"},
        "output": {"D": "n n diagonal positive_definite"},
        "defines": ["D @ D = diagpart(A)"],
    },
    "diagonal_of_the_inverse": {
        "input": {"A": "n n invertible"},
        "output": {"D": "n n diagonal"},
        "defines": ["diagpart(inv(A)) = D"],
    },
    "normalised": {
        "input": {"X": "m n"},
        "output": {"c": "1 1 positive", "Y": "m n"},
        "defines": ["X = c * Y", "tr(Y.T @ Y) = 1"],
    },
    "trace_of_the_factor": {
        "input": {"X": "n n symmetric positive_definite"},
        "output": {"L": "n n lower_triangular", "t": "1 1"},
        "defines": ["X = L @ L.T", "t = tr(L)"],
    },
    "right_inverse_said_twice": {
        "input": {"A": "m n full_row_rank"},
        "output": {"Y": "n m"},
        "defines": ["A @ Y = eye(m)", "Y = A.T @ inv(A @ A.T)"],
    },
    "canonical_correlations": {
        "input": {
            "A": "m n",
            "P": "m m symmetric positive_definite",
            "Q": "n n symmetric positive_definite",
        },
        "output": {"U": "m n", "S": "n n diagonal nonnegative", "V": "n n"},
        "defines": ["A @ V = P @ U @ S", "A.T @ U = Q @ V @ S",
                    "U.T @ P @ U = eye(n)", "V.T @ Q @ V = eye(n)"],
        "assumes": ["m >= n"],
    },
    "elementwise_cubic": {
        "input": {"A": "m n positive", "B": "m n"},
        "output": {"X": "m n"},
        "defines": ["X * X * X + X * A = B"],
    },
    "stacked": {
        "input": {"A": "n n", "B": "m n", "b": "n 1", "c": "m 1"},
        "output": {"x": "n 1", "y": "m 1"},
        "defines": ["vstack(A @ x, B @ x + y) = vstack(b, c)"],
    },
    "equilibrium": {
        "input": {"W": "n n", "u": "n 1"},
        "output": {"z": "n 1"},
        "defines": ["z = tanh(W @ z + u)"],
    },
    "kepler": {
        "input": {"M": "1 1", "e": "1 1"},
        "output": {"E": "1 1"},
        "defines": ["M = E - e * sin(E)"],
    },
    "perron": {
        "input": {"A": "n n positive"},
        "output": {"x": "n 1", "l": "1 1"},
        "defines": ["A @ x = l * x", "sum(x) = 1"],
    },
    "matrix_exponential": {
        "input": {"A": "n n symmetric"},
        "output": {"Y": "n n symmetric positive_definite"},
        "defines": ["logm(Y) = A"],
    },
    "wasserstein_barycentre": {
        "input": {"A": "n n positive_definite", "B": "n n positive_definite", "w": "1 1 positive"},
        "output": {"Y": "n n positive_definite"},
        "defines": [
            "(1 + w) * Y = sqrtm(sqrtm(Y) @ A @ sqrtm(Y)) + w * sqrtm(sqrtm(Y) @ B @ sqrtm(Y))"
        ],
    },
    "karcher_mean": {
        "input": {"A": "n n positive_definite", "B": "n n positive_definite"},
        "output": {"Y": "n n positive_definite"},
        "defines": [
            "logm(sqrtm(Y) @ inv(A) @ sqrtm(Y)) + logm(sqrtm(Y) @ inv(B) @ sqrtm(Y)) = zeros(n, n)"
        ],
    },
    "correlation_root": {
        "input": {"A": "n n positive_definite"},
        "output": {"D": "n n diagonal positive", "L": "n n lower_triangular"},
        "defines": ["D @ A @ D = L @ L.T", "diagpart(L @ L.T) = eye(n)"],
    },
    "constrained_eigenvector": {
        "input": {"A": "n n symmetric", "C": "k n full_row_rank"},
        "output": {"x": "n 1", "l": "1 1", "m": "k 1"},
        "defines": ["A @ x = l * x + C.T @ m", "C @ x = zeros(k, 1)", "x.T @ x = 1"],
    },
    "triangular_solve": {
        "input": {"A": "n n lower_triangular invertible", "B": "n n lower_triangular"},
        "output": {"Y": "n n lower_triangular"},
        "defines": ["A @ Y = B"],
    },
    "scaled_to_unit_trace": {
        "input": {"a": "n 1 positive"},
        "output": {"D": "n n diagonal positive_definite", "t": "1 1 positive"},
        "defines": ["tr(D) = 1", "t * D = diag(a)"],
    },
}


def solved(name: str) -> Solution:
    table = BUILT_IN[name] if name in BUILT_IN else UNLISTED[name]
    return variation_of(read_decomposition(name, table))


def larger(sizes: dict[str, int]) -> dict[str, int]:
    return {name: size + 1 for name, size in sizes.items()}


@pytest.mark.parametrize("name", [*BUILT_IN, *UNLISTED])
def test_the_variation_solves_the_varied_equations(name: str) -> None:
    found = solved(name)
    for sizes in (small_sizes(found.definition)[0], larger(small_sizes(found.definition)[-1])):
        rank = sizes.get("k", 2 if min(sizes.values(), default=0) > 2 else 1)
        variety = Variety(found.definition, sizes, rank)
        error = linear_error(variety, found.variations, np.random.default_rng(len(sizes)))
        assert error < 1e-10, sizes


@pytest.mark.parametrize("name", [*BUILT_IN, *UNLISTED])
def test_the_variation_is_the_slope_along_a_curve_of_solutions(name: str) -> None:
    found = solved(name)
    sizes = small_sizes(found.definition)[0]
    variety = Variety(found.definition, sizes, rank=sizes.get("k", 1))
    assert curve_error(variety, found.variations, np.random.default_rng(3)) < 1e-6


ALTERED: dict[str, Any] = {
    "as derived": lambda dY: dY,
    "doubled": lambda dY: build.scale(build.number(2), dY),
    "not a number": lambda dY: build.apply("log", build.negate(build.ones(*dY.shape))),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("how", ALTERED)
def test_only_what_was_derived_leaves_no_residual(how: str) -> None:
    found = solved("lyapunov")
    altered = {name: ALTERED[how](dY) for name, dY in found.variations.items()}
    assert (residual(found.definition, altered) < 1e-6) is (how == "as derived")


# An empty block of the full decomposition has no dimension.
@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "svd_full"])
def test_square_matrices_are_no_special_case(name: str) -> None:
    found = solved(name)
    sizes = dict.fromkeys(small_sizes(found.definition)[0], 3)
    variety = Variety(found.definition, sizes, rank=2)
    assert linear_error(variety, found.variations, np.random.default_rng(4)) < 1e-10


@pytest.mark.parametrize("name", [*BUILT_IN, *UNLISTED])
def test_a_gauge_is_reported_exactly_where_there_is_one(name: str) -> None:
    found = solved(name)
    sizes = small_sizes(found.definition)[0]
    if name == "svd_full":
        sizes = {"m": 4, "n": 2}
    variety = Variety(found.definition, sizes, rank=sizes.get("k", 1))
    values = variety.point(np.random.default_rng(5))
    assert bool(len(variety.gauge(values))) == bool(found.gauges)


@pytest.mark.parametrize(
    ("inputs", "left", "condition"),
    [
        ({"A": "n n positive_semidefinite", "B": "n n positive_semidefinite"}, "A @ Y + Y @ B",
         ("nonzero(a[i] + b[j])",)),
        ({"A": "n n positive_semidefinite"}, "A @ Y + Y @ A", ("nonzero(a)",)),
        ({"A": "n n positive_semidefinite", "c": "scalar positive"}, "A @ Y + c * Y", ()),
        ({"A": "n n symmetric", "c": "scalar"}, "A @ Y + c * Y", ("nonzero(a[i] + c)",)),
    ],
)
def test_values_that_may_both_vanish_have_a_sum_that_may(
    inputs: dict[str, str], left: str, condition: tuple[str, ...]
) -> None:
    table = {
        "input": {**inputs, "C": "n n"}, "output": {"Y": "n n"}, "defines": [f"{left} = C"]
    }
    assert variation_of(read_decomposition("linear", table)).conditions == condition


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["eig", "svd", "cholesky", "qr", "polar", "pinv", "lu", "left_polar"]),
    st.integers(2, 4),
    st.integers(0, 2),
    st.integers(0, 2**16),
)
def test_any_size_and_any_point(name: str, n: int, more: int, seed: int) -> None:
    found = solved(name)
    variety = Variety(found.definition, {"m": n + more, "n": n}, rank=n - 1)
    assert linear_error(variety, found.variations, np.random.default_rng(seed)) < 1e-9
