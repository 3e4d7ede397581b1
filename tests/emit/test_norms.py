"""At X = 0 the derivative of ‖X‖ is 0, in every target and order."""

import jax
import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import mbp

A = np.random.default_rng(0).normal(size=(5, 3))
AT_ZERO = {
    "norm(A @ A.T - B @ B.T)": {"A": A, "B": A},
    "norm(A @ A.T - X @ X.T)": {"A": A.T, "X": A.T},
    "norm(logm(F.T @ F + eye(d)))": {"F": 0 * A},
    "norm(logm(W.T @ W + eye(d)))": {"W": 0 * A.T},
    "norm(A - B)": {"A": A, "B": A},
    "exp(norm(A @ C))": {"A": A, "C": 0 * A.T},
    "norm(A - B) ** 3": {"A": A, "B": A},
}
SHAPES = {"A": "m d", "B": "m d", "C": "d m", "F": "m d", "W": "m d", "X": "m d"}


def layer_of(text):
    return mbp.Layer.from_text(text, **{name: SHAPES[name] for name in AT_ZERO[text]})


@pytest.mark.parametrize("target", ["numpy", "jax"])
@pytest.mark.parametrize("text", AT_ZERO)
def test_the_gradient_of_a_norm_at_zero(text, target):
    with jax.enable_x64(True):
        gradients = layer_of(text).compile(target).vjp(*AT_ZERO[text].values(), np.ones(()))
    for gradient in gradients if isinstance(gradients, tuple) else (gradients,):
        assert not np.asarray(gradient).any()


@pytest.mark.parametrize("text", AT_ZERO)
def test_the_derivatives_of_a_norm_at_zero_in_torch(text):
    layer = layer_of(text)
    inputs = [torch.tensor(X, requires_grad=True) for X in AT_ZERO[text].values()]
    gradients = torch.autograd.grad(layer(*inputs), inputs, create_graph=True)
    assert not any(gradient.any() for gradient in gradients)
    second = torch.autograd.grad(sum(gradient.sum() for gradient in gradients), inputs)
    assert all(gradient.isfinite().all() for gradient in second)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(X.detach(), torch.ones_like(X)) for X in inputs]
        assert forward_ad.unpack_dual(layer(*duals)).tangent == 0


def test_a_quotient_by_a_norm_keeps_its_pole():
    X = torch.zeros(3, 2, dtype=torch.float64)
    assert mbp.Layer.from_text("X / norm(X)", X="m n")(X).isnan().all()
