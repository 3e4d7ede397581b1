"""Multiples of a matrix are taken to the first one met, which alone is factored."""

import numpy as np
import pytest
import sympy as sp

from mbp.api import parse
from mbp.expr import build, scalar
from mbp.expr.nodes import Det, Frechet, Inverse, LogDet, topological
from mbp.numeric.evaluate import evaluate
from mbp.plan.spelling.multiples import Multiples

DECLARED = {"P": "n n positive_definite", "Q": "n n positive_definite", "s": "scalar positive"}
OTHERS = ["-6 * s * Q - 3 * P", "P / 2 + s * Q", "-(P + 2 * s * Q)", "P + 2 * s * Q"]
MAPS = [
    build.inv,
    build.det,
    build.logdet,
    lambda A: build.powm(A, build.number(-2)),
    lambda A: build.matfun("tanh(x)", A),
    lambda A: build.frechet(sp.sin(scalar.X), A, (), parse("Q", **DECLARED)),
    lambda A: build.frechet(sp.exp(scalar.X), A, (), *[parse("Q", **DECLARED)] * 2),
]


def read(text):
    return parse(text, **DECLARED)


def arguments(e):
    kinds = Inverse, Det, LogDet, Frechet
    return {node.args[0] for node in topological(e) if isinstance(node, kinds)}


@pytest.mark.parametrize("of", MAPS)
@pytest.mark.parametrize("text", OTHERS)
def test_a_function_of_a_multiple_is_one_of_the_first(of, text):
    rng = np.random.default_rng(0)
    env = {"n": 3, read("s"): np.array([[0.7]])}
    for name in "PQ":
        X = rng.normal(size=(3, 3))
        env[read(name)] = X @ X.T / 3 + np.eye(3)
    multiples, first, other = Multiples(), read("P + 2 * s * Q"), of(read(text))
    assert arguments(multiples.rewritten(build.inv(first))) == {first}
    rewritten = multiples.rewritten(other)
    assert arguments(rewritten) == {first}
    np.testing.assert_allclose(evaluate(rewritten, env), evaluate(other, env), atol=1e-12)


def test_a_negative_definite_matrix_is_taken_to_a_definite_one():
    (A,) = arguments(Multiples().rewritten(read("inv(-P - s * Q)")))
    assert A is read("P + s * Q")
