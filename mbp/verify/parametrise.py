"""Smooth parametrisations of the matrices a declaration admits, for gradcheck to move freely in.

θ ↦ X(θ) with X(0) = X₀ maps an open set of θ onto the admissible matrices near X₀: symmetric
parts, triangles, orthogonal matrices through the exponential of an antisymmetric generator,
matrices of a deficient rank through congruences that keep it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbp.expr.nodes import Var
from mbp.invariants.vocabulary import VOCABULARY

Parametrisation = Callable[[Tensor], Tensor]


def parametrise(x: Var, X0: Tensor, deficient: bool = False) -> tuple[Tensor, Parametrisation]:
    """θ = 0 and the map θ ↦ X(θ) for X0 (*, rows, cols); `deficient` keeps X0's rank."""
    known = VOCABULARY.closure(x.properties)
    *batch, rows, cols = X0.shape

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*batch, *shape, dtype=X0.dtype)

    if "projector" in known:
        return zeros(rows, rows), lambda theta: _rotation(theta) @ X0 @ _rotation(theta).mT
    if "orthonormal_columns" in known:
        return zeros(rows, rows), lambda theta: _rotation(theta) @ X0
    if deficient:
        return zeros(rows + cols, rows + cols), lambda theta: _congruence(known, X0, theta)
    return zeros(rows, cols), lambda theta: X0 + _patterned(known, theta)


def _rotation(theta: Tensor) -> Tensor:
    return torch.linalg.matrix_exp(theta - theta.mT)


def _congruence(known: frozenset[str], X0: Tensor, theta: Tensor) -> Tensor:
    rows, cols = X0.shape[-2:]
    left = torch.eye(rows, dtype=X0.dtype) + theta[..., :rows, :rows]
    if known & {"symmetric", "antisymmetric"}:
        return left @ X0 @ left.mT
    return left @ X0 @ (torch.eye(cols, dtype=X0.dtype) + theta[..., rows:, rows:])


def _patterned(known: frozenset[str], theta: Tensor) -> Tensor:
    if "diagonal" in known:
        return torch.diag_embed(theta.diagonal(dim1=-2, dim2=-1))
    if "symmetric" in known:
        return (theta + theta.mT) / 2
    if "antisymmetric" in known:
        return (theta - theta.mT) / 2
    if known & {"unit_lower_triangular", "strictly_lower_triangular"}:
        return torch.tril(theta, -1)
    if "lower_triangular" in known:
        return torch.tril(theta)
    return torch.triu(theta) if "upper_triangular" in known else theta
