"""The built-in layers: each a few lines that say what it computes."""

from mbp.api import Layer
from mbp.layers.cuts import (
    affinity,
    ncuts_j1,
    ncuts_j1_affinity,
    ncuts_j2,
    ncuts_j2_affinity,
    normalized_affinity,
    projector,
)
from mbp.layers.pooling import o2p, o2p_eig, o2p_svd, power_pool
from mbp.layers.spectral import eig, eig_function, svd, svd_full, svd_function

__all__ = [
    "affinity", "eig", "eig_function", "ncuts_j1", "ncuts_j1_affinity", "ncuts_j2",
    "ncuts_j2_affinity", "normalized_affinity", "o2p", "o2p_eig", "o2p_svd", "power_pool",
    "projector", "registry", "svd", "svd_full", "svd_function",
]  # fmt: skip

_LAYERS = (
    svd, svd_full, eig, svd_function, eig_function, o2p_svd, o2p_eig, o2p, power_pool, projector,
    affinity, normalized_affinity, ncuts_j1, ncuts_j2, ncuts_j1_affinity, ncuts_j2_affinity,
)  # fmt: skip


def registry() -> dict[str, Layer]:
    """The built-in layers by name, in the order of the paper."""
    return {layer.name: layer for layer in _LAYERS}
