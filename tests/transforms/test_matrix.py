"""An emitted layer is a native PyTorch operation under every transform, or says that it is not."""

from dataclasses import replace

import pytest
import torch

from mbp.layers import registry
from tests.transforms import matrix
from tests.transforms.cases import CASES, normal

TRACED = ("eig", "o2p", "ncuts_j2")
"""The layers whose slow columns run here; `python -m tests.transforms` runs all of them."""

REPEATED = replace(CASES["o2p"], free=(torch.linalg.qr(normal(5, 3))[0].contiguous(),))
"""Equal singular values, up to rounding: autograd of the decomposition is wrong or nan here."""

DEFICIENT = replace(
    CASES["ncuts_j2"],
    free=(normal(8, 3) * torch.tensor([1.0, 1.0, 0.0]), CASES["ncuts_j2"].free[1]),
)
"""A dead channel: autograd of the pseudoinverse is nan here."""


def layers_for(row):
    if row.title == "compile, inductor":
        return ["o2p"]  # a C++ compiler's minute
    if row.title == "compile, dynamic":
        return ["o2p_svd", "ncuts_j2"]  # the first compares its dimensions
    return TRACED if row.traced else list(CASES)


def cells(rows):
    return [
        pytest.param(row, name, id=f"{row.title}-{name}")
        for row in rows
        for name in layers_for(row)
    ]


def test_every_built_in_layer_has_a_case():
    assert CASES.keys() == registry().keys()


@pytest.mark.parametrize(
    ("transform", "name"), cells((*matrix.DERIVATIVES, *matrix.TRACING, *matrix.MODULES))
)
def test_the_transform_agrees_with_its_witness(transform, name):
    assert transform.check(CASES[name]) <= transform.tolerance


@pytest.mark.parametrize(("refusal", "name"), cells(matrix.REFUSED))
def test_what_does_not_work_raises_and_says_so(refusal, name):
    with pytest.raises(Exception, match=refusal.message):
        refusal.attempt(CASES[name])


def test_a_compiled_jvp_falls_back_to_eager_and_is_right():
    def slope(F):
        return torch.func.jvp(REPEATED.of_free, (F,), (torch.ones_like(F),))[1]

    torch._dynamo.reset()
    (F,) = REPEATED.free
    torch.testing.assert_close(torch.compile(slope, backend="aot_eager")(F), slope(F))


@pytest.mark.parametrize("case", [REPEATED, DEFICIENT], ids=["repeated", "deficient"])
@pytest.mark.parametrize(
    "check",
    [
        matrix.func_grad, matrix.vmap_of_grad, matrix.jacobian_forward, matrix.jacobian_reverse,
        matrix.compiled_backward, matrix.compiled_grad, matrix.checkpointed_reentrant,
    ],
)  # fmt: skip
def test_no_transform_drops_the_rule_where_autograd_would_fail(check, case):
    assert check(case) <= 1e-12


def test_second_derivatives_hold_at_repeated_singular_values():
    for check in (matrix.func_hessian, matrix.reverse_over_forward, matrix.double_backward):
        assert check(REPEATED) <= matrix.DIFFERENCES
