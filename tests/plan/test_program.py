"""Programs share what they can, keep low rank, save only what is needed and say what they cost."""

import pytest
import sympy as sp

from mbp.api import one_off_layer
from mbp.layers import registry
from mbp.plan.choice import layer_cost, plan

m, n, d = sp.symbols("m n d", integer=True, positive=True)


def planned(text, **declarations):
    return plan(one_off_layer(text, declarations, "layer").derive())


def ops(program):
    return [value.op for value in program.values]


def test_a_product_is_taken_in_its_cheapest_order():
    program = planned("A @ B @ x", A="m n", B="n n", x="n").forward
    assert all(v.cols == 1 for v in program.values if v.op == "matmul")


def test_diagonals_ones_and_outer_products_are_never_formed():
    program = planned("diag(x) @ A @ ones(n) @ ones(n).T", A="n n", x="n").forward
    assert not {"matmul", "embed", "eye"} & set(ops(program))


def test_an_inverse_is_applied_by_solving():
    assert "inverse" not in ops(planned("inv(X) @ B", X="n n", B="n p").forward)
    definite = planned("inv(X) @ B", X="n n positive_definite", B="n p")
    assert "cholesky_solve" in ops(definite.forward)
    assert "cholesky" not in ops(definite.backward)


def test_forward_and_backward_share_one_eigenproblem():
    program = planned("logm(X) @ sqrtm(X) + expm(logm(X))", X="n n positive_definite")
    assert ops(program.forward).count("eigh") == 1
    assert "eigh" not in ops(program.backward)


def test_nothing_is_saved_that_backward_does_not_use():
    assert planned("A @ B", A="m n", B="n p").saved == ()
    saved = plan(registry()["o2p"].derive()).saved
    assert sorted(v.form.value for v in saved) == ["diagonal", "matrix"]


def test_normalized_cuts_are_linear_in_the_pixels():
    for name in ("ncuts_j1", "ncuts_j2"):
        cost = layer_cost(registry()[name].derive())
        assert sp.degree(cost.forward.flops, m) == sp.degree(cost.backward.flops, m) == 1


def test_costs_are_polynomials_that_take_sizes():
    cost = layer_cost(registry()["o2p"].derive())
    assert sp.Poly(cost.forward.flops, m, d).total_degree() == 3
    assert cost.at({"m": 196, "d": 64}).backward.flops.is_Integer


def test_a_common_factor_is_taken_out():
    program = planned("A @ B + A @ D", A="n n", B="n n", D="n n").forward
    assert ops(program).count("matmul") == 1


def test_transposed_pairs_are_one_product():
    program = planned("A @ B + B.T @ A.T", A="n n", B="n n").forward
    assert ops(program).count("matmul") == 1


SCALED_IDENTITIES = {
    "inner(s * eye(m) @ inv(s * eye(m) + C @ C.T), D)": {
        "C": "m k", "D": "m m diagonal positive_definite", "s": "scalar positive",
    },
    "tr(D @ inv(s * eye(m) + C @ C.T) @ inv(s * eye(m) + C @ C.T))": {
        "C": "m k", "D": "m m diagonal positive_definite", "s": "scalar positive",
    },
    "tr((eye(m) - projector(A)) @ (diag(v) + C @ C.T))": {
        "A": "m d", "C": "m k", "v": "m positive",
    },
    "x.T @ A @ A.T @ (ones(m) + s * x)": {"A": "m d", "x": "m", "s": "scalar"},
}  # fmt: skip


@pytest.mark.parametrize("text", SCALED_IDENTITIES)
def test_identities_ones_and_their_multiples_count_once(text):
    report = one_off_layer(text, SCALED_IDENTITIES[text], "layer").check()
    assert report.passed, str(report)
