"""Every rule of rules/rewrites.toml holds on random admissible instances, and is used."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mbp.errors import RuleError
from mbp.expr.nodes import Var
from mbp.invariants.infer import has
from mbp.numeric.evaluate import evaluate
from mbp.rulebook import RULEBOOK
from mbp.simplify import equal
from mbp.simplify.rules import Rewrite, rewrites

SIZES = {"m": 5, "n": 3, "k": 2, "p": 4, "q": 2, "r": 3, "s": 2}
WIDE = {**SIZES, "m": 3, "n": 5}
SQUARE = {**SIZES, "m": 4, "n": 4}


def value(X: Var, sizes: dict[str, int], rng: np.random.Generator) -> NDArray[np.float64] | None:
    """A random matrix with X's properties; None when its shape allows none."""
    rows, cols = (int(d) if d.is_Integer else sizes[str(d)] for d in X.shape)
    A = rng.standard_normal((rows, cols))

    def is_(prop: str) -> bool:
        return has(X, prop) is True

    if is_("orthonormal_columns"):
        return np.linalg.qr(A)[0] if rows >= cols else None
    if is_("projector"):
        return A[:, :1] @ A[:, :1].T / float(A[:, 0] @ A[:, 0])
    if is_("positive_definite"):
        return A @ A.T + np.eye(rows)
    if is_("partition"):
        return np.eye(cols)[np.arange(rows) % cols] if rows >= cols else None
    if (is_("full_column_rank") and rows < cols) or (is_("full_row_rank") and cols < rows):
        return None
    if is_("symmetric"):
        return A + A.T
    return np.exp(A) if is_("positive") else A


def sides(rule: Rewrite, sizes: dict[str, int], seed: int) -> list[NDArray[np.float64]] | None:
    rng = np.random.default_rng(seed)
    env: dict[object, object] = dict(sizes)
    domain = {x.name: x for x in rule.domain}
    for X in rule.variables:
        env[X] = value(domain.get(X.name, X), sizes, rng)
        if env[X] is None:
            return None
    return [evaluate(side, env) for side in (rule.lhs, rule.rhs)]


@pytest.mark.parametrize("rule", rewrites(), ids=lambda rule: rule.name)
def test_rule_holds(rule: Rewrite) -> None:
    checked = 0
    with np.errstate(invalid="ignore"):
        for sizes in (SIZES, WIDE, SQUARE):
            for seed in range(3):
                values = sides(rule, sizes, seed)
                if values is None:
                    continue
                there = np.isfinite(values[0])
                assert np.allclose(values[0][there], values[1][there], rtol=1e-9, atol=1e-9)
                checked += int(there.sum())
    assert checked


@pytest.mark.parametrize("rule", rewrites(), ids=lambda rule: rule.name)
def test_rule_is_used(rule: Rewrite) -> None:
    assert equal(rule.lhs, rule.rhs)


@pytest.mark.parametrize(
    "table",
    [
        {"let": {"A": "n n"}, "lhs": "A @ A"},
        {"let": {"A": "m n"}, "lhs": "A @ A.T", "rhs": "A.T @ A"},
        {"let": {"A": "n n"}, "lhs": "A + A.T", "rhs": "A"},
        {"let": {"A": "n n"}, "lhs": "A @ B", "rhs": "A"},
        {"let": {"A": "n n odd"}, "lhs": "A @ A", "rhs": "A"},
    ],
    ids=["no right side", "shapes", "not one operation", "unknown name", "unknown property"],
)
def test_bad_rule_is_refused_by_name(table: dict[str, object]) -> None:
    with pytest.raises(RuleError, match="bad"):
        RULEBOOK.add({"bad": table})


def test_rules_have_sources() -> None:
    assert all(rule.source for rule in rewrites())
