"""What training does to the features: their rank, and how far they are from the partition."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from examples.cuts.network import Segmenter, evaluated, inferred
from examples.cuts.scenes import Scene
from mbp.generated.ncuts_j2 import rank_report


class Alignment(NamedTuple):
    """How the range of the features F lies to that of the partition E of k regions.

    rank: numerical. entropy_rank: exp of the entropy of the singular values' shares.
    deficit: k − ‖QᵀÊ‖², Q and Ê orthonormal bases of the two ranges; 0 where every region's
    indicator is a combination of features. J2 = (rank − k)/2 + deficit.
    """

    rank: float
    entropy_rank: float
    deficit: float


class Reading(NamedTuple):
    """The objective and the mean alignment after a number of steps."""

    step: int
    objective: float
    alignment: Alignment


def alignment(F: Tensor, E: Tensor) -> Alignment:
    """The alignment of one image's features F (m, d) with its partition E (m, k)."""
    Lam = torch.eye(F.shape[-1], dtype=F.dtype)
    rank = int(rank_report(F, Lam, E).rank_W)
    U, s, _ = torch.linalg.svd(F, full_matrices=False)
    normalised = E / E.sum(0).sqrt()
    deficit = E.shape[-1] - (U[:, :rank].mT @ normalised).square().sum()
    shares = s / s.sum()
    return Alignment(rank, torch.special.entr(shares).sum().exp().item(), deficit.item())


def mean_alignment(model: Segmenter, scenes: Sequence[Scene]) -> Alignment:
    """The alignment averaged over the scenes."""
    pairs = zip(inferred(model, scenes), scenes, strict=True)
    found = torch.tensor([alignment(F, scene.partition) for F, scene in pairs])
    return Alignment(*found.mean(0).tolist())


def reading(model: Segmenter, scenes: Sequence[Scene], step: int) -> Reading:
    """The objective and the mean alignment on the scenes."""
    return Reading(step, evaluated(model, scenes), mean_alignment(model, scenes))
