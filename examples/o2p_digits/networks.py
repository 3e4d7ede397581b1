"""One small trunk, and the heads that compete on it."""

from typing import Literal

import torch
from torch import Tensor, nn

from examples.pooling import SecondOrder, length

CELLS, CHANNELS, CLASSES = 49, 32, 10
EPS = 1e-3


class Rows(nn.Module):
    """Maps (b, d, h, w) → features F (b, m, d), a row for each of the m = hw cells."""

    def forward(self, maps: Tensor) -> Tensor:
        """F."""
        return maps.flatten(2).mT


class Mean(nn.Module):
    """Features F (b, m, d) → the mean of their rows (b, d)."""

    def forward(self, F: Tensor) -> Tensor:
        """The mean."""
        return F.mean(-2)


class AutogradLogarithm(nn.Module):
    """log(FᵀF + εI) as it is usually written, autograd differentiating the decomposition."""

    def __init__(self, route: Literal["eigh", "svd"]) -> None:
        super().__init__()
        self.route = route

    def forward(self, F: Tensor) -> Tensor:
        """C (b, d, d)."""
        if self.route == "eigh":
            q, V = torch.linalg.eigh(F.mT @ F + EPS * torch.eye(F.shape[-1]).to(F))
        else:
            _, s, Vh = torch.linalg.svd(F, full_matrices=False)
            q, V = s.square() + EPS, Vh.mT
        C: Tensor = (V * q.log()[..., None, :]) @ V.mT
        return C


def trunk() -> nn.Sequential:
    """Images (b, 1, 28, 28) → features F (b, 49, 32)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.ReLU(),
        Rows(),
    )


def averaged() -> nn.Sequential:
    """Scores from the mean feature."""
    return nn.Sequential(Mean(), nn.Linear(CHANNELS, CLASSES))


def flattened() -> nn.Sequential:
    """Scores from all features at once, through 128 hidden units."""
    hidden = nn.Linear(CELLS * CHANNELS, 128)
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(128, CLASSES))


def pooled(pool: nn.Module) -> nn.Sequential:
    """Scores from second-order pooled features."""
    return nn.Sequential(SecondOrder(pool, CHANNELS), nn.Linear(length(CHANNELS), CLASSES))
