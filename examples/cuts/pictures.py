"""Images and their segmentations side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from examples.cuts.scenes import Labels, Scene
from examples.cuts.segmentation import Segmentation, overlaps

Picture = NDArray[np.float64]
COLOURS = np.array([(0.20, 0.45, 0.70), (0.93, 0.58, 0.22), (0.36, 0.65, 0.45)])
VEIL = 0.68  # how much of a segment's colour covers the image


def brightness(scene: Scene) -> Picture:
    """The image in [0, 1], its extremes cut."""
    grey = scene.image[0].numpy()
    low, high = np.percentile(grey, (1, 99))
    shown: Picture = np.clip((grey - low) / (high - low), 0, 1)
    return shown


def painted(scene: Scene, segments: Labels) -> Picture:
    """The segments laid over the image, each in the colour of the region it shares most with.

    Segments of one region differ in shade; white lines part them.
    """
    owners = overlaps(scene.regions, segments).argmax(0)
    _, index = np.unique(segments, return_inverse=True)
    shades = np.linspace(1.0, 0.62, 4)[np.arange(len(owners)) % 4]
    single = np.bincount(owners, minlength=len(COLOURS))[owners] == 1
    colours = COLOURS[owners] * np.where(single, 1.0, shades)[:, None]
    index = index.reshape(segments.shape)
    veiled = VEIL * colours[index] + (1 - VEIL) * brightness(scene)[:, :, None]
    edges = np.zeros(index.shape, bool)
    edges[:, :-1] |= index[:, :-1] != index[:, 1:]
    edges[:-1] |= index[:-1] != index[1:]
    picture: Picture = np.where(edges[:, :, None], 1.0, veiled)
    return picture


def draw(
    scenes: Sequence[Scene], columns: Mapping[str, Sequence[Segmentation]], path: Path
) -> None:
    """A row for each scene: image, true partition, and one column for each segmentation.

    Of a scene's segmentations the best covering is shown.
    """
    width = 2 + len(columns)
    figure = Figure(figsize=(1.75 * width, 1.95 * len(scenes)))
    axes = figure.subplots(len(scenes), width, squeeze=False)
    for row, scene in enumerate(scenes):
        axes[row, 0].imshow(brightness(scene), cmap="gray")
        axes[row, 1].imshow(painted(scene, scene.segments))
        for column, found in enumerate((found[row] for found in columns.values()), start=2):
            axes[row, column].imshow(painted(scene, found.cuts[found.best]))
            axes[row, column].set_xlabel(f"covering {max(found.coverings):.0%}", fontsize=8)
    for column, title in enumerate(("image", "true partition", *columns)):
        axes[0, column].set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.tight_layout(pad=0.4)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
