"""What one writes today for the same maps, and lets autograd differentiate."""

from __future__ import annotations

import torch
from torch import Tensor


def log_by_eigh(F: Tensor, eps: float = 1e-3) -> Tensor:
    """log(FᵀF + εI) through the eigenvalues of the Gram matrix."""
    q, U = torch.linalg.eigh(F.mT @ F + eps * torch.eye(F.shape[-1], dtype=F.dtype))
    return U * q.log()[..., None, :] @ U.mT


def log_by_svd(F: Tensor, eps: float = 1e-3) -> Tensor:
    """log(FᵀF + εI) through the singular values, with all of V where F is wide."""
    m, d = F.shape[-2:]
    _, s, Vt = torch.linalg.svd(F, full_matrices=m < d)
    s = torch.nn.functional.pad(s, (0, max(d - m, 0)))
    return Vt.mT * (s.square() + eps).log()[..., None, :] @ Vt


def log_by_spd_learn(F: Tensor, eps: float = 1e-3) -> Tensor:
    """log(FᵀF + εI) by spd_learn's matrix_log."""
    from spd_learn.functional import matrix_log

    C: Tensor = matrix_log.apply(F.mT @ F + eps * torch.eye(F.shape[-1], dtype=F.dtype))
    return C


def power_by_eigh(F: Tensor, eps: float = 1e-3, p: float = 0.5) -> Tensor:
    """(FᵀF + εI)^p through the eigenvalues of the Gram matrix."""
    q, U = torch.linalg.eigh(F.mT @ F + eps * torch.eye(F.shape[-1], dtype=F.dtype))
    return U * q.pow(p)[..., None, :] @ U.mT


def square_root_by_newton_schulz(F: Tensor, eps: float = 1e-3, steps: int = 5) -> Tensor:
    """(FᵀF + εI)^½ by five coupled Newton–Schulz steps, as in iSQRT-COV (Li et al. 2018)."""
    eye = torch.eye(F.shape[-1], dtype=F.dtype)
    A = F.mT @ F + eps * eye
    size = torch.diagonal(A, dim1=-2, dim2=-1).sum(-1)[..., None, None]
    Y, Z = A / size, eye.expand_as(A)
    for _ in range(steps):
        T = (3 * eye - Z @ Y) / 2
        Y, Z = Y @ T, T @ Z
    return Y * size.sqrt()


def projector_by_pinv(A: Tensor) -> Tensor:
    """A A⁺ with torch's pseudoinverse of a symmetric matrix."""
    return A @ torch.linalg.pinv(A, hermitian=True)


def cut_by_qr(F: Tensor, Lam: Tensor, E: Tensor) -> Tensor:
    """J₂ from an orthonormal basis of F's range: what a careful user writes."""
    Q, _ = torch.linalg.qr(F)
    Y = Q.mT @ (E / E.sum(-2).sqrt())
    return (F.shape[-1] + E.shape[-1]) / 2 - Y.square().sum((-2, -1))


def normalized_cut_by_qr(F: Tensor, Lam: Tensor, E: Tensor) -> Tensor:
    """J₁ from an orthonormal basis of D^-½F's range, the degrees through the factors."""
    degrees = F @ (Lam @ F.sum(-2)[..., None])
    root = degrees.sqrt()
    Q, _ = torch.linalg.qr(F / root)
    C = root * E
    Y = Q.mT @ (C / C.square().sum(-2).sqrt())
    return (F.shape[-1] + E.shape[-1]) / 2 - Y.square().sum((-2, -1))


def cut_dense(F: Tensor, Lam: Tensor, E: Tensor) -> Tensor:
    """J₂ literally: the projector of the m×m affinity."""
    W = F @ Lam @ F.mT
    P = W @ torch.linalg.pinv(W, hermitian=True, rtol=1e-10)
    Psi = E @ torch.linalg.inv(E.mT @ E) @ E.mT
    return (P - Psi).square().sum((-2, -1)) / 2


def normalized_cut_dense(F: Tensor, Lam: Tensor, E: Tensor) -> Tensor:
    """J₁ literally: the projectors of the m×m matrices M and Ω."""
    W = F @ Lam @ F.mT
    root = W.sum(-1).sqrt()
    M = W / root[..., None] / root[..., None, :]
    C = root[..., None] * E
    Omega = C @ C.mT
    P = M @ torch.linalg.pinv(M, hermitian=True, rtol=1e-10)
    Q = Omega @ torch.linalg.pinv(Omega, hermitian=True, rtol=1e-10)
    return (P - Q).square().sum((-2, -1)) / 2


def thin_svd(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """torch's thin SVD, V instead of its transpose."""
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    return U, S, Vt.mT


def eigenvectors(X: Tensor) -> tuple[Tensor, Tensor]:
    """torch's eigenvectors and eigenvalues of a symmetric matrix."""
    values, U = torch.linalg.eigh(X)
    return U, values
