"""Second-order pooled features as vectors that a linear classifier reads."""

import torch
from torch import Tensor, nn


class SecondOrder(nn.Module):
    """Features F (b, m, d) → entries of C = pool(F/√m) on and above the diagonal, (b, d(d+1)/2).

    `pool` is an emitted layer, a function of FᵀF; F/√m makes that the mean of the rows' f fᵀ.
    Entries above the diagonal are multiplied by √2, so that products of vectors are A : B.
    """

    def __init__(self, pool: nn.Module, channels: int) -> None:
        super().__init__()
        self.pool = pool
        self.register_buffer("triangle", torch.triu_indices(channels, channels))

    def forward(self, F: Tensor) -> Tensor:
        """The descriptors, a row for each sample."""
        row, column = self.get_buffer("triangle")
        C: Tensor = self.pool(F / F.shape[-2] ** 0.5)
        return C[:, row, column] * torch.where(row == column, 1.0, 2**0.5).to(C)


def length(channels: int) -> int:
    """How many entries a descriptor has."""
    return channels * (channels + 1) // 2
