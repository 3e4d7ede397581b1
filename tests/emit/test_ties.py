"""At equal eigenvalues or singular values a gradient is right, nan or an error, never wrong."""

import pytest
import torch

from mbp.emit import emit_text, load
from mbp.layers import registry

DTYPE = torch.float64


@pytest.fixture(scope="module")
def eig():
    return load(emit_text(registry()["eig"].derive()), "eig").eig


@pytest.fixture(scope="module")
def svd():
    return load(emit_text(registry()["svd"].derive()), "svd").svd


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, dtype=DTYPE)


def orthogonal(n):
    return torch.linalg.qr(normal(n, n))[0]


def gradient(loss, X):
    X = X.clone().requires_grad_()
    return torch.autograd.grad(loss(X), X)[0]


@pytest.mark.parametrize("f", [torch.log, torch.sin, torch.square, torch.exp])
@pytest.mark.parametrize("entry", [(0, 1), (0, 0), (2, 3)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_function_through_the_factors_is_never_silently_wrong(f, entry, turned, eig):
    """Both cotangents of log at I vanish, as those of a constant; its gradient does not."""
    frame = orthogonal(4) if turned else torch.eye(4, dtype=DTYPE)

    def loss(X, on_tie="nan"):
        U, Q = eig(X, on_tie=on_tie)
        return (U @ torch.diag(f(Q)) @ U.mT)[entry]

    for values in ([1.0, 1, 1, 1], [1.0, 1, 2, 2], [3.0, 3, 3, 1]):
        X = frame @ torch.diag(torch.tensor(values, dtype=DTYPE)) @ frame.T
        if gradient(loss, X).isfinite().all():
            # Only in a frame that keeps the entry out of a tied block.
            assert not turned
            assert values[entry[0]] != values[entry[1]]
        else:
            with pytest.raises(RuntimeError, match="equal eigenvalues"):
                gradient(lambda X: loss(X, "raise"), X)


@pytest.mark.parametrize("values", [[1.0, 1, 2, 3], [1.0, 1, 100, 300], [5.0, 5, 5, 1]])
@pytest.mark.parametrize("turned", [False, True])
def test_a_gauge_free_loss_of_eigenvectors_has_its_gradient(values, turned, eig):
    frame = orthogonal(4) if turned else torch.eye(4, dtype=DTYPE)
    q = torch.tensor(values, dtype=DTYPE)
    X = frame @ torch.diag(q) @ frame.T
    M = normal(4, 4)
    k = values.count(values[0])

    def loss(X):
        U, Q = eig(X, on_tie="raise")
        tied = U[:, :k] if values[0] < values[-1] else U[:, -k:]
        return (tied @ tied.mT * M).sum() + Q.log().sum()

    V, W = frame[:, :k], frame[:, k:]
    middle = V @ (V.T @ (M + M.T) @ W / (q[0] - q[k:])) @ W.T
    expected = (middle + middle.T) / 2 + torch.linalg.inv(X)
    torch.testing.assert_close(gradient(loss, X), expected, rtol=1e-10, atol=1e-10)


def test_functions_of_tied_eigenvalues_alone_must_be_symmetric(eig):
    X = torch.eye(3, dtype=DTYPE)
    torch.testing.assert_close(gradient(lambda X: eig(X)[1].exp().sum(), X), torch.e * X)
    assert gradient(lambda X: eig(X)[1][0], X).isnan().any()


@pytest.mark.parametrize("name", ["svd", "svd_full"])
def test_the_polar_factor_of_tied_singular_vectors_has_its_gradient(name):
    """U's and V's cotangents vanish at a tie only together; their difference must not be lost."""
    layer = getattr(load(emit_text(registry()[name].derive()), name), name)
    X = 2 * torch.linalg.qr(normal(6, 4))[0]
    N = normal(6, 4)

    def loss(X):
        U, S, V = layer(X, on_tie="raise")
        return (U[:, :4] @ V.T * N).sum() + S.square().sum()

    Z = X.T @ N
    expected = N / 2 - X @ (Z + Z.T) / 16 + 2 * X
    torch.testing.assert_close(gradient(loss, X), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", [torch.sin, torch.sqrt])
def test_a_function_of_tied_singular_values_is_never_silently_wrong(f, svd):
    def loss(X):
        U, S, V = svd(X)
        return (U @ torch.diag(f(S)) @ V.T)[0, 1]

    for X in (torch.eye(5, 4, dtype=DTYPE), torch.linalg.qr(normal(5, 4))[0]):
        assert gradient(loss, X).isnan().any()
