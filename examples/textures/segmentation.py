"""Normalized cuts from low-rank features, and how well a segmentation covers the truth."""

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def spectral_embedding(F: Array) -> tuple[Array, Array]:
    """Rows D^-½U of the relaxed cut for W = FFᵀ, and the degrees D that weight them.

    F is m × d and nonnegative. U comes from the thin SVD of D^-½F, so that W is never formed;
    directions below rounding error are left out. A row without any feature has degree 0 and is
    given the smallest positive one.
    """
    degrees = F @ F.sum(0)
    if not degrees.any():
        return np.zeros((len(F), 1)), np.ones(len(F))
    degrees = np.maximum(degrees, degrees[degrees > 0].min())
    U, s, _ = np.linalg.svd(F / np.sqrt(degrees)[:, None], full_matrices=False)
    rank = int((s > max(F.shape) * np.finfo(float).eps * s[0]).sum())
    return U[:, :rank] / np.sqrt(degrees)[:, None], degrees


def weighted_kmeans(
    points: Array, weights: Array, k: int, rng: np.random.Generator, tries: int = 2
) -> Labels:
    """The labels of lowest weighted squared distance over `tries` runs of Lloyd's algorithm."""
    best: tuple[float, Labels] | None = None
    for _ in range(tries):
        centres = points[[rng.choice(len(points), p=weights / weights.sum())]]
        while len(centres) < k:  # k-means++: next a point far from all centres so far
            chance = weights * squared_distances(points, centres).min(1)
            total = chance.sum()
            chance = chance / total if total > 0 else weights / weights.sum()
            centres = np.vstack([centres, points[rng.choice(len(points), p=chance)]])
        labels = squared_distances(points, centres).argmin(1)
        for _ in range(50):
            members = np.eye(k)[labels] * weights[:, None]
            mass = members.sum(0)
            centres = np.where(
                mass[:, None] > 0, members.T @ points / np.maximum(mass, 1e-300)[:, None], centres
            )
            moved = squared_distances(points, centres).argmin(1)
            if np.array_equal(moved, labels):
                break
            labels = moved
        cost = float((weights * squared_distances(points, centres).min(1)).sum())
        if best is None or cost < best[0]:
            best = cost, labels
    if best is None:
        raise ValueError("weighted_kmeans needs at least one try")
    return best[1]


def squared_distances(points: Array, centres: Array) -> Array:
    """‖p − c‖² for each point (a row) and each centre (a column)."""
    distances: Array = ((points[:, None] - centres) ** 2).sum(-1)
    return distances


def normalized_cut(F: Array, k: int, rng: np.random.Generator) -> Labels:
    """Segments on the square grid whose rows F lists: k clusters, then connected components."""
    points, degrees = spectral_embedding(F)
    side = round(len(F) ** 0.5)
    clusters = weighted_kmeans(points, degrees, k, rng).reshape(side, side)
    segments: Labels = label(clusters + 1, connectivity=1)
    return segments


def covering(truth: Labels, segments: Labels) -> float:
    """Σ |R| max_S |R ∩ S| / |R ∪ S| over the true regions R, divided by the number of pixels."""
    total = 0.0
    for region in np.unique(truth):
        inside = truth == region
        total += inside.sum() * max(
            (inside & (segments == segment)).sum() / (inside | (segments == segment)).sum()
            for segment in np.unique(segments[inside])
        )
    return float(total / truth.size)
