"""Second-order descriptors."""

import torch
from torch import nn

from examples.o2p_digits.networks import AutogradLogarithm
from examples.pooling import SecondOrder, length
from mbp.generated.o2p import O2P


class Gram(nn.Module):
    def forward(self, F: torch.Tensor) -> torch.Tensor:
        return F.mT @ F


def test_products_of_descriptors_are_products_of_matrices() -> None:
    F = torch.randn(2, 7, 4, dtype=torch.float64)
    C = F.mT @ F / 7
    first, second = SecondOrder(Gram(), 4)(F)
    assert first.shape == (length(4),)
    torch.testing.assert_close(first @ second, (C[0] * C[1]).sum())


def test_the_rivals_compute_the_same_logarithm() -> None:
    F = torch.randn(2, 9, 4, dtype=torch.float64)
    for route in ("eigh", "svd"):
        torch.testing.assert_close(AutogradLogarithm(route)(F), O2P(1e-3)(F))
