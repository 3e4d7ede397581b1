"""Definitions that determine nothing, contradict themselves or do not fit are refused by name."""

from typing import Any

import pytest

from mbp.decomposition import read_decomposition
from mbp.derive.implicit.solver import solution
from mbp.errors import RuleError

UNDER_DETERMINED: dict[str, Any] = {
    "only_the_symmetric_part": {
        "input": {"A": "n n"},
        "output": {"Y": "n n"},
        "defines": ["Y + Y.T = A + A.T"],
    },
    "two_general_factors": {
        "input": {"A": "n n invertible"},
        "output": {"L": "n n", "M": "n n"},
        "defines": ["A = L @ M"],
    },
    "triangles_without_a_scale": {
        "input": {"A": "n n invertible"},
        "output": {"L": "n n lower_triangular", "U": "n n upper_triangular"},
        "defines": ["A = L @ U"],
    },
    "orthogonal_times_general": {
        "input": {"A": "n n invertible"},
        "output": {"Q": "n n orthogonal", "R": "n n"},
        "defines": ["A = Q @ R"],
    },
    "eigenvectors_of_no_length": {
        "input": {"X": "n n symmetric"},
        "output": {"U": "n n invertible", "Q": "n n diagonal"},
        "defines": ["X @ U = U @ Q"],
    },
    "wide_system": {
        "input": {"A": "m n", "B": "m k"},
        "output": {"Y": "n k"},
        "defines": ["A @ Y = B"],
        "assumes": ["n >= m"],
    },
    "system_of_unknown_shape": {
        "input": {"A": "m n", "B": "m k"},
        "output": {"Y": "n k"},
        "defines": ["A @ Y = B"],
    },
    "oblique_projector": {
        "input": {"A": "n n symmetric"},
        "output": {"P": "n n"},
        "defines": ["P @ A = A", "P @ P = P"],
        "assumes": ["rank(A) constant", "rank(P) == rank(A)"],
    },
    "output_without_equation": {
        "input": {"A": "n n"},
        "output": {"Y": "n n", "Z": "n n"},
        "defines": ["Y = A"],
    },
}

INCONSISTENT: dict[str, Any] = {
    "two_values": {
        "input": {"A": "n n"},
        "output": {"Y": "n n"},
        "defines": ["Y = A", "Y = 2 * A"],
    },
    "root_and_double": {
        "input": {"A": "n n symmetric"},
        "output": {"Y": "n n symmetric"},
        "defines": ["Y @ Y = A", "Y = 2 * A"],
    },
    "general_root_and_double": {
        "input": {"A": "n n"},
        "output": {"Y": "n n"},
        "defines": ["Y @ Y = A", "Y = 2 * A"],
    },
    "tall_system": {
        "input": {"A": "m n full_column_rank", "B": "m k"},
        "output": {"Y": "n k"},
        "defines": ["A @ Y = B"],
    },
    "symmetric_copy": {
        "input": {"A": "n n"},
        "output": {"Y": "n n symmetric"},
        "defines": ["Y = A"],
    },
    "orthogonal_copy": {
        "input": {"A": "n n"},
        "output": {"Y": "n n orthogonal"},
        "defines": ["Y = A"],
    },
    "diagonal_copy": {
        "input": {"A": "n n symmetric"},
        "output": {"D": "n n diagonal"},
        "defines": ["D = A"],
    },
    "cholesky_of_anything": {
        "input": {"A": "n n"},
        "output": {"L": "n n lower_triangular"},
        "defines": ["A = L @ L.T"],
    },
    "thin_factor_of_full_rank": {
        "input": {"X": "n n symmetric"},
        "output": {"F": "n k"},
        "defines": ["X = F @ F.T"],
        "assumes": ["n >= k"],
    },
    "projector_of_no_rank": {
        "input": {"A": "n n symmetric"},
        "output": {"P": "n n projector"},
        "defines": ["P @ A = A"],
    },
}

ILL_FORMED: dict[str, tuple[dict[str, Any], str]] = {
    "shapes_disagree": (
        {"input": {"A": "m n"}, "output": {"Y": "m n"}, "defines": ["Y.T = A"]},
        "n×m",
    ),
    "inner_shapes_disagree": (
        {"input": {"A": "m n"}, "output": {"Y": "m n"}, "defines": ["A @ Y = A"]},
        "inner",
    ),
    "unknown_name": (
        {"input": {"A": "n n"}, "output": {"Y": "n n"}, "defines": ["Y = B"]},
        "'B'",
    ),
    "unknown_property": (
        {"input": {"A": "n n"}, "output": {"Y": "n n nice"}, "defines": ["Y = A"]},
        "nice",
    ),
    "not_a_polynomial": (
        {"input": {"A": "n n"}, "output": {"Y": "n n"}, "defines": ["exp(Y) = A"]},
        "polynomial",
    ),
    "not_an_equation": (
        {"input": {"A": "n n"}, "output": {"Y": "n n"}, "defines": ["Y @ A"]},
        "equation",
    ),
    "spectral_assumption": (
        {
            "input": {"A": "n n"},
            "output": {"Y": "n n"},
            "defines": ["Y = A"],
            "assumes": ["distinct(a)"],
        },
        "distinct(a)",
    ),
    "equation_between_inputs": (
        {"input": {"A": "n n"}, "output": {"Y": "n n"}, "defines": ["Y = A", "A @ A = A"]},
        "no output",
    ),
    "no_equations": ({"input": {"A": "n n"}, "output": {"Y": "n n"}}, "defines"),
}


@pytest.mark.parametrize("name", UNDER_DETERMINED)
def test_an_under_determined_definition_is_refused(name: str) -> None:
    with pytest.raises(RuleError, match=name):
        solution(read_decomposition(name, UNDER_DETERMINED[name]))


@pytest.mark.parametrize("name", INCONSISTENT)
def test_a_definition_that_restricts_its_inputs_is_refused(name: str) -> None:
    with pytest.raises(RuleError, match=name):
        solution(read_decomposition(name, INCONSISTENT[name]))


@pytest.mark.parametrize("name", ILL_FORMED)
def test_an_ill_formed_definition_says_what_is_wrong(name: str) -> None:
    table, word = ILL_FORMED[name]
    with pytest.raises(RuleError, match=name) as raised:
        solution(read_decomposition(name, table))
    assert word in str(raised.value)
