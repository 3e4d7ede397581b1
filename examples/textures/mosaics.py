"""Mosaics whose regions are known: Voronoi cells, each filled from a photographed texture."""

from dataclasses import dataclass

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

TEXTURES = ("brick", "grass", "gravel")
SIZE = 128
STRIDE = 4  # of the network's grid: its features are one row for each STRIDE × STRIDE pixels
SMALLEST_REGION = 0.12  # of the mosaic, so that no region vanishes on the grid


@dataclass(frozen=True)
class Mosaic:
    """One image and the partition it was built from, m = (SIZE / STRIDE)² grid cells."""

    image: Tensor  # 1 × SIZE × SIZE
    regions: NDArray[np.int64]  # SIZE × SIZE, the region of each pixel
    textures: Tensor  # k, the texture of each region, an index into TEXTURES

    @property
    def partition(self) -> Tensor:
        """The m × k indicator matrix E of the regions on the network's grid, float64."""
        middle = self.regions[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        count = len(self.textures)
        return torch.nn.functional.one_hot(torch.from_numpy(middle).flatten(), count).double()


def photographs() -> list[NDArray[np.float64]]:
    """The textures that scikit-image ships, 512 × 512, each of zero mean and unit deviation."""
    images = [getattr(skimage.data, name)().astype(np.float64) for name in TEXTURES]
    return [(image - image.mean()) / image.std() for image in images]


def voronoi_cells(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """SIZE × SIZE labels of the nearest of `count` random seeds, no cell too small."""
    pixels = np.moveaxis(np.mgrid[:SIZE, :SIZE], 0, -1)
    while True:
        seeds = rng.uniform(0, SIZE, (count, 2))
        distances = np.linalg.norm(pixels[:, :, None] - seeds, axis=-1)
        cells: NDArray[np.int64] = distances.argmin(axis=-1)
        if np.bincount(cells.ravel(), minlength=count).min() >= SMALLEST_REGION * SIZE**2:
            return cells


def mosaics(
    count: int, sources: list[NDArray[np.float64]], rng: np.random.Generator
) -> list[Mosaic]:
    """`count` mosaics of two or three regions, each a random crop of another of the `sources`."""
    made = []
    for _ in range(count):
        regions = voronoi_cells(int(rng.integers(2, 4)), rng)
        textures = rng.permutation(len(sources))[: regions.max() + 1]
        image = np.empty((SIZE, SIZE))
        for region, texture in enumerate(textures):
            source = sources[texture]
            top, left = (rng.integers(0, extent - SIZE + 1) for extent in source.shape)
            crop = source[top : top + SIZE, left : left + SIZE]
            image[regions == region] = crop[regions == region]
        made.append(
            Mosaic(torch.from_numpy(image).float()[None], regions, torch.from_numpy(textures))
        )
    return made


def train_and_test(train: int, test: int, seed: int = 0) -> tuple[list[Mosaic], list[Mosaic]]:
    """Mosaics for training from the photographs' left halves, for testing from the right ones."""
    rng = np.random.default_rng(seed)
    images = photographs()
    half = images[0].shape[1] // 2
    return (
        mosaics(train, [image[:, :half] for image in images], rng),
        mosaics(test, [image[:, half:] for image in images], rng),
    )
