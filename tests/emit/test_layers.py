"""Every built-in layer's emitted module has right first and second derivatives, batched and not."""

import importlib.util

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mbp.emit import emit_text, load
from mbp.layers import registry

torch.manual_seed(0)
DTYPE = torch.float64
A, B = torch.randn(6, 6, dtype=DTYPE), torch.randn(6, 6, dtype=DTYPE)


def normal(*shape):
    return torch.randn(*shape, dtype=DTYPE)


def orthogonal(M):
    return torch.linalg.matrix_exp(M - M.mT)


def definite(M):
    return M @ M.mT + torch.eye(M.shape[-1], dtype=M.dtype)


def partition(m, k):
    return torch.eye(k).repeat(m // k, 1)


def of_rank_three(M):
    return M @ torch.diag(torch.tensor([1.0, -2.0, 3.0], dtype=M.dtype)) @ M.mT


def gauge_free_svd(U, S, V):
    m, n = U.shape[-2], V.shape[-2]
    U = U[..., :n]
    smooth = (U @ torch.diag_embed(S.sin()) @ V.mT * A[:m, :n]).sum((-2, -1))
    return smooth + S.cos().sum(-1) + (U @ U.mT * B[:m, :m]).sum((-2, -1))


def gauge_free_eig(U, Q):
    n = U.shape[-1]
    return (U @ torch.diag_embed(Q.sin()) @ U.mT * A[:n, :n]).sum((-2, -1)) + Q.cos().sum(-1)


CASES = {
    "svd": (lambda f: lambda X: gauge_free_svd(*f(X)), (normal(5, 3),)),
    "svd_full": (lambda f: lambda X: gauge_free_svd(*f(X)), (normal(5, 3),)),
    "eig": (lambda f: lambda X: gauge_free_eig(*f(X)), (normal(4, 4),)),
    "svd_function": (lambda f: lambda s, M: f(s, orthogonal(M), 0.1), (normal(3), normal(3, 3))),
    "eig_function": (lambda f: lambda M, q: f(orthogonal(M), q.exp()), (normal(3, 3), normal(3))),
    "o2p_svd": (lambda f: lambda F: f(F, 0.1), (normal(5, 3),)),
    "o2p_eig": (lambda f: lambda F: f(F, 0.1), (normal(5, 3),)),
    "o2p": (lambda f: lambda F: f(F, 0.1), (normal(5, 3),)),
    "power_pool": (lambda f: lambda F: f(F, 0.1, 0.3), (normal(5, 3),)),
    "projector": (lambda f: lambda M: f(of_rank_three(M)), (normal(6, 3),)),
    "affinity": (lambda f: f, (normal(5, 3), normal(3, 3))),
    "normalized_affinity": (lambda f: lambda W: f(W.abs() + 1, partition(6, 2)), (normal(6, 6),)),
    "ncuts_j1": (
        lambda f: lambda F, M: f(F.abs() + 0.5, definite(M).abs(), partition(8, 2)),
        (normal(8, 3), normal(3, 3)),
    ),
    "ncuts_j2": (
        lambda f: lambda F, M: f(F, definite(M), partition(8, 2)),
        (normal(8, 3), normal(3, 3)),
    ),
    "ncuts_j1_affinity": (
        lambda f: lambda M: f((M.abs() + 0.3) @ (M.abs() + 0.3).mT, partition(6, 2)),
        (normal(6, 3),),
    ),
    "ncuts_j2_affinity": (
        lambda f: lambda M: f(of_rank_three(M), partition(6, 2)),
        (normal(6, 3),),
    ),
}


@pytest.fixture(scope="module")
def texts():
    found = {}

    def text(name):
        if name not in found:
            derivation = registry()[name].derive()
            found[name] = emit_text(derivation)
        return found[name]

    return text


@pytest.mark.parametrize("name", registry())
def test_derivatives_hold(name, texts):
    smooth, inputs = CASES[name]
    layer = smooth(getattr(load(texts(name), name), name))
    assert gradcheck(layer, tuple(x.clone().requires_grad_() for x in inputs))
    assert gradgradcheck(layer, tuple(x.clone().requires_grad_() for x in inputs))
    batch = tuple(torch.stack([x, x * 1.1]).requires_grad_() for x in inputs)
    assert gradcheck(layer, batch)


@pytest.mark.parametrize("name", ["o2p", "power_pool", "affinity", "projector", "ncuts_j2"])
def test_float32_agrees(name, texts):
    smooth, inputs = CASES[name]
    layer = smooth(getattr(load(texts(name), name), name))
    result = layer(*(x.float() for x in inputs))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), layer(*inputs), rtol=1e-3, atol=1e-4)


def test_a_broadcast_input_collects_its_gradient(texts):
    affinity = load(texts("affinity"), "affinity").affinity
    assert gradcheck(affinity, (normal(2, 4, 3).requires_grad_(), normal(3, 3).requires_grad_()))


def test_emission_is_deterministic(texts):
    derivation = registry()["ncuts_j2"].derive()
    assert emit_text(derivation) == texts("ncuts_j2")


def test_a_module_stands_alone(texts, tmp_path):
    path = tmp_path / "o2p.py"
    path.write_text(texts("o2p"))
    spec = importlib.util.spec_from_file_location("copied", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layer = module.O2P(eps=0.1)
    F = normal(5, 3)
    torch.testing.assert_close(layer(F), module.o2p(F, 0.1))
    assert repr(layer) == "O2P(eps=0.1)"
    names = {line.split()[1].split(".")[0] for line in texts("o2p").splitlines()
             if line.startswith(("import ", "from "))}  # fmt: skip
    assert names <= {"__future__", "collections", "typing", "torch"}


def test_ties_give_nan_or_an_error(texts):
    eig = load(texts("eig"), "eig").eig
    X = torch.eye(3, dtype=DTYPE, requires_grad=True)
    U, _ = eig(X)
    (gradient,) = torch.autograd.grad((U * A[:3, :3]).sum(), X)
    assert gradient.isnan().any()
    U, _ = eig(X, on_tie="raise")
    with pytest.raises(RuntimeError, match="equal eigenvalues"):
        torch.autograd.grad((U * A[:3, :3]).sum(), X)


def test_a_wide_matrix_is_refused_by_the_thin_svd(texts):
    svd = load(texts("svd"), "svd").svd
    with pytest.raises(ValueError, match="m >= n"):
        svd(normal(2, 3))


def test_only_the_declared_structure_is_read(texts):
    eig = load(texts("eig"), "eig").eig
    X = normal(4, 4)
    for left, right in zip(eig(X), eig((X + X.T) / 2), strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", ["o2p", "projector", "ncuts_j2"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_spoils_no_other(name, bad, texts):
    smooth, inputs = CASES[name]
    layer = smooth(getattr(load(texts(name), name), name))
    clean = tuple(torch.stack([x, x * 1.1]) for x in inputs)
    spoilt = tuple(x.clone() for x in clean)
    spoilt[0][1, 0, 0] = bad
    gradients = []
    for batch in (clean, spoilt):
        batch = tuple(x.requires_grad_() for x in batch)
        gradients.append(torch.autograd.grad(layer(*batch).sum(), batch[0])[0])
    torch.testing.assert_close(gradients[1][0], gradients[0][0])
    assert not gradients[1][1].isfinite().all()


@pytest.mark.parametrize("name", ["ncuts_j1", "ncuts_j2"])
def test_the_rank_report_counts_and_certifies(name, texts):
    module = load(texts(name), name)
    E = partition(8, 2)
    F = torch.cat([E, torch.zeros(8, 1)], 1).to(DTYPE)
    report = module.rank_report(F, torch.eye(3, dtype=DTYPE), E)
    assert (report.rank_W, report.rank_Psi, report.certified) == (2, 2, True)
    assert report.gap == pytest.approx(1)
    assert not module.rank_report(normal(8, 3).abs(), torch.eye(3, dtype=DTYPE), E).certified


@pytest.mark.parametrize("name", ["ncuts_j1_affinity", "ncuts_j2_affinity"])
def test_an_affinity_has_a_rank_report_too(name, texts):
    M = normal(6, 3).abs()
    report = load(texts(name), name).rank_report(M @ M.mT, partition(6, 2))
    assert (report.rank_W, report.rank_Psi) == (3, 2)


@pytest.mark.parametrize("turned", [False, True])
def test_at_a_tie_a_gauge_free_cotangent_has_its_gradient(turned, texts):
    eig = load(texts("eig"), "eig").eig
    frame = orthogonal(normal(4, 4)) if turned else torch.eye(4, dtype=DTYPE)
    X = (frame @ torch.diag(torch.tensor([1.0, 1, 2, 3], dtype=DTYPE)) @ frame.T).requires_grad_()
    M = A[:4, :4] + A[:4, :4].T
    U, Q = eig(X)
    P = U[:, :2] @ U[:, :2].T
    (gradient,) = torch.autograd.grad((P * M).sum() + Q.log().sum(), X)
    P, values, V = P.detach(), Q.detach(), U.detach()
    inverse = (V[:, 2:] / (1 - values[2:])) @ V[:, 2:].T
    expected = P @ M @ inverse + inverse @ M @ P + torch.linalg.inv(X.detach())
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_at_a_tie_a_function_through_the_factors_is_never_silently_wrong(texts):
    eig = load(texts("eig"), "eig").eig
    frame = orthogonal(normal(4, 4))
    X = (frame @ torch.diag(torch.tensor([1.0, 1, 2, 3], dtype=DTYPE)) @ frame.T).requires_grad_()
    U, Q = eig(X)
    (gradient,) = torch.autograd.grad((U @ torch.diag(Q.sin()) @ U.T * A[:4, :4]).sum(), X)
    assert gradient.isnan().any()


@pytest.mark.parametrize("name", ["o2p", "o2p_svd", "o2p_eig"])
def test_second_order_pooling_takes_every_shape_and_every_tie(name, texts):
    layer = getattr(load(texts(name), name), name)
    repeated = torch.linalg.qr(normal(5, 3))[0]
    for F in (normal(2, 4), repeated, torch.zeros(3, 2, dtype=DTYPE), normal(1, 1)):
        assert gradcheck(lambda F: layer(F, 0.1), (F.requires_grad_(),))
        assert gradgradcheck(lambda F: layer(F, 0.1), (F,))
