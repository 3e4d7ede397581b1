"""Expressions are values: equal ones are one object, however they were made or copied."""

import copy
import gc
import pickle

import pytest
import sympy as sp
from hypothesis import HealthCheck, given, settings

from mbp.expr import build
from mbp.expr.nodes import Expr, Sum, topological, variables
from mbp.invariants.declare import declare
from tests.strategies import VARIABLES, expressions, formal_expressions

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]
X, Y, S, B, c = (VARIABLES[name] for name in "XYSBc")


def test_equal_expressions_are_one_object() -> None:
    assert X.T @ Y + S is X.T @ Y + S
    assert declare("X", "m n") is X
    assert declare("X", "m n positive") is not X
    assert X + Y is not Y + X


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(formal_expressions(depth=3))
def test_copies_and_pickles_are_the_same_object(e: Expr) -> None:
    assert copy.copy(e) is e
    assert copy.deepcopy(e) is e
    assert pickle.loads(pickle.dumps(e)) is e


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(formal_expressions(depth=3))
def test_rebuilding_every_node_changes_nothing(e: Expr) -> None:
    for node in topological(e):
        assert build.rebuild(node, node.args) is node
    assert build.substitute(e, {}) is e


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(expressions(depth=3))
def test_operands_come_before_what_uses_them(e: Expr) -> None:
    seen: set[Expr] = set()
    for node in topological(e):
        assert node not in seen and all(arg in seen for arg in node.args)
        seen.add(node)
    assert set(variables(e)) <= set(VARIABLES.values())


def test_unused_nodes_are_forgotten() -> None:
    gc.collect()
    before = len(Expr._interned)
    made = [build.var(f"Z{k}", "m", "n") + X for k in range(100)]
    assert len(Expr._interned) == before + 200
    del made
    gc.collect()
    assert len(Expr._interned) == before


def test_an_expression_cannot_be_changed_into_a_truth_value_by_comparison() -> None:
    assert (X == X) is True
    assert (X == Y) is False
    assert len({X, Y, X}) == 2


def test_trivial_algebra_folds() -> None:
    I, Z = build.eye("n"), build.zeros("m", "n")
    assert S @ I is S and I @ S is S
    assert X + Z is X
    assert X.T.T is X
    assert 1 * X is X and 0 * X is Z
    assert 2 * (3 * X) is 6 * X
    assert -1 * (-X) is X
    assert X @ build.zeros("n", "n") is Z
    assert build.tr(I) is build.dim_size(sp.Symbol("n", integer=True, positive=True))
    assert build.number(0.1) is build.number(sp.Rational(1, 10))
    assert X**1 is X and X**0 is build.ones("m", "n")
    assert build.inv(build.inv(B)) is B


def test_a_product_is_read_from_the_left() -> None:
    u, R = VARIABLES["u"], VARIABLES["R"]
    assert u.T @ (R @ u @ u.T) is (u.T @ R @ u) * u.T


def test_numpy_numbers_and_arrays_do_not_take_over() -> None:
    import numpy as np

    assert np.float64(2.0) * X is 2 * X
    assert isinstance(np.float64(2.0) * c + 1, Sum)


def test_true_and_false_are_no_numbers() -> None:
    with pytest.raises(ValueError):
        True * X
