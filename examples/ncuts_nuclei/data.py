"""Crops of the one annotated fluorescence image in stardist's wheel, which is read, not run."""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import torch
from skimage.io import imread

from examples.cuts.scenes import Labels, Scene, on_grid

SIZE = 96
LEFT, RIGHT = slice(0, 256), slice(256, 512)  # columns for training, for testing


def shipped(name: str) -> Labels:
    """An image of stardist's data folder.

    Raises SystemExit, with the remedy, where the package is missing.
    """
    try:
        found = distribution("stardist")
    except PackageNotFoundError:
        raise SystemExit(
            "error: the image comes with stardist's wheel: "
            "pip install --no-deps -r requirements/data.txt"
        ) from None
    image: Labels = imread(found.locate_file(f"stardist/data/images/{name}.tif"))
    return image.astype(np.int64)


def crops(count: int, columns: slice, rng: np.random.Generator) -> list[Scene]:
    """Random crops, the image standardised by its left half; regions: background and nuclei.

    Segments are the background and each nucleus. Crops without a nucleus are passed over.
    """
    image, nuclei = shipped("img2d"), shipped("mask2d")
    known = image[:, LEFT]
    light = (image - known.mean()) / known.std()
    made: list[Scene] = []
    while len(made) < count:
        top = rng.integers(0, image.shape[0] - SIZE + 1)
        left = rng.integers(columns.start, columns.stop - SIZE + 1)
        window = (slice(top, top + SIZE), slice(left, left + SIZE))
        pixels = torch.from_numpy(light[window]).float()[None]
        scene = Scene(pixels, (nuclei[window] > 0).astype(np.int64), nuclei[window])
        if on_grid(scene.regions).any():
            made.append(scene)
    return made
