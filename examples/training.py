"""The one training loop of the examples: Adam, a cosine schedule, clipped gradients, seeds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train; `clip` bounds the norm of the whole gradient."""

    steps: int
    batch: int
    rate: float
    clip: float


@dataclass(frozen=True)
class Step:
    """What one step saw: the loss of its batch and the gradient's norm before clipping."""

    loss: float
    gradient_norm: float

    @property
    def finite(self) -> bool:
        """Whether the gradient had neither nan nor inf."""
        return abs(self.gradient_norm) < float("inf")


def nothing(step: int) -> None:
    """What is done after a step when nothing is asked for."""


def shuffled(size: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches of indices below `size`, epoch after epoch, each in a new order."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(size, generator=order)[: size // batch * batch].split(batch)


def fit(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    size: int,
    recipe: Recipe,
    seed: int = 0,
    after: Callable[[int], None] = nothing,
) -> list[Step]:
    """Trains the parameters of `model` that require a gradient; `after` is told each step done.

    `loss` takes the indices, below `size`, of a batch. A step whose gradient is not finite leaves
    the parameters as they are, as mixed-precision training does.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    batches = shuffled(size, recipe.batch, seed)
    history = []
    model.train()
    for number in range(1, recipe.steps + 1):
        optimizer.zero_grad()
        value = loss(next(batches))
        value.backward()
        norm = nn.utils.clip_grad_norm_(trained, recipe.clip)
        history.append(Step(value.item(), norm.item()))
        if not history[-1].finite:
            optimizer.zero_grad()  # Adam passes over parameters without a gradient
        optimizer.step()
        schedule.step()
        after(number)
    return history
