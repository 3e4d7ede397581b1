"""Derivative problems: the texts of the answers, read by another program, and compiled layers."""

import pytest

from tests.language.problems import PROBLEMS, wrong, wrong_compiled


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda each: each.name)
def test_the_texts_of_the_gradients_are_the_derivatives(problem):
    assert wrong(problem) is None


# The others run with `python -m tests.language --compiled`.
@pytest.mark.parametrize("problem", PROBLEMS[::12], ids=lambda each: each.name)
def test_the_compiled_layer_has_the_same_values_and_gradients(problem):
    assert wrong_compiled(problem) is None
