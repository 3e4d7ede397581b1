"""The normalized cuts' gradients where the factor is ill-conditioned, against 50 digits."""

from __future__ import annotations

import mpmath
import pytest
import torch

import mbp
from mbp.generated.ncuts_j1 import ncuts_j1
from mbp.generated.ncuts_j2 import ncuts_j2

M, D, K = 60, 5, 3


def j1(F, E):
    """½(d + k) − tr[(FᵀD⁻¹F)⁻¹ Yᵀ(EᵀDE)⁻¹Y] with Y = EᵀF and Λ = I."""
    degrees = F * (F.T * mpmath.ones(M, 1))
    S = F.T * mpmath.diag([1 / d for d in degrees]) * F
    C = E.T * mpmath.diag(list(degrees)) * E
    return (D + K) / mpmath.mpf(2) - trace(mpmath.inverse(S) * (F.T * E) * mpmath.inverse(C)
                                           * (E.T * F))  # fmt: skip


def j2(F, E):
    """½(d + k) − tr[(FᵀF)⁻¹ FᵀE (EᵀE)⁻¹ EᵀF]."""
    return (D + K) / mpmath.mpf(2) - trace(
        mpmath.inverse(F.T * F) * (F.T * E) * mpmath.inverse(E.T * E) * (E.T * F)
    )


def trace(A):
    return sum(A[i, i] for i in range(A.rows))


@pytest.mark.parametrize(("layer", "exact"), [(ncuts_j1, j1), (ncuts_j2, j2)])
@pytest.mark.parametrize("power", [0, 3, 6])
def test_the_gradient_loses_no_more_than_the_condition_number_takes(layer, exact, power):
    torch.manual_seed(0)
    base = torch.rand(M, D, dtype=torch.float64) + 0.5
    mixing = torch.ones(D, D, dtype=torch.float64) / D
    mixing += 10.0**-power * torch.randn(D, D, dtype=torch.float64)
    F = (base @ mixing).requires_grad_()
    E = torch.eye(K, dtype=torch.float64)[torch.arange(M) % K]
    V = torch.randn(M, D, dtype=torch.float64)
    layer(F, torch.eye(D, dtype=torch.float64), E).backward()
    with mpmath.workdps(50):
        at, along, partition = (mpmath.matrix(X.tolist()) for X in (F.detach(), V, E))
        step = mpmath.mpf(10) ** -20
        ahead, behind = (exact(at + h * along, partition) for h in (step, -step))
        expected = float((ahead - behind) / (2 * step))
    size = float(F.grad.norm() * V.norm())
    condition = float(torch.linalg.cond(F.detach()))
    assert abs(float((F.grad * V).sum()) - expected) <= 20 * 2.2e-16 * condition * size


def test_a_difference_inside_a_function_is_not_multiplied_out():
    @mbp.layer(F="m d", mu="d")
    def scatter_root(F, mu):
        X = F - mbp.ones("m") @ mu.T
        return mbp.sqrtm(X.T @ X)

    torch.manual_seed(0)
    F = (torch.randn(40, D, dtype=torch.float64) + 1e5).requires_grad_()
    mu = F.detach().mean(0).requires_grad_()
    G = torch.randn(D, D, dtype=torch.float64)
    found = torch.autograd.grad((scatter_root(F, mu) * G).sum(), F)[0]
    q, U = torch.linalg.eigh((F - mu).mT @ (F - mu))
    expected = torch.autograd.grad(((U * q.sqrt()) @ U.mT * G).sum(), F)[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
