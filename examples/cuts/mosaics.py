"""Mosaics whose regions are known: Voronoi cells, each filled from a photographed texture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.cuts.scenes import Labels, Scene

TEXTURES = ("brick", "grass", "gravel")
SIZE = 128
LEFT, RIGHT = slice(0, 256), slice(256, 512)  # columns of the photographs
SMALLEST_REGION = 0.12  # of the mosaic, so that no region vanishes on the grid


@dataclass(frozen=True)
class Mosaic(Scene):
    """A scene whose regions are the segments, each with its texture."""

    textures: Tensor  # k, an index into TEXTURES


def photograph(texture: str) -> NDArray[np.float64]:
    """A texture that scikit-image ships, 512 × 512, of zero mean and unit deviation."""
    image = getattr(skimage.data, texture)().astype(np.float64)
    standardised: NDArray[np.float64] = (image - image.mean()) / image.std()
    return standardised


def voronoi_cells(count: int, rng: np.random.Generator) -> Labels:
    """SIZE × SIZE labels of the nearest of `count` random seeds, no cell too small."""
    pixels = np.moveaxis(np.mgrid[:SIZE, :SIZE], 0, -1)
    while True:
        seeds = rng.uniform(0, SIZE, (count, 2))
        distances = np.linalg.norm(pixels[:, :, None] - seeds, axis=-1)
        cells: Labels = distances.argmin(axis=-1)
        if np.bincount(cells.ravel(), minlength=count).min() >= SMALLEST_REGION * SIZE**2:
            return cells


def mosaics(
    count: int, half: slice, rng: np.random.Generator, textures: Sequence[str] = TEXTURES
) -> list[Mosaic]:
    """`count` mosaics of two or three regions, each a random crop of another of the `textures`.

    The crops lie within the columns `half` of the photographs.
    """
    sources = [photograph(texture)[:, half] for texture in textures]
    made = []
    for _ in range(count):
        regions = voronoi_cells(int(rng.integers(2, len(sources) + 1)), rng)
        chosen = rng.permutation(len(sources))[: regions.max() + 1]
        image = np.empty((SIZE, SIZE))
        for region, source in enumerate(sources[index] for index in chosen):
            top, left = (rng.integers(0, extent - SIZE + 1) for extent in source.shape)
            crop = source[top : top + SIZE, left : left + SIZE]
            image[regions == region] = crop[regions == region]
        kinds = torch.tensor([TEXTURES.index(textures[index]) for index in chosen])
        made.append(Mosaic(torch.from_numpy(image).float()[None], regions, regions, kinds))
    return made


def train_and_test(train: int, test: int, seed: int = 0) -> tuple[list[Mosaic], list[Mosaic]]:
    """Mosaics for training from the photographs' left halves, for testing from the right ones."""
    rng = np.random.default_rng(seed)
    return mosaics(train, LEFT, rng), mosaics(test, RIGHT, rng)
