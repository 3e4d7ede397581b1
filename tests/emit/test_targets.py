"""Modules for NumPy and JAX pass the checks of PyTorch's, and JAX's transforms keep them right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import mbp
from mbp.emit.dialects import DIALECTS
from mbp.errors import MbpError
from mbp.layers import registry

RNG = np.random.default_rng(0)
F = RNG.normal(size=(5, 3))
TIED = np.concatenate([np.eye(3), np.zeros((2, 3))]) + 0.0
"""All singular values are equal."""


@pytest.mark.parametrize("target", ["numpy", "jax"])
@pytest.mark.parametrize("name", registry())
def test_a_layer_passes_the_same_checks(name, target):
    report = registry()[name].check(target=target)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("A @ inv(X) @ A.T + inv(X + eye(n)) @ kron_right(A, kron(A, X))", "numpy"),
        ("cholesky(X @ X.T + eye(n)) @ diag(diag(X)) + pinv(A) + unvec(vec(X), n, n)", "jax"),
        ("sigmoid(X) + erf(A * X) + A ** 3 + inv(X)", "numpy"),
        ("logdet(X @ X.T + eye(n)) * X / norm(X) + inv(X)", "jax"),
        ("unvec((kron(A, eye(n)) + kron(X, A)) @ vec(X), n, n)", "numpy"),
        ("unvec(inv(kron(sym(A), eye(n)) + kron(eye(n), X @ X.T)) @ vec(A), n, n)", "jax"),
    ],
)
def test_an_expression_passes_the_same_checks(text, target):
    layer = mbp.Layer.from_text(text, X="n n invertible", A="n n")
    report = layer.check(target=target)
    assert report.passed, str(report)


@pytest.mark.parametrize("X", [F, TIED])
def test_jax_transforms_agree_with_torch_at_ties_too(X):
    o2p = registry()["o2p"]
    layer, module = o2p.compile("jax").o2p, o2p.compile()
    C = RNG.normal(size=(3, 3))

    def loss(X):
        return (jnp.asarray(C) * layer(X, 0.1)).sum() ** 2

    def torch_loss(X):
        return (torch.from_numpy(C) * module.o2p(X, 0.1)).sum() ** 2

    with jax.enable_x64(True):
        batch = jnp.stack([X, 2 * X])
        gradient = jax.jit(jax.grad(loss))(jnp.asarray(X))
        batched = jax.vmap(jax.grad(loss))(batch)
        second = jax.jacrev(jax.grad(loss))(jnp.asarray(X))
        with pytest.raises(NotImplementedError, match="no third derivative"):
            jax.jacrev(jax.jacrev(jax.grad(loss)))(jnp.asarray(X))
        with pytest.raises(TypeError, match="custom_vjp"):
            jax.jvp(loss, (jnp.asarray(X),), (jnp.asarray(X),))
    expected = torch.func.grad(torch_loss)(torch.from_numpy(X))
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(batched[0], expected, rtol=1e-10, atol=1e-12)
    expected = torch.func.jacrev(torch.func.grad(torch_loss))(torch.from_numpy(X))
    np.testing.assert_allclose(second, expected, rtol=1e-9, atol=1e-11)


def test_a_sample_that_is_not_finite_spoils_no_other():
    batch = np.stack([F, np.full_like(F, np.nan), 2 * F])
    for target in ("numpy", "jax"):
        C = np.asarray(registry()["o2p"].compile(target).o2p(batch))
        assert np.isfinite(C).all((-2, -1)).tolist() == [True, False, True]


def test_half_precision_is_computed_in_single_and_returned_as_it_came():
    C = registry()["o2p"].compile("numpy").o2p(F.astype(np.float16))
    assert C.dtype == np.float16
    np.testing.assert_allclose(
        C, registry()["o2p"].compile("numpy").o2p(F.astype(np.float16).astype(float)), rtol=1e-2
    )


def test_shapes_that_do_not_conform_are_refused():
    module = registry()["affinity"].compile("numpy")
    with pytest.raises(ValueError, match="Lam has shape"):
        module.affinity(F, np.eye(4))
    with pytest.raises(ValueError, match="G has shape"):
        module.vjp(F, np.eye(3), np.eye(3))


def test_what_a_target_lacks_is_refused_by_name():
    with pytest.raises(MbpError, match="unknown target 'fortran'; known are torch, numpy, jax"):
        registry()["o2p"].emit_text("fortran")
    with pytest.raises(MbpError, match="the numpy target has nothing that does what"):
        DIALECTS["numpy"].call("torch.linalg.ldl_factor", hermitian=False)


@pytest.mark.parametrize("target", ["numpy", "jax"])
def test_complex_inputs_are_refused(target):
    module = registry()["o2p"].compile(target)
    with pytest.raises(TypeError, match="complex"):
        module.o2p(F + 1j, 0.1)
    with pytest.raises(TypeError, match="complex"):
        module.vjp(F, np.eye(3) + 0j, 0.1)
