"""Trains a small network with second-order pooling under DistributedDataParallel.

    torchrun --nproc-per-node 2 -m examples.distributed.data_parallel

Each process holds its share of every batch of striped images; DistributedDataParallel averages
the gradients, so that a step is the step of one process with the whole batch.
"""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mbp.generated.o2p import O2P

CLASSES = 4
CHANNELS = 8
SIDE = 16


class StripesClassifier(nn.Module):
    """Images (b, 1, s, s) → scores (b, CLASSES): two convolutions, O2P, a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(2),
        )
        self.pool = O2P(eps=1e-3)
        self.linear = nn.Linear(CHANNELS * CHANNELS, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """One row for each image, one column for each class."""
        features: Tensor = self.trunk(images)
        m = features.shape[-1]
        scores: Tensor = self.linear(self.pool(features.mT / m**0.5).flatten(1))
        return scores


def network() -> StripesClassifier:
    """The same in every process: in double precision, from a fixed seed."""
    torch.manual_seed(0)
    return StripesClassifier().double()


def batch(step: int, size: int) -> tuple[Tensor, Tensor]:
    """`size` noisy images of stripes and their classes, which are the stripes' directions."""
    generator = torch.Generator().manual_seed(step)
    classes = torch.randint(CLASSES, (size,), generator=generator)
    phases = torch.rand(size, 1, 1, dtype=torch.float64, generator=generator) * 2 * torch.pi
    noise = torch.randn(size, SIDE, SIDE, dtype=torch.float64, generator=generator)
    angles = classes.double()[:, None, None] * torch.pi / CLASSES
    x = torch.arange(SIDE, dtype=torch.float64)
    waves = x[:, None] * angles.sin() + x[None, :] * angles.cos()
    return (torch.sin(1.5 * waves + phases) + 0.5 * noise)[:, None], classes


def backward(model: nn.Module, step: int, size: int, rank: int = 0, world: int = 1) -> Tensor:
    """Adds the gradients of one batch, of which this process takes its share; its mean loss."""
    images, classes = batch(step, size)
    scores = model(images[rank::world])
    loss = nn.functional.cross_entropy(scores, classes[rank::world])
    loss.backward()
    return loss.detach()


def main() -> None:
    """Trains in every process of the group; the first one prints, and saves first gradients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32, help="a multiple of the processes")
    parser.add_argument("--gradients", type=Path, help="where to save those of the first step")
    arguments = parser.parse_args()
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    if arguments.batch % world:
        parser.error(f"--batch {arguments.batch} is not a multiple of {world} processes")
    model = DistributedDataParallel(network())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(arguments.steps):
        optimizer.zero_grad()
        loss = backward(model, step, arguments.batch, rank, world)
        if rank == 0 and step == 0 and arguments.gradients:
            gradients = {name: p.grad for name, p in model.module.named_parameters()}
            torch.save(gradients, arguments.gradients)
        optimizer.step()
        if rank == 0 and (step % 20 == 0 or step == arguments.steps - 1):
            print(f"step {step:4d}   loss of the first process {loss:.4f}", flush=True)
    dist.barrier()  # a process that leaves early would break the connections of the others
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
