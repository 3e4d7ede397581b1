"""Divided differences are exact at ties, stable near them, and symmetric in their points."""

from itertools import permutations

import pytest

from mbp.expr import scalar
from mbp.expr.scalar import parse_scalar
from mbp.numeric.arithmetic import FLOAT64, multiprecision
from mbp.numeric.divided import DividedDifference

X = scalar.X
FUNCTIONS = ["log", "sqrt", "exp", "1/x", "tanh", "x**3", "x/(1 + x)", "x**(3/10)"]


def reference(g: str, *points: float) -> float:
    """By the defining recursion in 400 digits, ties split by a hair."""
    at = multiprecision(400)
    body = at.compiled(parse_scalar(g), (X,))
    hair = at.matrix(10.0)[0, 0] ** -60
    split = [at.matrix(x)[0, 0] + k * hair for k, x in enumerate(sorted(points))]
    table = [body(x) for x in split]
    for order in range(1, len(split)):
        table = [
            (table[k + 1] - table[k]) / (split[k + order] - split[k]) for k in range(len(table) - 1)
        ]
    return float(table[0])


@pytest.mark.parametrize(
    ("g", "scale"),
    # exp and tanh have a scale of their own.
    [(g, scale) for g in FUNCTIONS for scale in (1.0, 1e-4, 1e4)
     if scale == 1.0 or g not in ("exp", "tanh")],
)  # fmt: skip
@pytest.mark.parametrize("gap", [0.0, 1e-14, 1e-10, 1e-6, 1e-3, 1e-2, 0.1, 0.9])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_float64_is_accurate_at_every_gap_and_scale(
    g: str, scale: float, gap: float, order: int
) -> None:
    points = [scale * (1 + k * gap) for k in range(order + 1)]
    value = DividedDifference(parse_scalar(g), FLOAT64)(*points)
    assert value == pytest.approx(reference(g, *points), rel=10.0 ** (2 * order - 14))


@pytest.mark.parametrize("g", FUNCTIONS)
def test_fifty_digits_agree_with_the_recursion_in_more(g: str) -> None:
    at = multiprecision(50)
    difference = DividedDifference(parse_scalar(g), at)
    for points in ([0.5, 0.5], [0.5, 0.5 + 2**-40], [1.5, 0.5, 1.5], [1.0, 1.0, 1.0, 2.0]):
        value = difference(*(at.matrix(x)[0, 0] for x in points))
        assert float(value) == pytest.approx(reference(g, *points), rel=1e-15)


def test_the_order_of_the_points_is_of_no_matter() -> None:
    points = (0.7, 0.7, 1.3, 2.0)
    values = {
        DividedDifference(parse_scalar("log"), FLOAT64)(*order) for order in permutations(points)
    }
    assert len(values) == 1


def test_parameters_stand_for_themselves() -> None:
    power = X ** scalar.parameter(0)
    assert DividedDifference(power, FLOAT64, [2.0])(3.0, 5.0) == pytest.approx(8.0)
    assert DividedDifference(power, FLOAT64, [2.0])(3.0, 3.0) == pytest.approx(6.0)
