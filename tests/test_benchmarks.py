"""The benchmark's rivals compute the maps that they are measured against, and their gradients."""

import pytest
import torch

from benchmarks import paper, rivals
from benchmarks.speed import emitted, gaussian, of_rank, segmentation
from benchmarks.timing import Layer

POOLED = gaussian(2, 30, 6)
CUT = segmentation(60, 6, 3)
RIVALS = [
    ("o2p", rivals.log_by_eigh, POOLED), ("o2p", rivals.log_by_svd, POOLED),
    ("o2p", paper.log_by_svd, POOLED), ("o2p", paper.log_by_eig, POOLED),
    ("power_pool", rivals.power_by_eigh, POOLED),
    ("projector", rivals.projector_by_pinv, of_rank(12, 3)),
    ("projector", paper.projector, of_rank(12, 3)),
    ("ncuts_j1", rivals.normalized_cut_by_qr, CUT), ("ncuts_j2", rivals.cut_by_qr, CUT),
    ("ncuts_j1", rivals.normalized_cut_dense, CUT), ("ncuts_j2", rivals.cut_dense, CUT),
    ("ncuts_j1", paper.normalized_cut, CUT), ("ncuts_j2", paper.cut, CUT),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rival", "make"), RIVALS)
def test_a_rival_has_the_value_and_the_gradient_of_its_layer(name, rival, make):
    torch.manual_seed(0)
    arguments = make()

    def results(layer: Layer):
        X, *rest = arguments
        X = X.clone().requires_grad_()
        Y = layer(X, *rest)
        (gradient,) = torch.autograd.grad((Y * Y.detach().cos()).sum(), X)
        symmetric = name == "projector"
        return Y.detach(), (gradient + gradient.mT) / 2 if symmetric else gradient

    for found, expected in zip(results(rival), results(emitted(name)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
