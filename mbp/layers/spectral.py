"""Spectral layers (§5.1) and the functions of their outputs (§5.2)."""

from __future__ import annotations

from mbp.expr.build import eye
from mbp.expr.elementwise import logm
from mbp.expr.nodes import Expr
from mbp.layers.letters import lettered
from mbp.rulebook import RULEBOOK


@lettered(X="m n")
def svd(X: Expr) -> dict[str, Expr]:
    """The thin singular value decomposition X = U S Vᵀ, m ≥ n (Proposition 1)."""
    return dict(zip("USV", RULEBOOK.call("svd", X)))


@lettered(X="m n")
def svd_full(X: Expr) -> dict[str, Expr]:
    """The singular value decomposition with square U, m ≥ n (Proposition 1)."""
    return dict(zip("USV", RULEBOOK.call("svd_full", X)))


@lettered(X="n n symmetric")
def eig(X: Expr) -> dict[str, Expr]:
    """The symmetric eigenvalue problem X = U Q Uᵀ (Proposition 2)."""
    return dict(zip("UQ", RULEBOOK.call("eig", X)))


@lettered(S="n n diagonal", V="n n orthogonal", eps="scalar positive constant")
def svd_function(S: Expr, V: Expr, eps: float = 1e-3) -> dict[str, Expr]:
    """A function of FᵀF + εI from F's singular values: C = V log(SᵀS + εI) Vᵀ (Proposition 3)."""
    return {"C": V @ logm(S.T @ S + eps * eye("n")) @ V.T}


@lettered(U="n n orthogonal", Q="n n diagonal positive_definite")
def eig_function(U: Expr, Q: Expr) -> dict[str, Expr]:
    """A function of a symmetric matrix from its eigenvalues: C = U log(Q) Uᵀ (Proposition 4)."""
    return {"C": U @ logm(Q) @ U.T}
