"""Normalized cuts (§6): affinities, projectors and the two alignment objectives."""

from __future__ import annotations

from mbp.api import projector as project_onto_range
from mbp.expr.build import diag, inv, number, ones, power, sumsq
from mbp.expr.nodes import Expr
from mbp.layers.letters import lettered

half = number(0.5)


@lettered(A="n n symmetric")
def projector(A: Expr) -> dict[str, Expr]:
    """The orthogonal projector P = A A⁺ onto the range of A (Lemma 1)."""
    return {"P": project_onto_range(A)}


@lettered(F="m d", Lam="d d")
def affinity(F: Expr, Lam: Expr) -> dict[str, Expr]:
    """The affinity W = F Λ Fᵀ (64), (65)."""
    return {"W": F @ Lam @ F.T}


@lettered(W="m m symmetric", E="m k partition")
def normalized_affinity(W: Expr, E: Expr) -> dict[str, Expr]:
    """M = D^-½ W D^-½ and Ω = D^½ E Eᵀ D^½ with the degrees D = [W1] > 0 (Proposition 5)."""
    degrees = W @ ones("m")
    root = diag(power(degrees, half))
    inverse_root = diag(power(degrees, -half))
    return {"M": inverse_root @ W @ inverse_root, "Omega": root @ E @ E.T @ root}


@lettered(W="m m symmetric", E="m k partition")
def ncuts_j1_affinity(W: Expr, E: Expr) -> dict[str, Expr]:
    """J₁ = ½‖Π_M − Π_Ω‖² of an affinity with degrees W1 > 0 (50)."""
    M, Omega = normalized_affinity(W, E)
    return {"J1": half * sumsq(project_onto_range(M) - project_onto_range(Omega))}


@lettered(W="m m symmetric", E="m k partition")
def ncuts_j2_affinity(W: Expr, E: Expr) -> dict[str, Expr]:
    """J₂ = ½‖Π_W − Π_Ψ‖² of an affinity, Ψ = E(EᵀE)⁻¹Eᵀ (59)."""
    Psi = E @ inv(E.T @ E) @ E.T
    return {"J2": half * sumsq(project_onto_range(W) - project_onto_range(Psi))}


@lettered(F="m d", Lam="d d positive_definite", E="m k partition")
def ncuts_j1(F: Expr, Lam: Expr, E: Expr) -> dict[str, Expr]:
    """J₁ = ½‖Π_M − Π_Ω‖² of the affinity W = F Λ Fᵀ with degrees W1 > 0 (50)."""
    return {"J1": ncuts_j1_affinity(affinity(F, Lam), E)}


@lettered(F="m d", Lam="d d positive_definite", E="m k partition")
def ncuts_j2(F: Expr, Lam: Expr, E: Expr) -> dict[str, Expr]:
    """J₂ = ½‖Π_W − Π_Ψ‖² of the affinity W = F Λ Fᵀ (59)."""
    return {"J2": ncuts_j2_affinity(affinity(F, Lam), E)}
