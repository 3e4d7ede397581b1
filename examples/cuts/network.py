"""The features and the objective: a small convolutional net below an emitted NCuts layer."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from examples.cuts.scenes import Scene
from examples.training import Recipe, Step, fit, nothing
from mbp.generated.ncuts_j1 import NCutsJ1
from mbp.generated.ncuts_j2 import NCutsJ2

CHANNELS = 20  # d, the width of a row of F
FLOOR = 1e-3  # added to the features of J1, whose degrees W1 must be positive


class Features(nn.Module):
    """Images (b, 1, s, s) → features F (b, m, d), nonnegative, on the grid of m = (s/4)² cells.

    Two convolutions are the trunk; two more and a dropout between them stand on it, as in the
    paper.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
        )
        self.top = nn.Sequential(
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Conv2d(64, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features of the images, in double precision as the paper's structured layers are."""
        features: Tensor = self.top(self.trunk(images))
        return features.mT.double()


class Segmenter(nn.Module):
    """Mean of an NCuts objective between the features and the true partition, with Λ = I."""

    def __init__(self, objective: NCutsJ1 | NCutsJ2, floor: float = 0.0) -> None:
        super().__init__()
        self.net = Features()
        self.objective = objective
        self.floor = floor
        self.register_buffer("Lam", torch.eye(CHANNELS, dtype=torch.float64))

    def features(self, scenes: Sequence[Scene]) -> Tensor:
        """F (b, m, d), the floor added."""
        features: Tensor = self.net(torch.stack([scene.image for scene in scenes]))
        return features + self.floor

    def forward(self, scenes: Sequence[Scene]) -> Tensor:
        """The mean objective; scenes differ in their number of regions, so one at a time."""
        Lam = self.get_buffer("Lam")
        values = [
            self.objective(F, Lam, scene.partition)
            for F, scene in zip(self.features(scenes), scenes, strict=True)
        ]
        return torch.stack(values).mean()


def segmenter(objective: str) -> Segmenter:
    """A new segmenter for the objective `J1` or `J2`."""
    return Segmenter(NCutsJ1(), FLOOR) if objective == "J1" else Segmenter(NCutsJ2())


def learn(
    model: nn.Module,
    scenes: Sequence[Scene],
    recipe: Recipe,
    seed: int = 0,
    after: Callable[[int], None] = nothing,
) -> list[Step]:
    """Trains a model whose loss is that of a batch of scenes."""

    def loss(batch: Tensor) -> Tensor:
        value: Tensor = model([scenes[index] for index in batch.tolist()])
        return value

    return fit(model, loss, len(scenes), recipe, seed, after)


def evaluated(model: nn.Module, scenes: Sequence[Scene]) -> float:
    """The model's loss on the scenes, without dropout; the model is left in training mode."""
    model.eval()
    with torch.no_grad():
        value: float = model(scenes).item()
    model.train()
    return value


def inferred(model: Segmenter, scenes: Sequence[Scene]) -> Tensor:
    """The features of the scenes, without dropout; the model is left in training mode."""
    model.eval()
    with torch.no_grad():
        features = model.features(scenes)
    model.train()
    return features
