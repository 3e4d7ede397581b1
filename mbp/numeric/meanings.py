"""What the properties of `rules/invariants.toml` say about numbers, one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import Array


def holds(prop: str, X: Array, tolerance: float = 1e-9) -> bool:
    """Whether a float64 matrix has the property, to a tolerance relative to its size."""
    size = tolerance * max(1.0, float(np.abs(X).max(initial=0.0)))
    rows, cols = X.shape
    if VOCABULARY[prop].square and rows != cols:
        return False
    return _MEANINGS[prop](X, size)


def _close(A: Array, B: Array, size: float) -> bool:
    return bool(np.abs(A - B).max(initial=0.0) <= size)


def _rank(X: Array, size: float) -> int:
    return int((np.linalg.svd(X, compute_uv=False) > size).sum())


def _symmetric(X: Array, size: float) -> bool:
    return _close(X, X.T, size)


def _least_eigenvalue(X: Array) -> float:
    return float(np.linalg.eigvalsh((X + X.T) / 2)[0])


_MEANINGS: dict[str, Callable[[Array, float], bool]] = {
    "symmetric": _symmetric,
    "antisymmetric": lambda X, e: _close(X, -X.T, e),
    "diagonal": lambda X, e: _close(X, np.diag(np.diagonal(X)), e),
    "orthogonal": lambda X, e: _close(X.T @ X, np.eye(len(X)), e),
    "orthonormal_columns": lambda X, e: _close(X.T @ X, np.eye(X.shape[1]), e),
    "lower_triangular": lambda X, e: _close(X, np.tril(X), e),
    "strictly_lower_triangular": lambda X, e: _close(X, np.tril(X, -1), e),
    "unit_lower_triangular": lambda X, e: _close(X, np.tril(X, -1) + np.eye(len(X)), e),
    "upper_triangular": lambda X, e: _close(X, np.triu(X), e),
    "positive_definite": lambda X, e: _symmetric(X, e) and _least_eigenvalue(X) > e,
    "positive_semidefinite": lambda X, e: _symmetric(X, e) and _least_eigenvalue(X) > -e,
    "projector": lambda X, e: _symmetric(X, e) and _close(X @ X, X, e),
    "invertible": lambda X, e: _rank(X, e) == len(X),
    "full_column_rank": lambda X, e: _rank(X, e) == X.shape[1],
    "full_row_rank": lambda X, e: _rank(X, e) == X.shape[0],
    "positive": lambda X, e: bool((X > 0).all()),
    "nonnegative": lambda X, e: bool((X + e >= 0).all()),
    "partition": lambda X, e: bool(
        np.isin(X, (0, 1)).all() and (X.sum(1) == 1).all() and (X.sum(0) > 0).all()
    ),
    "constant": lambda X, e: True,
}

