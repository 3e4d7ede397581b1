"""Second-order pooling (§4.1, §5.2): functions of the covariance FᵀF of m features."""

from __future__ import annotations

from mbp.expr.build import as_expr, eye, powm
from mbp.expr.elementwise import logm
from mbp.expr.nodes import Expr
from mbp.layers.letters import lettered
from mbp.layers.spectral import eig_function, svd_function
from mbp.rulebook import RULEBOOK


@lettered(F="m d", eps="scalar positive constant")
def o2p_svd(F: Expr, eps: float = 1e-3) -> dict[str, Expr]:
    """Second-order pooling C = log(FᵀF + εI) through the SVD of F (Corollary 1)."""
    _, S, V = RULEBOOK.call("svd", F)
    return {"C": svd_function(S, V, eps)}


@lettered(F="m d", eps="scalar positive constant")
def o2p_eig(F: Expr, eps: float = 1e-3) -> dict[str, Expr]:
    """Second-order pooling C = log(FᵀF + εI) through its eigenvalues (Corollary 1)."""
    U, Q = RULEBOOK.call("eig", F.T @ F + eps * eye("d"))
    return {"C": eig_function(U, Q)}


@lettered(F="m d", eps="scalar positive constant")
def o2p(F: Expr, eps: float = 1e-3) -> dict[str, Expr]:
    """Second-order pooling C = log(FᵀF + εI) (4)."""
    return {"C": logm(F.T @ F + eps * eye("d"))}


@lettered(F="m d", eps="scalar positive constant", p="scalar positive constant")
def power_pool(F: Expr, eps: float = 1e-3, p: float = 0.5) -> dict[str, Expr]:
    """Power-normalised second-order pooling C = (FᵀF + εI)^p."""
    return {"C": powm(F.T @ F + eps * eye("d"), as_expr(p))}
