"""The paper's layers with the paper's backward formulas, dense, as printed but for its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Tensors = tuple[Tensor, ...]


def layer(
    forward: Callable[..., Tensors], backward: Callable[..., Tensors]
) -> Callable[..., Tensor]:
    """The layer with this forward pass, Y and what is kept, and gradients from G and all that."""

    class Literal(Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            Y, *kept = forward(*inputs)
            ctx.save_for_backward(*inputs, *kept)
            return Y

        @staticmethod
        def backward(ctx: Any, G: Tensor) -> Tensors:
            return backward(G, *ctx.saved_tensors)

    applied: Callable[..., Tensor] = Literal.apply
    return applied


def _sym(A: Tensor) -> Tensor:
    return (A + A.mT) / 2


def _diag(A: Tensor) -> Tensor:
    return torch.diag_embed(torch.diagonal(A, dim1=-2, dim2=-1))


def _kernel(lam: Tensor) -> Tensor:
    """1/(λ_i − λ_j) with a zero diagonal."""
    gaps = lam[..., :, None] - lam[..., None, :]
    return torch.where(torch.eye(lam.shape[-1], dtype=torch.bool), 0.0, 1 / gaps)


EPS = 1e-3


def _log_by_svd(F: Tensor) -> Tensors:
    U, s, Vt = torch.linalg.svd(F, full_matrices=False)
    return Vt.mT @ ((s * s + EPS).log()[..., None] * Vt), U, s, Vt


def _log_by_svd_backward(G: Tensor, F: Tensor, U: Tensor, s: Tensor, Vt: Tensor) -> Tensors:
    # (46) and (16), where D is 0.
    V, lam = Vt.mT, s * s + EPS
    G_V = 2 * _sym(G) @ V * lam.log()[..., None, :]
    G_S = (2 * s / lam)[..., None] * (Vt @ _sym(G) @ V)
    inner = _sym(_kernel(s * s).mT * (Vt @ G_V))
    return (U @ (_diag(G_S) + 2 * s[..., None] * inner) @ Vt,)


def _log_by_eig(F: Tensor) -> Tensors:
    q, U = torch.linalg.eigh(F.mT @ F + EPS * torch.eye(F.shape[-1], dtype=F.dtype))
    return U @ (q.log()[..., None] * U.mT), q, U


def _log_by_eig_backward(G: Tensor, F: Tensor, q: Tensor, U: Tensor) -> Tensors:
    # (47) and (35), whose kernel is printed transposed.
    G_U = 2 * _sym(G) @ U * q.log()[..., None, :]
    G_Q = (U.mT @ G @ U) / q[..., None]
    G_Z = U @ (_kernel(q).mT * (U.mT @ G_U) + _diag(G_Q)) @ U.mT
    return (2 * F @ _sym(G_Z),)


def _projector(A: Tensor) -> Tensors:
    pinv = torch.linalg.pinv(A, hermitian=True)
    return A @ pinv, pinv


def _through_projector(G: Tensor, P: Tensor, pinv: Tensor) -> Tensor:
    """Lemma 1."""
    return 2 * _sym((torch.eye(P.shape[-1], dtype=P.dtype) - P) @ _sym(G) @ pinv)


def _projector_backward(G: Tensor, A: Tensor, pinv: Tensor) -> Tensors:
    return (_through_projector(G, A @ pinv, pinv),)


def _cut(F: Tensor, Lam: Tensor, E: Tensor) -> Tensors:
    P, pinv = _projector(F @ Lam @ F.mT)
    P_Psi, _ = _projector(E @ torch.diag(1 / E.sum(0)) @ E.mT)
    return (P - P_Psi).square().sum() / 2, P, pinv, P_Psi


def _cut_backward(
    G: Tensor, F: Tensor, Lam: Tensor, E: Tensor, P: Tensor, pinv: Tensor, P_Psi: Tensor
) -> tuple[Tensor | None, ...]:
    # (60), where only the symmetric part of dW counts, and (65).
    G_W = -2 * _sym((torch.eye(len(P), dtype=P.dtype) - P) @ P_Psi @ pinv)
    return 2 * G * G_W @ F @ Lam, None, None


def _normalized_cut(F: Tensor, Lam: Tensor, E: Tensor) -> Tensors:
    W = F @ Lam @ F.mT
    D = W.sum(1)
    M = W / (D.sqrt()[:, None] * D.sqrt())
    Omega = D.sqrt()[:, None] * (E @ E.mT) * D.sqrt()
    (P_M, pinv_M), (P_Omega, pinv_Omega) = _projector(M), _projector(Omega)
    J = (P_M - P_Omega).square().sum() / 2
    return J, D, M, Omega, P_M, pinv_M, P_Omega, pinv_Omega


def _normalized_cut_backward(
    G: Tensor, F: Tensor, Lam: Tensor, E: Tensor, D: Tensor, M: Tensor, Omega: Tensor,
    P_M: Tensor, pinv_M: Tensor, P_Omega: Tensor, pinv_Omega: Tensor,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    # The Frobenius norm, Lemma 1 twice, Proposition 5 and (64), (65).
    G_P = G * (P_M - P_Omega)
    G_M, G_Omega = (
        _through_projector(G_P, P_M, pinv_M), _through_projector(-G_P, P_Omega, pinv_Omega)
    )  # fmt: skip
    degrees = ((Omega @ G_Omega).diagonal() - (M @ G_M).diagonal()) / D
    G_W = _sym(G_M / (D.sqrt()[:, None] * D.sqrt()) + degrees[:, None])
    return 2 * G_W @ F @ Lam, F.mT @ G_W @ F, None


log_by_svd = layer(_log_by_svd, _log_by_svd_backward)
log_by_eig = layer(_log_by_eig, _log_by_eig_backward)
projector = layer(_projector, _projector_backward)
cut = layer(_cut, _cut_backward)  # type: ignore[arg-type]
normalized_cut = layer(_normalized_cut, _normalized_cut_backward)  # type: ignore[arg-type]
