"""Formulas of textbooks, true and subtly false, against what a mathematician says of them."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import mbp

CLAIMS = tomllib.loads((Path(__file__).parent / "claims.toml").read_text(encoding="utf-8"))["claim"]


def judged(claim):
    target = claim.get("equation") or claim.get("target") or claim["expression"]
    said = {key: claim[key] for key in ("gradient", "variation") if key in claim}
    if "is" in claim:
        said["is_"] = claim["is"]
    return mbp.claim(target, where=claim.get("where", ()), **said, **claim.get("let", {}))


def name(claim):
    return claim.get("equation") or f"{claim.get('target') or claim['expression']}: {claim['is']}"


@pytest.mark.parametrize("claim", CLAIMS, ids=map(name, CLAIMS))
def test_verdict_on_a_textbook_formula(claim):
    verdict = judged(claim)
    assert verdict.verdict == claim["verdict"]
    structural = {c for c in verdict.conditions if not c.startswith(("distinct(", "nonzero("))}
    if claim["verdict"] == "holds":
        assert not structural
        assert verdict.error < 1e-12
    if "conditions" in claim:
        assert set(claim["conditions"]) <= set(verdict.conditions)
        assert structural <= set(claim["conditions"])
    if "mended" in claim:
        assert claim["mended"] in f"{verdict.correct} {verdict.mend}"
    if claim["verdict"] == "wrong":
        assert_shown(verdict.counterexample)


def assert_shown(program):
    """The program runs with NumPy alone, and its two sides differ."""
    assert "mbp" not in program
    found = {}
    exec(program, found)
    left, right = np.asarray(found["left"]), np.asarray(found["right"])
    assert np.linalg.norm(left - right) > 1e-3 * np.linalg.norm(left)


def restated(claim, formula):
    return judged({**claim, "is": formula})


MENDED = [c for c in CLAIMS if c["verdict"] == "wrong" and "is" in c]


@pytest.mark.parametrize("claim", MENDED[::6], ids=map(name, MENDED[::6]))
def test_the_right_formula_holds(claim):
    formula = judged(claim).correct
    assert restated(claim, formula).holds


@pytest.mark.parametrize(
    ("expression", "stated", "right"),
    [
        ("sumsq(A @ x - b) / 2", "2 * A.T @ (A @ x - b)", "A.T @ (A @ x - b)"),
        ("sumsq(A @ x - b)", "-A.T @ (A @ x - b) * 2", "2 * A.T @ (A @ x - b)"),
    ],
)
def test_the_right_formula_has_one_number_in_front(expression, stated, right):
    verdict = mbp.claim(expression, gradient="x", is_=stated, A="m n", x="n", b="m")
    assert verdict.correct == right and verdict.mend.endswith(f": {right}")


def test_a_difference_that_only_50_digits_show_is_one():
    verdict = mbp.claim("inv(A) == inv(A + 1e-13 * eye(n))", A="n n invertible")
    assert verdict.verdict == "wrong"
