"""What emitted modules of built-in layers do at ties, out of range, alone and beside nan."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mbp.api import Layer, one_off_layer
from mbp.emit import emit_text, load
from mbp.errors import MbpError
from mbp.layers import registry
from tests.transforms.cases import CASES, DTYPE, normal, partition


@pytest.fixture(scope="module")
def texts():
    found = {}

    def text(name):
        if name not in found:
            derivation = registry()[name].derive()
            found[name] = emit_text(derivation)
        return found[name]

    return text


@pytest.mark.parametrize("name", ["o2p", "power_pool", "affinity", "projector", "ncuts_j2"])
def test_float32_agrees(name):
    case = CASES[name]
    result = case.of_free(*(x.float() for x in case.free))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), case.of_free(*case.free), rtol=1e-3, atol=1e-4)


def test_a_broadcast_input_collects_its_gradient(texts):
    affinity = load(texts("affinity"), "affinity").affinity
    assert gradcheck(affinity, (normal(2, 4, 3).requires_grad_(), normal(3, 3).requires_grad_()))


def test_emission_depends_on_no_order_of_hashing(texts):
    program = "import mbp.layers as layers; print(layers.ncuts_j2.emit_text(), end='')"
    for seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                              timeout=120, env={**os.environ, "PYTHONHASHSEED": seed})  # fmt: skip
        assert done.stdout == texts("ncuts_j2"), done.stderr


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
    assert names <= {*sys.stdlib_module_names, "torch"}


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
def test_a_sample_that_is_not_finite_spoils_no_other(name, bad):
    case = CASES[name]
    clean = tuple(torch.stack([x, x * 1.1]) for x in case.free)
    spoilt = tuple(x.clone() for x in clean)
    spoilt[0][1, 0, 0] = bad
    gradients = []
    for batch in (clean, spoilt):
        batch = tuple(x.requires_grad_() for x in batch)
        gradients.append(torch.autograd.grad(case.of_free(*batch), batch[0])[0])
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


def test_the_rank_report_and_the_layer_count_alike(texts):
    module = load(texts("ncuts_j2"), "ncuts_j2")
    E = partition(8, 2)
    U, _, Vt = torch.linalg.svd(normal(8, 3), full_matrices=False)
    for least, rank in ((1e-6, 3), (1e-9, 2)):  # on both sides of √eps
        F = U @ torch.diag(torch.tensor([1.0, 0.5, least], dtype=DTYPE)) @ Vt
        assert module.rank_report(F, torch.eye(3, dtype=DTYPE), E).rank_W == rank
        P = U[:, :rank] @ U[:, :rank].mT
        expected = (P - E.double() @ E.double().mT / 4).square().sum() / 2
        torch.testing.assert_close(module.ncuts_j2(F, torch.eye(3, dtype=DTYPE), E), expected)


def test_the_rank_report_of_a_projector_shows_a_jump(texts):
    module = load(texts("projector"), "projector")
    A = torch.stack([torch.diag(torch.tensor([1.0, 0.5, t, 0], dtype=DTYPE)) for t in (0.1, 1e-6)])
    report = module.rank_report(torch.cat([A, torch.full_like(A[:1], torch.nan)]))
    assert report.rank.tolist()[:2] == [3, 3]
    torch.testing.assert_close(report.gap[:2], torch.tensor([0.1, 1e-6], dtype=DTYPE))
    coarse = module.rank_report(A, rtol=1e-3)
    assert coarse.rank.tolist() == [3, 2]
    for scale in (1e-9, 1e9):
        assert torch.equal(module.rank_report(scale * A, rtol=1e-3).rank, coarse.rank)
    P = module.projector(A, rtol=1e-3)
    torch.testing.assert_close(torch.diagonal(P, dim1=-2, dim2=-1).sum(-1).long(), coarse.rank)


def test_every_matrix_whose_rank_is_decided_is_reported():
    layer = Layer.from_text("pinv(X) @ pinv(Z).T", X="m n", Z="m n")
    report = layer.compile().rank_report(torch.ones(4, 3), torch.eye(4, 3))
    assert [r.rank.item() for r in report] == [1, 3]


@pytest.mark.parametrize("c", [4, 0.01])
def test_a_multiple_of_the_distance_certifies_below_that_multiple(c):
    declared = {"A": "m d", "B": "m k"}
    module = Layer.from_text(f"{c} * sumsq(projector(A) - projector(B))", **declared).compile()
    A = torch.eye(5, dtype=DTYPE)
    assert module.rank_report(A[:, :2], A[:, :2] + 1e-3).certified
    report = module.rank_report(A[:, :3], A[:, :2])
    assert (report.rank_W, report.rank_Psi, report.certified) == (3, 2, False)


def test_no_certificate_without_a_positive_multiple():
    for text in ("-sumsq(projector(A) - projector(B))", "sumsq(projector(A) + projector(B))"):
        layer = Layer.from_text(text, A="m d", B="m k")
        assert "certified" not in layer.emit_text()


def test_a_rank_report_knows_the_numbers_of_its_layer():
    layer = Layer.from_text(
        "sumsq(projector(s * A) - projector(B))", A="m d", B="m k", s="scalar constant"
    )
    A = torch.eye(5, dtype=DTYPE)
    assert layer.compile().rank_report(A[:, :2], A[:, :2], 3.0).rank_W == 2


@pytest.mark.parametrize("target", ["torch", "numpy", "jax"])
@pytest.mark.parametrize("names", [("X", "dX"), ("grad_Y", "Y"), ("inside", "A"), ("zip", "A")])
def test_names_that_the_module_uses_itself_are_refused(names, target):
    X, Y = names
    layer = Layer.from_text(f"{X} @ {Y}", **{X: "m k", Y: "k n"})
    with pytest.raises(MbpError, match="choose another"):
        layer.emit_text(target)


@pytest.mark.parametrize("name", ["function", "any", "tensor", "vjp"])
def test_a_layer_is_not_called_as_what_its_module_imports(name):
    layer = one_off_layer("X @ X.T", {"X": "m n"}, name)
    with pytest.raises(MbpError, match="choose another"):
        layer.emit_text()


@pytest.mark.parametrize("name", ["ncuts_j1_affinity", "ncuts_j2_affinity"])
def test_an_affinity_has_a_rank_report_too(name, texts):
    M = normal(6, 3).abs()
    report = load(texts(name), name).rank_report(M @ M.mT, partition(6, 2))
    assert (report.rank_W, report.rank_Psi) == (3, 2)


@pytest.mark.parametrize("name", ["o2p", "o2p_svd", "o2p_eig"])
def test_second_order_pooling_takes_every_shape_and_every_tie(name, texts):
    layer = getattr(load(texts(name), name), name)
    repeated = torch.linalg.qr(normal(5, 3))[0]
    for F in (normal(2, 4), repeated, torch.zeros(3, 2, dtype=DTYPE), normal(1, 1)):
        assert gradcheck(lambda F: layer(F, 0.1), (F.requires_grad_(),))
        assert gradgradcheck(lambda F: layer(F, 0.1), (F,))


def test_a_sum_of_many_thin_products_is_emitted():
    declared = {"A": "m d", "C": "m k", "F": "m d full_column_rank", "y": "d"}
    text = "sumsq(A.T @ A @ A.T @ (eye(m) - projector(C)) @ A @ inv(F.T @ F) @ y)"
    layer = Layer.from_text(text, **declared)
    inputs = [normal(*shape).requires_grad_() for shape in ((6, 3), (6, 2), (6, 3), (3,))]
    assert gradcheck(layer, inputs)
