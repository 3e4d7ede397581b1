"""Printing and parsing are inverse to each other on every expression of the grammar."""

import pytest
from hypothesis import HealthCheck, given, settings

from mbp.expr.nodes import Expr
from mbp.expr.parser import parse
from mbp.rulebook import RULEBOOK
from tests.strategies import VARIABLES, expressions, formal_expressions

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def reparsed(e: Expr) -> Expr:
    return parse(str(e), VARIABLES, RULEBOOK.functions)


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(expressions(depth=3))
def test_parsing_the_text_of_an_expression_gives_the_same_node(e: Expr) -> None:
    assert reparsed(e) is e


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(formal_expressions(depth=3))
def test_parsing_the_text_of_a_formal_expression_gives_the_same_node(e: Expr) -> None:
    assert reparsed(e) is e


@pytest.mark.parametrize(
    "text", ["4 * w.T @ (w @ v.T)", "c * (w.T @ (w @ v.T)) / 3", "w.T @ w @ v.T"]
)
def test_a_product_that_begins_with_a_scalar_reads_back(text: str) -> None:
    Y = parse(text, VARIABLES, RULEBOOK.functions)
    assert parse(str(Y), VARIABLES, RULEBOOK.functions) is Y
