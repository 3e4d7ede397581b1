"""Functions of functions of one matrix become one function, whose derivative has one kernel."""

import pytest
import sympy as sp

from mbp.api import Layer
from mbp.expr import scalar
from mbp.expr.nodes import Frechet, topological

x = scalar.X
CASES = {
    "logm(eye(n) + expm(X))": sp.log(1 + sp.exp(x)),
    "matfun('tanh', expm(X) - 2 * eye(n))": sp.tanh(sp.exp(x) - 2),
    "expm(matfun('sin', X) @ matfun('tanh', X) + X)": sp.exp(sp.sin(x) * sp.tanh(x) + x),
    "matfun('sin', matfun('tanh', expm(X)))": sp.sin(sp.tanh(sp.exp(x))),
}


@pytest.mark.parametrize("text", CASES)
def test_a_composition_is_one_function(text: str) -> None:
    derivation = Layer.from_text(text, X="n n symmetric").derive()
    (function,) = (
        node for node in topological(derivation.gradients["X"]) if isinstance(node, Frechet)
    )
    assert function.order == 1
    assert sp.simplify(function.g - CASES[text]) == 0
    assert not derivation.conditions


def test_functions_of_different_matrices_stay_apart() -> None:
    layer = Layer.from_text("expm(expm(X) + expm(Z))", X="n n symmetric", Z="n n symmetric")
    gradient = layer.derive().gradients["X"]
    assert len({node for node in topological(gradient) if isinstance(node, Frechet)}) > 1
