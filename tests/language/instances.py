"""Random admissible instances, curves through them and tangent projections, in NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import expm

Array = np.ndarray

SIZES = {
    "m": 5, "n": 3, "k": 2, "d": 4, "p": 4, "q": 2, "r": 2, "N": 6, "M": 4, "D": 4, "K": 3,
}  # fmt: skip
"""The dimensions' sizes; no two that meet in a problem are alike."""

LINEAR = {
    "symmetric": lambda A: (A + A.T) / 2,
    "positive_definite": lambda A: (A + A.T) / 2,
    "positive_semidefinite": lambda A: (A + A.T) / 2,
    "antisymmetric": lambda A: (A - A.T) / 2,
    "diagonal": lambda A: np.diag(np.diag(A)),
    "lower_triangular": np.tril,
    "upper_triangular": np.triu,
    "strictly_lower_triangular": lambda A: np.tril(A, -1),
    "unit_lower_triangular": lambda A: np.tril(A, -1),
}
"""The projections of structures whose variations form one fixed linear space."""


def shape_of(declaration: str) -> tuple[tuple[int, int], list[str]]:
    """Sizes and properties that a declaration gives."""
    words = declaration.split()
    if words[0] == "scalar":
        return (1, 1), words[1:]
    dims = [word for word in words[:2] if word.isdigit() or word in SIZES]
    sizes = [int(word) if word.isdigit() else SIZES[word] for word in dims]
    return (sizes[0], sizes[1] if len(sizes) == 2 else 1), words[len(dims) :]


def point(declaration: str, rng: np.random.Generator) -> Array:
    """A random matrix as declared."""
    (rows, cols), properties = shape_of(declaration)
    A = rng.normal(size=(rows, cols))
    if "orthogonal" in properties or "orthonormal_columns" in properties:
        return np.linalg.qr(A)[0]
    if "projector" in properties:
        U = np.linalg.qr(A)[0][:, : (rows + 1) // 2]
        return U @ U.T
    if "partition" in properties:
        return np.eye(cols)[np.arange(rows) % cols]
    for name in LINEAR:
        if name in properties:
            A = LINEAR[name](A)
    if "unit_lower_triangular" in properties:
        A = A + np.eye(rows)
    if "positive_definite" in properties and "diagonal" not in properties:
        A = A @ A.T + np.eye(rows)
    if "positive_semidefinite" in properties:
        A = A @ A.T
    if "positive_definite" in properties and "diagonal" in properties:
        A = np.diag(0.5 + np.abs(np.diag(A)))
    if "invertible" in properties:
        A = A + 2 * np.eye(rows)
    if "positive" in properties or "nonnegative" in properties:
        A = np.abs(A) + 0.3 if "diagonal" not in properties else np.diag(np.diag(np.abs(A)) + 0.3)
    return A


def curve(declaration: str, X: Array, rng: np.random.Generator) -> tuple[Array, Callable]:
    """A random admissible variation dX and a curve through X with that velocity."""
    _, properties = shape_of(declaration)
    A = rng.normal(size=X.shape)
    W = rng.normal(size=(len(X), len(X)))
    W = (W - W.T) / 2
    if "orthogonal" in properties or "orthonormal_columns" in properties:
        return W @ X, lambda t: expm(t * W) @ X
    if "projector" in properties:
        return W @ X - X @ W, lambda t: expm(t * W) @ X @ expm(-t * W)
    for name in LINEAR:
        if name in properties:
            A = LINEAR[name](A)
    return A, lambda t: X + t * A


def projected(declaration: str, X: Array, M: Array) -> Array:
    """M carried onto the admissible variations at X."""
    _, properties = shape_of(declaration)
    if "orthogonal" in properties or "orthonormal_columns" in properties:
        return M - X @ (X.T @ M + M.T @ X) / 2
    if "projector" in properties:
        S, Q = (M + M.T) / 2, np.eye(len(X)) - X
        return Q @ S @ X + X @ S @ Q
    for name in LINEAR:
        if name in properties:
            M = LINEAR[name](M)
    return M
