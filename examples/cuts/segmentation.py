"""Normalized cuts from low-rank features, and how well a segmentation covers the truth."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label
from sklearn.cluster import KMeans

from examples.cuts.scenes import Labels, Scene, enlarged

Array = NDArray[np.float64]
CLUSTERS = range(2, 9)


def spectral_embedding(F: Array) -> tuple[Array, Array]:
    """Rows D^-½U of the relaxed cut for W = FFᵀ, and the degrees D that weight them.

    F is m × d and nonnegative. U comes from the thin SVD of D^-½F, so that W is never formed, the
    leading direction first; those below rounding error are left out. A row without any feature has
    degree 0 and is given the smallest positive one.
    """
    degrees = F @ F.sum(0)
    if not degrees.any():
        return np.zeros((len(F), 1)), np.ones(len(F))
    degrees = np.maximum(degrees, degrees[degrees > 0].min())
    U, s, _ = np.linalg.svd(F / np.sqrt(degrees)[:, None], full_matrices=False)
    rank = int((s > max(F.shape) * np.finfo(float).eps * s[0]).sum())
    return U[:, :rank] / np.sqrt(degrees)[:, None], degrees


def normalized_cuts(F: Array, clusters: Iterable[int] = CLUSTERS) -> list[Labels]:
    """For each number of clusters k, segments on the square grid whose rows F lists.

    The k leading directions are clustered, never into more clusters than there are distinct
    points; clusters are split into their connected components.
    """
    embedding, degrees = spectral_embedding(F)
    side = round(len(F) ** 0.5)
    cuts = []
    for k in clusters:
        points = embedding[:, :k]
        means = KMeans(min(k, len(np.unique(points, axis=0))), n_init=2, random_state=0)
        found = means.fit(points, sample_weight=degrees).labels_.reshape(side, side)
        cuts.append(label(found, background=-1, connectivity=1))
    return cuts


def overlaps(first: Labels, second: Labels) -> NDArray[np.int64]:
    """The number of pixels that a segment of `first` (row) shares with one of `second` (column)."""
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    shape = (len(rows), len(columns))
    pairs = np.ravel_multi_index((row.ravel(), column.ravel()), shape)
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def covering(truth: Labels, segments: Labels) -> float:
    """Σ |R| max_S |R ∩ S| / |R ∪ S| over the true regions R, divided by the number of pixels."""
    shared = overlaps(truth, segments)
    sizes = shared.sum(1)
    united = sizes[:, None] + shared.sum(0) - shared
    return float(sizes @ (shared / united).max(1) / truth.size)


@dataclass(frozen=True)
class Segmentation:
    """A scene's segmentation with each number of clusters, and how well each covers the truth."""

    cuts: Sequence[Labels]
    coverings: Sequence[float]

    @property
    def best(self) -> int:
        """Which of the segmentations covers best."""
        return int(np.argmax(self.coverings))


def segmentations(
    features: Iterable[Array], scenes: Sequence[Scene], tick: Callable[[], None]
) -> list[Segmentation]:
    """The segmentations of each scene from its features; `tick` is called after each."""
    found = []
    for F, scene in zip(features, scenes, strict=True):
        cuts = [enlarged(cut) for cut in normalized_cuts(F)]
        found.append(Segmentation(cuts, [covering(scene.segments, cut) for cut in cuts]))
        tick()
    return found


def best_scale_for_each(found: Sequence[Segmentation]) -> float:
    """Mean covering with the best number of clusters for each image (OIS)."""
    return float(np.mean([max(one.coverings) for one in found]))


def best_scale_for_all(found: Sequence[Segmentation]) -> float:
    """Mean covering with the one number of clusters that is best for all images (ODS)."""
    return float(np.mean([one.coverings for one in found], axis=0).max())
