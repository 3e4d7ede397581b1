"""What comes out reads as the literature writes it, with its conditions and its proof."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy as sp

from mbp.decomposition import read_decomposition
from mbp.derive.determinacy.determined import small_sizes
from mbp.derive.determinacy.variety import Variety
from mbp.derive.implicit import variation_of
from mbp.derive.proofs.implicit import BACK, proof
from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.expr.parser import parse
from mbp.numeric.evaluate import evaluate
from mbp.resources import rules_table
from mbp.rulebook import RULEBOOK

BUILT_IN: dict[str, Any] = rules_table("decompositions")

FORMS = {
    ("eig", "U"): "U @ (K.T * (U.T @ d(X) @ U))",
    ("eig", "Q"): "diagpart(U.T @ d(X) @ U)",
    ("svd", "S"): "diagpart(U.T @ d(X) @ V)",
    ("svd", "V"): "2 * V @ (K.T * sym(S @ U.T @ d(X) @ V))",
    ("svd", "U"): "2 * U @ (K.T * sym(U.T @ d(X) @ V @ S))"
    " + (eye(m) - U @ U.T) @ d(X) @ V @ inv(S)",
    ("projector", "P"): "2 * sym((eye(m) - P) @ d(A) @ pinv(A))",
    ("inv", "Y"): "-Y @ d(A) @ Y",
    ("qr", "R"): "(2 * triu(sym(Q.T @ d(X) @ inv(R)), 1) + diagpart(Q.T @ d(X) @ inv(R))) @ R",
    ("cholesky", "L"): "L @ (tril(inv(L) @ d(A) @ inv(L).T, -1)"
    " + diagpart(inv(L) @ d(A) @ inv(L).T) / 2)",
    ("pinv", "X"): "-X @ d(A) @ X + X @ X.T @ d(A).T @ (eye(m) - A @ X)"
    " + (eye(n) - A.T @ X.T) @ d(A).T @ X.T @ X",
}  # fmt: skip

CONDITIONS = {
    "svd": {"distinct(s)", "nonzero(s)"},
    "svd_full": {"distinct(s)", "nonzero(s)"},
    "eig": {"distinct(q)"},
    "projector": {"rank(A) constant"},
    "pinv": {"rank(A) constant"},
    "inv": set(),
    "cholesky": set(),
    "ldl": set(),
    "qr": set(),
    "polar": set(),
    "sqrtm": set(),
    "generalized_eig": {"distinct(q)"},
    "sylvester_symmetric": {"nonzero(a[i] + b[j])"},
    "symmetric_factor": set(),
}


@pytest.mark.parametrize(("name", "output"), FORMS)
def test_the_variation_reads_as_the_literature_writes_it(name: str, output: str) -> None:
    found = variation_of(read_decomposition(name, BUILT_IN[name]))
    letters = (*found.definition.inputs, *found.definition.outputs)
    names: dict[str, Expr] = {x.name: x for x in letters}
    names |= found.kernels
    assert found.variations[output] is parse(FORMS[name, output], names, RULEBOOK.functions)


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_are_the_denominators(name: str) -> None:
    found = variation_of(read_decomposition(name, BUILT_IN[name]))
    assert set(found.conditions) == CONDITIONS[name]


def test_singular_values_must_not_vanish_only_when_there_are_more_rows() -> None:
    found = variation_of(read_decomposition("svd", BUILT_IN["svd"]))
    assert [c.when for c in found.denominators if c.text == "nonzero(s)"] == ["m > n"]


def test_an_undeclared_rank_is_a_condition() -> None:
    table = {
        "input": {"A": "n n", "B": "n k"},
        "output": {"Y": "n k"},
        "defines": ["A @ Y = B"],
    }
    assert variation_of(read_decomposition("solve", table)).conditions == ("A invertible",)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_stated_line_of_the_proof_holds(name: str) -> None:
    found = variation_of(read_decomposition(name, BUILT_IN[name]))
    sizes = small_sizes(found.definition)[-1]
    variety = Variety(found.definition, sizes, rank=sizes.get("k", 1))
    rng = np.random.default_rng(6)
    values = variety.point(rng)
    tangent = variety.tangents(values)
    changes = variety.split(rng.normal(size=len(tangent)) @ tangent)
    env: dict[Any, Any] = {x: values[x] for x in variety.declared} | sizes
    env |= {build.variation(x): changes[x] for x in variety.declared}
    gauge = bool(found.gauges)
    stated = [s for s in proof(found) if s.lhs is not None and s.rhs is not None]
    assert {"definition", "variation", BACK} <= {by for s in stated for by in s.by}
    for step in stated:
        if step.by == (BACK,) and gauge:
            continue  # holds up to the gauge
        assert step.lhs is not None and step.rhs is not None
        left, right = evaluate(step.lhs, env), evaluate(step.rhs, env)
        assert np.abs(left - right).max() < 1e-9 * max(1.0, np.abs(left).max()), step


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_solution_of_each_scalar_system_solves_it(name: str) -> None:
    found = variation_of(read_decomposition(name, BUILT_IN[name]))
    outputs = tuple(f"δ{y.name}_" for y in found.definition.outputs)
    classes = [s.entries for s in proof(found) if s.entries is not None][1:]
    checked = 0
    for system, solved in pairwise(classes):
        if solved.head != "so that":
            continue
        invariants = {x: y for x, y in system.equations if str(x).startswith(outputs)}
        for known, unknown in system.equations:
            if known not in invariants:
                left = unknown.subs(invariants).subs(dict(solved.equations)) - known
                assert sp.simplify(left) == 0, (known, unknown)
                assert unknown.subs(dict(solved.equations)) != unknown
                checked += 1
    assert checked or name in ("sylvester", "lyapunov", "inv")
