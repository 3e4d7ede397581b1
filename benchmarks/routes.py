"""Gradients as users compute them today: autograd, the paper's formulas, two packages."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp
import torch
from torch import Tensor

from benchmarks.exact import x

Gradient = Callable[[Tensor, Tensor], Tensor]
"""(F, G) ↦ the gradient of G : g(FᵀF + εI) in F."""

Function = Callable[[Tensor], Tensor]


def elementwise(g: sp.Expr) -> Function:
    """The scalar function g of x in torch."""
    names = {name: getattr(torch, name) for name in ("log", "exp", "sqrt", "tanh")}
    return sp.lambdify(x, g, [names])


def differentiated(C: Callable[[Tensor], Tensor]) -> Gradient:
    """G : C(F) differentiated by autograd."""

    def gradient(F: Tensor, G: Tensor) -> Tensor:
        F = F.detach().requires_grad_()
        return torch.autograd.grad((C(F) * G).sum(), F)[0]

    return gradient


def covariance(F: Tensor, eps: float) -> Tensor:
    """FᵀF + εI."""
    return F.mT @ F + eps * torch.eye(F.shape[-1], dtype=F.dtype)


def through_eigh(g: sp.Expr, eps: float) -> Gradient:
    """Autograd through the eigenvectors."""
    f = elementwise(g)

    def C(F: Tensor) -> Tensor:
        q, U = torch.linalg.eigh(covariance(F, eps))
        return U @ (f(q)[:, None] * U.mT)

    return differentiated(C)


def through_svd(g: sp.Expr, eps: float) -> Gradient:
    """Autograd through the singular vectors; a thin SVD, so that it misses g(ε) of a wide F."""
    f = elementwise(g)

    def C(F: Tensor) -> Tensor:
        _, s, Vt = torch.linalg.svd(F, full_matrices=False)
        return Vt.mT @ (f(s * s + eps)[:, None] * Vt)

    return differentiated(C)


def paper_eig(g: sp.Expr, eps: float) -> Gradient:
    """(44), (45) and (35), as printed but for K̃, which is transposed there."""
    f, slope = elementwise(g), elementwise(sp.diff(g, x))

    def gradient(F: Tensor, G: Tensor) -> Tensor:
        q, U = torch.linalg.eigh(covariance(F, eps))
        G_U = (G + G.mT) @ U * f(q)
        G_Q = slope(q)[:, None] * (U.mT @ G @ U)
        K = torch.where(torch.eye(len(q), dtype=torch.bool), 0.0, 1 / (q[:, None] - q))
        G_Z = U @ (K.mT * (U.mT @ G_U) + G_Q.diag().diag()) @ U.mT
        return F @ (G_Z + G_Z.mT)

    return gradient


def paper_svd(g: sp.Expr, eps: float) -> Gradient:
    """(40), (41) and (16) with D = 0."""
    f, slope = elementwise(g), elementwise(sp.diff(g, x))

    def gradient(F: Tensor, G: Tensor) -> Tensor:
        U, s, Vt = torch.linalg.svd(F, full_matrices=False)
        V, lam = Vt.mT, s * s + eps
        G_V = (G + G.mT) @ V * f(lam)
        G_S = (s * slope(lam))[:, None] * (V.mT @ (G + G.mT) @ V)
        K = torch.where(torch.eye(len(s), dtype=torch.bool), 0.0, 1 / (s[:, None] ** 2 - s**2))
        inner = K.mT * (V.mT @ G_V)
        return U @ (G_S.diag().diag() + s[:, None] * (inner + inner.mT)) @ V.mT

    return gradient


def packages(g: sp.Expr, eps: float) -> dict[str, Gradient]:
    """spd_learn's and torchspd's gradients of g, where they have the function and are installed."""
    found: dict[str, Gradient] = {}
    for name, functions in (("spd_learn", _spd_learn), ("torchspd", _torchspd)):
        try:
            function = functions().get(g)
        except ImportError:
            continue
        if function is not None:
            found[name] = differentiated(_applied(function, eps))
    return found


def _applied(function: Function, eps: float) -> Function:
    return lambda F: function(covariance(F, eps))


def _powers(power: Callable[[Tensor, float], Tensor]) -> dict[sp.Expr, Function]:
    def to_the(p: float) -> Function:
        return lambda A: power(A, p)

    return {x ** sp.Rational(k, 10): to_the(k / 10) for k in range(1, 10) if k != 5}


def _spd_learn() -> dict[sp.Expr, Function]:
    from spd_learn import functional

    return _powers(functional.matrix_power.apply) | {
        sp.log(x): functional.matrix_log.apply,
        sp.exp(x): functional.matrix_exp.apply,
        sp.sqrt(x): functional.matrix_sqrt.apply,
    }


def _torchspd() -> dict[sp.Expr, Function]:
    import torchspd

    return _powers(torchspd.powm) | {
        sp.log(x): torchspd.logm,
        sp.exp(x): torchspd.expm,
        sp.sqrt(x): torchspd.sqrtm,
    }
