"""Whatever a derivation of a built-in layer simplifies keeps its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mbp.derive import deriver
from mbp.expr.nodes import Expr, Output, Var, Variation, topological
from mbp.invariants.infer import is_
from mbp.layers import registry
from mbp.numeric.evaluate import evaluate

SIZES = {"m": 5, "n": 3, "d": 3, "k": 2}


def value(node: Expr, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random matrix with what is known of the variable or variation."""
    rows, cols = (int(d.xreplace({s: SIZES[s.name] for s in d.free_symbols})) for d in node.shape)
    A = rng.standard_normal((rows, cols))
    if is_(node, "partition"):
        return np.eye(cols)[np.arange(rows) % cols]
    if is_(node, "orthonormal_columns"):
        return np.linalg.qr(A)[0]
    if is_(node, "diagonal"):
        return np.diag(np.abs(np.diag(A)))
    if is_(node, "positive_definite") and isinstance(node, Var):
        return A @ A.T / 9 + np.eye(rows)
    if is_(node, "antisymmetric"):
        return A - A.T
    if is_(node, "symmetric"):
        A = A + A.T
    if is_(node, "lower_triangular"):
        A = np.tril(A) + 2 * np.eye(rows)
    # The degrees of an affinity are positive.
    positive = is_(node, "positive") or (isinstance(node, Var) and node.name in ("W", "F"))
    return np.abs(A) + 0.1 if positive else A


def instance(*roots: Expr) -> dict[Any, Any]:
    rng = np.random.default_rng(3)
    env: dict[Any, Any] = dict(SIZES)
    for node in topological(*roots):
        if isinstance(node, Var | Variation):
            env[node] = value(node, rng)
    return env


@pytest.mark.parametrize("name", registry())
def test_each_step_keeps_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def checked(rewrite: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
        def rewritten(e: Expr) -> Expr:
            nonlocal compared
            f = rewrite(e)
            env = instance(e, f)
            before, after = evaluate(e, env), evaluate(f, env)
            assert np.allclose(before, after, rtol=1e-6, atol=1e-8 * (1 + np.abs(before).max())), (
                f"{e}\n  became {f}"
            )
            compared += 1
            return f

        return rewritten

    monkeypatch.setattr(deriver, "simplify", checked(deriver.simplify))
    monkeypatch.setattr(deriver, "collapse", checked(deriver.collapse))
    derivation = deriver.derive(registry()[name].definition)
    assert compared
    assert not any(isinstance(e, Output) for e in derivation.gradients.values())
