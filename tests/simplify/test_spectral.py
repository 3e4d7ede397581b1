"""Sums over eigenvectors and eigenvalues collapse to functions of the decomposed matrix."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from mbp.definition import Definition
from mbp.derive.deriver import derive
from mbp.expr import build
from mbp.expr.build import eye, inv, matfun, matmul, powm, transpose
from mbp.expr.nodes import (
    Expr,
    Frechet,
    Inverse,
    Kernel,
    Output,
    Var,
    Variation,
    col,
    row,
    topological,
)
from mbp.invariants.declare import declare
from mbp.numeric.evaluate import evaluate
from mbp.rulebook import RULEBOOK
from mbp.simplify import collapse, equal

x = sp.Symbol("x", real=True)
SIZES = {"m": 5, "n": 4}


U, Q = declare("U", "n n orthogonal"), declare("Q", "n n diagonal")
S, V = declare("S", "n n diagonal nonnegative"), declare("V", "n n orthogonal")
W = declare("W", "m n orthonormal_columns")
B = declare("B", "n n constant")
eps = declare("eps", "scalar positive constant")
X, F = declare("X", "n n symmetric"), declare("F", "m n")
P = declare("P", "n n positive_definite")


def around(Z: Expr, core: Expr) -> Expr:
    return matmul(Z, core, transpose(Z))


LAYERS: dict[str, tuple[Var, Expr]] = {
    "tanh": (X, around(U, matfun("tanh", Q))),
    "own function": (X, around(U, matfun("x/(1 + x**2)", Q))),
    "product": (X, around(U, matfun("exp", Q) @ matfun("sin", Q))),
    "sum": (X, around(U, matfun("exp", Q) + 3 * matfun("tanh", Q))),
    "inverse": (P, around(U, inv(Q))),
    "power": (P, around(U, powm(Q, build.number(0.3)))),
    "function of an outer product": (F, around(V, matfun("log", S @ S + eps * eye("n")))),
    "singular values": (F, around(V, S)),
    "polar factor": (F, matmul(W, transpose(V))),
    "functions around a matrix": (
        X, matmul(U, matfun("tanh", Q), U.T, B, U, matfun("exp", Q), U.T)),
}  # fmt: skip


def through_the_factors(x: Var, C: Expr) -> tuple[Expr, Expr]:
    """The gradient and the variation of C by the chain rule over the decomposition's outputs."""
    rule, letters = ("svd", (W, S, V)) if x is F else ("eig", (U, Q))
    used = [z for z in letters if z in set(topological(C))]
    outputs = dict(zip((z.name for z in letters), RULEBOOK.call(rule, x), strict=True))
    upper = derive(Definition("upper", {z.name: z for z in used}, {"C": C}))
    lower = derive(Definition("lower", {x.name: x}, outputs))
    factors: dict[Expr, Expr] = {z: outputs[z.name] for z in letters}
    cotangents: dict[Expr, Expr] = {
        lower.cotangents[z.name]: upper.functionals[z.name] if z in used else build.zeros(*z.shape)
        for z in letters
    }
    changes: dict[Expr, Expr] = {Variation(z): lower.variations[z.name] for z in letters}
    gradient = build.substitute(build.substitute(lower.gradients[x.name], cotangents), factors)
    variation = build.substitute(build.substitute(upper.variations["C"], changes), factors)
    return gradient, variation


def instance(*roots: Expr) -> dict[object, object]:
    rng = np.random.default_rng(1)
    env: dict[object, object] = dict(SIZES)
    for node in topological(*roots):
        if isinstance(node, Var | Variation):
            shape = tuple(SIZES.get(str(d), 1) for d in node.shape)
            A = rng.standard_normal(shape)
            declared = node.args[0] if isinstance(node, Variation) else node
            properties = declared.properties if isinstance(declared, Var) else ()
            if "symmetric" in properties or "positive_definite" in properties:
                A = A + A.T
            if "positive_definite" in properties and isinstance(node, Var):
                A = A @ A + np.eye(len(A))
            env[node] = np.abs(A) if node.is_scalar else A
    return env


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_and_variation_collapse(name: str) -> None:
    for e in through_the_factors(*LAYERS[name]):
        f = collapse(e)
        assert any(isinstance(node, Frechet | Inverse) for node in topological(f))
        assert not any(isinstance(node, Output | Kernel) for node in topological(f)), str(f)
        env = instance(e, f)
        assert np.allclose(evaluate(e, env), evaluate(f, env), rtol=1e-8)


@pytest.mark.parametrize("name", LAYERS)
def test_kernels_of_one_frame_become_one_without_a_pole(name: str) -> None:
    e, _ = through_the_factors(*LAYERS[name])
    f = collapse(e, in_frame=True)
    env = instance(e, f)
    assert np.allclose(evaluate(e, env), evaluate(f, env), rtol=1e-8)
    kernels = [node for node in topological(f) if isinstance(node, Kernel)]
    assert kernels
    assert all(node.diagonal not in (None, 0) for node in kernels)


def test_an_unspecified_function_collapses() -> None:
    g = sp.Function("g")
    for x_, C in (
        (X, around(U, matfun(g(x), Q))),
        (F, around(V, matfun(g(x), S @ S + eps * eye("n")))),
    ):
        for e in through_the_factors(x_, C):
            f = collapse(e)
            assert not any(isinstance(node, Output | Kernel) for node in topological(f))
            (frechet,) = (node for node in topological(f) if isinstance(node, Frechet))
            assert (frechet.g, frechet.order) == (g(x), 1)


def test_the_layers_themselves_become_matrix_functions() -> None:
    W, L = RULEBOOK.call("eig", X)
    assert collapse(around(W, L)) is X
    assert equal(collapse(around(W, matfun("exp", L))), matfun("exp", X))
    _, L, W = RULEBOOK.call("svd", F)
    A = around(W, matfun("log", L @ L + eps * eye("n")))
    assert equal(collapse(A), matfun("log", F.T @ F + eps * eye("n")))


def test_a_kernel_that_is_no_divided_difference_stays() -> None:
    W, L = RULEBOOK.call("eig", X)
    K = build.kernel(row(0) / (row(0) - col(0)), sp.Integer(0), (build.diag(L),), L.rows, L.rows)
    A = around(W, build.hadamard(K, around(W.T, declare("A", "n n"))))
    assert equal(collapse(A), A)
