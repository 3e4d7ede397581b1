"""Which texture each region shows, read off its O2P descriptor."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.cuts.mosaics import TEXTURES, Mosaic
from examples.cuts.network import CHANNELS, Features
from examples.pooling import SecondOrder, length
from mbp.generated.o2p import O2P


class RegionClassifier(nn.Module):
    """Cross-entropy of each region's texture, read linearly off its O2P descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Features()
        self.describe = SecondOrder(O2P(eps=1e-3), CHANNELS)
        self.linear = nn.Linear(length(CHANNELS), len(TEXTURES)).double()

    def scores(self, batch: Sequence[Mosaic]) -> Tensor:
        """One row for each region of each mosaic, one column for each texture."""
        features = self.net(torch.stack([mosaic.image for mosaic in batch]))
        regions = torch.cat([
            (E / E.mean(0)).sqrt().T[:, :, None] * F  # the mean of f fᵀ becomes the region's
            for F, E in zip(features, (mosaic.partition for mosaic in batch), strict=True)
        ])
        scores: Tensor = self.linear(self.describe(regions))
        return scores

    def forward(self, batch: Sequence[Mosaic]) -> Tensor:
        """The mean loss over all regions of the batch."""
        textures = torch.cat([mosaic.textures for mosaic in batch])
        return nn.functional.cross_entropy(self.scores(batch), textures)

    def accuracy(self, mosaics: Sequence[Mosaic]) -> float:
        """The share of the mosaics' regions whose texture is recognised."""
        self.eval()
        with torch.no_grad():
            found = self.scores(mosaics).argmax(1)
        return (found == torch.cat([one.textures for one in mosaics])).double().mean().item()
