"""The trainable parts: a small convolutional trunk, and one head for each emitted layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.textures.mosaics import TEXTURES, Mosaic
from mbp.generated.ncuts_j1 import NCutsJ1
from mbp.generated.ncuts_j2 import NCutsJ2
from mbp.generated.o2p import O2P

CHANNELS = 20  # d, the width of a row of F
EPS = 1e-3  # of the O2P layer, as in the paper
FLOOR = 1e-3  # added to the features of J1, whose degrees W1 must be positive


class Trunk(nn.Module):
    """Images (b, 1, s, s) → features F (b, m, d), nonnegative, on the grid of m = (s/4)² cells."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Conv2d(64, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features of the images, in double precision as the paper's structured layers are."""
        features: Tensor = self.layers(images)
        return features.mT.double()


class RegionClassifier(nn.Module):
    """Cross-entropy of each region's texture, read linearly off its O2P descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.pool = O2P(eps=EPS)
        self.linear = nn.Linear(CHANNELS * (CHANNELS + 1) // 2, len(TEXTURES)).double()
        self.register_buffer("triangle", torch.triu_indices(CHANNELS, CHANNELS))

    def scores(self, batch: Sequence[Mosaic]) -> Tensor:
        """One row for each region of each mosaic, one column for each texture."""
        features = self.trunk(torch.stack([mosaic.image for mosaic in batch]))
        regions = torch.cat([
            (E / E.sum(0).sqrt()).T[:, :, None] * F  # FᵀF becomes the region's mean of f fᵀ
            for F, E in zip(features, (mosaic.partition for mosaic in batch), strict=True)
        ])
        row, column = self.get_buffer("triangle")
        isometric = torch.where(row == column, 1.0, 2**0.5).double()  # keeps A : B on vectors
        scores: Tensor = self.linear(self.pool(regions)[:, row, column] * isometric)
        return scores

    def forward(self, batch: Sequence[Mosaic]) -> Tensor:
        """The mean loss over all regions of the batch."""
        textures = torch.cat([mosaic.textures for mosaic in batch])
        return nn.functional.cross_entropy(self.scores(batch), textures)


class Segmenter(nn.Module):
    """Mean of an NCuts objective between the features and the true partition, with Λ = I."""

    def __init__(self, objective: NCutsJ1 | NCutsJ2, floor: float = 0.0) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.objective = objective
        self.floor = floor
        self.register_buffer("Lam", torch.eye(CHANNELS, dtype=torch.float64))

    def features(self, batch: Sequence[Mosaic]) -> Tensor:
        """F (b, m, d), the floor added."""
        features: Tensor = self.trunk(torch.stack([mosaic.image for mosaic in batch]))
        return features + self.floor

    def forward(self, batch: Sequence[Mosaic]) -> Tensor:
        """The mean objective; mosaics differ in their number of regions, so one at a time."""
        Lam = self.get_buffer("Lam")
        values = [
            self.objective(F, Lam, mosaic.partition)
            for F, mosaic in zip(self.features(batch), batch, strict=True)
        ]
        return torch.stack(values).mean()
