"""`check` of decompositions: with and without a forward, blind to a gauge or not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbp.api import Layer
from mbp.layers import registry
from mbp.resources import rules_table
from mbp.rulebook import RULEBOOK
from mbp.targets import named
from mbp.verify.check import Report

BUILT_IN = rules_table("decompositions")

RULES = {
    "right_polar": {
        "input": {"X": "m n full_column_rank"},
        "output": {"U": "m n orthonormal_columns", "P": "n n positive_definite"},
        "defines": ["X = U @ P"],
    },
    "range_projector": {
        "input": {"A": "m n"},
        "output": {"P": "m m projector"},
        "defines": ["P @ A = A"],
        "assumes": ["rank(A) constant", "rank(P) == rank(A)"],
    },
    "factor": {
        "input": {"X": "n n positive_definite"},
        "output": {"F": "n n invertible"},
        "defines": ["X = F @ F.T"],
    },
    "half": {
        "input": {"A": "n n positive_definite"},
        "output": {"L": "n n lower_triangular"},
        "defines": ["A = L @ L.T"],
        "forward": ["2 * cholesky(A)"],
    },
}


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    """The rules above, for one test."""
    before = dict(RULEBOOK.__dict__)
    RULEBOOK.add(RULES)
    yield
    RULEBOOK.__dict__.clear()
    RULEBOOK.__dict__.update(before)


def checked(text: str, **declarations: str) -> Report:
    return Layer.from_text(text, **declarations).check()


@pytest.mark.parametrize("name", ["right_polar", "range_projector", "factor"])
def test_a_decomposition_without_a_forward_is_checked_from_its_equations(name: str) -> None:
    report = named(name).check()
    assert report.passed
    assert {"equations", "differences", "dot product"} <= {row.witness for row in report}


def test_a_layer_around_a_decomposition_without_a_forward_is_checked() -> None:
    report = checked("tr(right_polar(X)[1] @ X.T @ X)", X="m n full_column_rank")
    assert report.passed and any("no forward" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "has_gradient"),
    [("sum(factor(X))", False), ("sumsq(factor(X) @ ones(n))", False), ("sumsq(factor(X))", True)],
)
def test_a_loss_on_a_gauge_is_told_from_one_that_is_blind_to_it(
    text: str, has_gradient: bool
) -> None:
    report = checked(text, X="n n positive_definite")
    assert report.passed is has_gradient
    assert any(("no gradient exists" in note) is not has_gradient for note in report.notes[1:])


def test_emitted_losses_are_told_apart_as_well() -> None:
    assert checked("sumsq(svd_full(X)[0].T @ X)", X="m n").passed
    report = checked("sum(svd_full(X)[0])", X="m n")
    assert not report.passed and len(report.notes) == 1 and "no gradient exists" in report.notes[0]


def test_a_forward_that_does_not_satisfy_the_equations_fails() -> None:
    report = named("half").check()
    assert not report.passed
    (said,) = report.notes
    assert "'half': the forward contradicts the definition: A = L @ L.T is false; mend" in said


def test_a_forward_without_a_declared_property_is_told() -> None:
    RULEBOOK.add({"root": {**RULES["half"], "forward": ["sqrtm(A)"]}})
    assert any("L is not lower_triangular" in note for note in named("root").check().notes)


ZERO = {
    "A @ (inv(A) @ b) - b": {"A": "n n invertible", "b": "n"},
    "exp(b) * exp(-b) - ones(n)": {"b": "n"},
    "logm(S) - 2 * logm(sqrtm(S))": {"S": "n n positive_definite"},
}


@pytest.mark.parametrize("text", ZERO)
def test_a_layer_that_is_zero_but_for_rounding_passes(text: str) -> None:
    report = checked(text, **ZERO[text])
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("fault", "witnesses"),
    [(lambda b: 1e-8 + 0 * b, {"forward"}), (lambda b: 1e-6 * b * b, {"forward", "autograd"})],
)
def test_an_error_in_a_layer_that_is_zero_is_found(
    fault: Callable[[Any], Any], witnesses: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Layer.from_text("exp(b) * exp(-b) - ones(n)", b="n")
    right = layer.compile().layer
    monkeypatch.setattr(layer.compile(), "layer", lambda b: right(b) + fault(b))
    assert witnesses <= {row.witness for row in layer.check() if not row.passed}


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("svd(A.T @ B)[0] @ svd(A.T @ B)[2].T", "B.T @ A @ A.T @ B positive_definite"),
        ("polar(A.T @ B)[0]", "A.T @ B full_column_rank"),
    ],
)
def test_sizes_at_which_a_derivation_does_not_hold_are_left_out(text: str, condition: str) -> None:
    layer = Layer.from_text(text, A="m d", B="m d")
    report = layer.check()
    assert condition in layer.derive().conditions
    assert report.passed, str(report)
    assert any(note.endswith(f"where nothing meets: {condition}") for note in report.notes)


def test_a_derivation_that_holds_nowhere_fails() -> None:
    report = checked("logdet(v @ v.T)", v="n")
    assert not report.passed
    assert "its derivation does not hold, at" in report.notes[0]


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in registry()])
def test_a_built_in_decomposition_is_a_layer_that_passes(name: str) -> None:
    report = named(name).check()
    assert report.passed, str(report)
    assert not any("contradicts" in note for note in report.notes)
    assert max(row.error for row in report if row.witness == "dot product") < 1e-10
