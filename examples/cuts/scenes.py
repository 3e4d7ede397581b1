"""One image, the partition its features learn and the segments to be found in it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Labels = NDArray[np.int64]
STRIDE = 4  # of the network's grid: its features are one row for each STRIDE × STRIDE pixels


@dataclass(frozen=True)
class Scene:
    """A square image of s × s pixels; m = (s / STRIDE)² grid cells."""

    image: Tensor  # 1 × s × s
    regions: Labels  # s × s, the region 0 … k − 1 of each pixel: the partition to learn
    segments: Labels  # s × s, what a segmentation is judged by

    @property
    def partition(self) -> Tensor:
        """The m × k indicator matrix E of the regions on the network's grid, float64."""
        cells = torch.from_numpy(on_grid(self.regions)).flatten()
        return torch.nn.functional.one_hot(cells, int(self.regions.max()) + 1).double()


def on_grid(labels: Labels) -> Labels:
    """Labels of the image's pixels as those in the middle of each grid cell."""
    return labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def enlarged(grid: Labels) -> Labels:
    """Labels on the grid as labels of the image's pixels."""
    return grid.repeat(STRIDE, 0).repeat(STRIDE, 1)
