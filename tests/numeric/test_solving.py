"""Decompositions that say no forward are verified from their equations alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from mbp.api import Layer
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.numeric.arithmetic import FLOAT64, multiprecision
from mbp.numeric.evaluate import Interpreter, evaluate
from mbp.numeric.solving import UnsolvedError
from mbp.rulebook import RULEBOOK
from mbp.verify.proof import gradient_error, verify_derivation

RULES = {
    "root": {
        "input": {"X": "n n positive_definite"},
        "output": {"Y": "n n positive_definite"},
        "defines": ["Y @ Y = X"],
    },
    "frame": {
        "input": {"A": "n n symmetric"},
        "output": {"U": "n n orthogonal", "Q": "n n diagonal"},
        "defines": ["A = U @ Q @ U.T"],
    },
    "onto": {
        "input": {"A": "m n"},
        "output": {"P": "m m projector"},
        "defines": ["P @ A = A"],
        "assumes": ["rank(A) constant", "rank(P) == rank(A)"],
    },
    "stein": {
        "input": {"A": "n n", "C": "n n symmetric"},
        "output": {"Y": "n n symmetric"},
        "defines": ["Y - A @ Y @ A.T = C"],
    },
    "nothing": {
        "input": {"A": "n n positive_definite"},
        "output": {"Y": "n n symmetric"},
        "defines": ["Y @ Y = -A"],
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


@pytest.mark.parametrize("digits", [None, 50])
def test_outputs_satisfy_the_equations_to_full_precision(digits: int | None) -> None:
    at = FLOAT64 if digits is None else multiprecision(digits)
    rng = np.random.default_rng(0)
    B = rng.normal(size=(3, 3))
    X = declare("X", "n n positive_definite")
    Y = parse("root(X)", {"X": X}, RULEBOOK.functions)
    value = at.matrix(B @ B.T + np.eye(3))
    root = evaluate(Y, {X: value}, at)
    assert at.norm(root @ root - value) <= 1e4 * at.epsilon
    assert np.linalg.eigvalsh(root.astype(float))[0] > 0


def test_outputs_of_one_decomposition_belong_together() -> None:
    S = declare("S", "n n symmetric")
    U, Q = RULEBOOK.call("frame", S)
    value = np.diag([3.0, 1.0, -2.0]) + 0.1
    at = Interpreter({S: value})
    assert np.allclose(at.value(U) @ at.value(Q) @ at.value(U).T, value)


@pytest.mark.parametrize(
    ("text", "declarations"),
    [
        ("root(X)", {"X": "n n positive_definite"}),
        ("frame(S)[0]", {"S": "n n symmetric"}),
        ("onto(A)", {"A": "m n"}),
        ("stein(A, C)", {"A": "n n", "C": "n n symmetric"}),
    ],
)
def test_a_derivation_without_a_forward_is_verified(
    text: str, declarations: dict[str, str]
) -> None:
    derivation = Layer.from_text(text, name="without_forward", **declarations).derive()
    assert max(error for _, error in verify_derivation(derivation, instances=1)) <= 1e-10
    assert gradient_error(derivation) <= 1e-10


def test_equations_without_a_solution_are_an_error() -> None:
    A = declare("A", "n n positive_definite")
    with pytest.raises(UnsolvedError, match="nothing"):
        evaluate(RULEBOOK.call("nothing", A)[0], {A: np.eye(2)})
