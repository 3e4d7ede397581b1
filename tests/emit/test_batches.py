"""Each sample of a batch stands alone, and every shape that a declaration allows is taken."""

import importlib

import pytest
import torch

import mbp
from mbp.layers import registry

DTYPE = torch.float64


def normal(*shape):
    return torch.randn(*shape, dtype=DTYPE, generator=torch.Generator().manual_seed(sum(shape)))


def orthogonal(n):
    return torch.linalg.qr(normal(n, n))[0]


def partition(m, k):
    return torch.eye(k, dtype=DTYPE).repeat(m // k, 1)


W = normal(6, 3).abs() @ normal(6, 3).abs().T
LOW = normal(6, 3) @ torch.diag(torch.tensor([1.0, -2, 3], dtype=DTYPE)) @ normal(6, 3).T
DEFINITE = (normal(3, 3) @ normal(3, 3).T + torch.eye(3, dtype=DTYPE)).abs()
INPUTS = {
    "svd": (normal(5, 3),),
    "svd_full": (normal(5, 3),),
    "eig": (normal(4, 4),),
    "svd_function": (normal(3).abs(), orthogonal(3)),
    "eig_function": (orthogonal(3), normal(3).abs() + 1),
    "o2p_svd": (normal(5, 3),),
    "o2p_eig": (normal(5, 3),),
    "o2p": (normal(5, 3),),
    "power_pool": (normal(5, 3),),
    "projector": (LOW,),
    "affinity": (normal(5, 3), normal(3, 3)),
    "normalized_affinity": (W, partition(6, 2)),
    "ncuts_j1": (normal(6, 3).abs(), DEFINITE, partition(6, 2)),
    "ncuts_j2": (normal(6, 3), DEFINITE, partition(6, 2)),
    "ncuts_j1_affinity": (W, partition(6, 2)),
    "ncuts_j2_affinity": (W, partition(6, 2)),
}
POOLS = ["o2p", "o2p_svd", "o2p_eig", "power_pool"]


def layer(name):
    return getattr(importlib.import_module(f"mbp.generated.{name}"), name)


def loss(f, inputs):
    """A sum over samples that sees every output."""
    results = f(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) == 1 and results[0].dim() < inputs[0].dim():
        return results[0].sum()  # a number a sample
    return sum((Y * torch.arange(1.0, 1 + Y.shape[-1])).sum() for Y in results)


def gradients(f, inputs):
    """The gradient in the first input."""
    first = inputs[0].clone().requires_grad_()
    return torch.autograd.grad(loss(f, (first, *inputs[1:])), first)[0]


@pytest.mark.parametrize("name", registry())
@pytest.mark.parametrize("mate", ["nan", "inf", "zero", "large"])
def test_a_sample_is_independent_of_its_batch_mates(name, mate):
    f, inputs = layer(name), INPUTS[name]
    other = {
        "nan": torch.full_like(inputs[0], torch.nan),
        "inf": torch.full_like(inputs[0], torch.inf),
        "zero": torch.zeros_like(inputs[0]),
        "large": inputs[0] * 1e8,
    }[mate]
    batch = (torch.stack([inputs[0], other]), *inputs[1:])
    found = gradients(f, batch)
    assert found[0].isfinite().all()
    torch.testing.assert_close(found[0], gradients(f, inputs), rtol=1e-9, atol=1e-9)
    if mate in ("nan", "inf"):
        assert not found[1].isfinite().all()


@pytest.mark.parametrize("name", registry())
def test_an_empty_batch_gives_an_empty_gradient(name):
    inputs = tuple(X.expand(0, *X.shape) for X in INPUTS[name])
    assert gradients(layer(name), inputs).shape == inputs[0].shape


@pytest.mark.parametrize("name", registry())
def test_strides_and_expanded_inputs_make_no_difference(name):
    f, inputs = layer(name), INPUTS[name]
    expected = gradients(f, inputs)
    first = inputs[0]
    turned = first.mT.contiguous().mT if first.dim() > 1 else torch.stack([first, first])[:, ::1][0]
    spaced = torch.stack([first, first], -1)[..., 0]
    expanded = first.expand(2, *first.shape)
    for X in (turned, spaced):
        leaf = X.requires_grad_()
        (found,) = torch.autograd.grad(loss(f, (leaf, *inputs[1:])), leaf)
        torch.testing.assert_close(found, expected)
    leaf = first.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(f, (leaf.expand(expanded.shape), *inputs[1:])), leaf)
    torch.testing.assert_close(found, 2 * expected)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pooling_takes_zeros_and_single_numbers(name, shape, dtype):
    F = torch.zeros(shape, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(name)(F, 1e-3).sum(), F)
    assert torch.equal(gradient, torch.zeros_like(F))


def test_a_single_number_has_its_eigenvalue_and_singular_value():
    x = torch.tensor([[-2.0]], dtype=DTYPE, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer("eig")(x)[1].sum(), x)
    assert gradient.item() == 1
    (gradient,) = torch.autograd.grad(layer("svd")(x)[1].sum(), x)
    assert gradient.item() == -1
    (gradient,) = torch.autograd.grad(layer("projector")(x).sum(), x)
    assert gradient.item() == 0


def test_the_projector_of_zero_is_zero_and_so_is_its_gradient():
    A = torch.zeros(3, 3, dtype=DTYPE, requires_grad=True)
    P = layer("projector")(A)
    assert not P.any()
    assert not torch.autograd.grad(P.sum(), A)[0].any()


@pytest.mark.parametrize("name", registry())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_returns_its_own_dtype(name, dtype):
    f, inputs = layer(name), tuple(X.to(dtype) for X in INPUTS[name])
    results = f(*inputs)
    wide = f(*(X.float() for X in inputs))
    if not isinstance(results, tuple):
        results, wide = (results,), (wide,)
    for Y, Z in zip(results, wide, strict=True):
        assert Y.dtype == dtype
        torch.testing.assert_close(Y, Z.to(dtype))
    assert gradients(f, inputs).dtype == dtype


@pytest.mark.parametrize("name", ["o2p", "projector", "ncuts_j2", "eig"])
def test_autocast_does_not_reach_inside(name):
    f, inputs = layer(name), tuple(X.float() for X in INPUTS[name])
    expected = gradients(f, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(f, inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_inner_precision_can_be_chosen():
    F = normal(5, 3).float()
    chosen = layer("o2p")(F, 1e-3, compute_dtype=torch.float64)
    assert chosen.dtype == torch.float32
    torch.testing.assert_close(chosen, layer("o2p")(F.double(), 1e-3).float(), rtol=0, atol=0)


@pytest.mark.parametrize("text", ["tr(D) + sumsq(u)", "sumsq(D - D) + 0 * sum(u)"])
def test_a_derivative_that_vanishes_has_the_shape_of_its_input(text):
    D, u = normal(2, 3).requires_grad_(), normal(2, 4).requires_grad_()
    layer = mbp.Layer.from_text(text, D="n n diagonal", u="m")
    assert layer(D, u).shape == (2,)
    assert torch.autograd.gradgradcheck(layer, (D, u))
