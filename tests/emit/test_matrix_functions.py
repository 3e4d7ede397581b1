"""Gradients of any matrix function keep full accuracy at exact ties, near ties and zeros.

The reference is the derivative in the eigenframe, in 50 digits, by mpmath alone.
"""

import pytest
import sympy as sp
import torch
from torch.autograd import gradcheck, gradgradcheck

from benchmarks.exact import Pooling, eigenproblem, error, matrix, x
from mbp.api import Layer, one_off_layer
from mbp.emit import emit_text, load
from mbp.errors import MbpError

DTYPE = torch.float64
DEFINITE = {"ties": [1, 1, 1, 2, 2, 0.5], "near": [1, 1 + 1e-9, 1 + 1e-13, 2, 2 + 3e-7, 0.5]}
ZEROS = {"zeros": [0, 0, 1, 1, 2, 2], "near zeros": [0, 1e-13, 1, 1 + 1e-9, 2, 2]}
SIGNED = {"signs": [-1, -1, 0, 0, 2, 2], "near signs": [-1, -1 + 1e-9, 1e-12, 0, 2, 2 + 1e-7]}
SPECTRA = {
    "positive_definite": DEFINITE,
    "positive_semidefinite": DEFINITE | ZEROS,
    "symmetric": DEFINITE | ZEROS | SIGNED,
}
FUNCTIONS = {
    "matfun('1/(1 + exp(-3*x))', X)": ("symmetric", 1 / (1 + sp.exp(-3 * x))),
    "matfun('x/(1 + x**2)', X)": ("symmetric", x / (1 + x**2)),
    "matfun('x/(1 + exp(-x))', X)": ("symmetric", x / (1 + sp.exp(-x))),
    "matfun('log(cosh(x))', X)": ("symmetric", sp.log(sp.cosh(x))),
    "logm(eye(n) + expm(X))": ("symmetric", sp.log(1 + sp.exp(x))),
    "expm(X) @ matfun('sin', X)": ("symmetric", sp.exp(x) * sp.sin(x)),
    "inv(eye(n) + X @ X)": ("symmetric", 1 / (1 + x**2)),
    "matfun('log(1 + x)/(2 + x)', X)": ("positive_semidefinite", sp.log(1 + x) / (2 + x)),
    "matfun('tanh', logm(X))": ("positive_definite", sp.tanh(sp.log(x))),
    "sqrtm(X) @ logm(X)": ("positive_definite", sp.sqrt(x) * sp.log(x)),
    "matfun('x**x', X)": ("positive_definite", x**x),
    "matfun('gamma', X)": ("positive_definite", sp.gamma(x)),
    "powm(X, 1/3)": ("positive_definite", sp.cbrt(x)),
}


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


def with_spectrum(values):
    U = torch.linalg.qr(normal(len(values), len(values)))[0]
    X = U * torch.tensor(values, dtype=DTYPE) @ U.T
    return (X + X.T) / 2


def emitted(layer):
    return load(emit_text(layer.derive()), layer.name)


@pytest.mark.parametrize("text", FUNCTIONS)
def test_any_function_is_exact_at_and_near_ties(text):
    properties, g = FUNCTIONS[text]
    function = emitted(Layer.from_text(text, X=f"n n {properties}")).layer
    G = normal(6, 6, seed=1)
    for values in SPECTRA[properties].values():
        for dtype, bound in ((torch.float64, 2e-14), (torch.float32, 1e-5)):
            X = with_spectrum(values).to(dtype)
            if properties != "symmetric" and torch.linalg.eigvalsh(X).min() < 0:
                X = X + 2 * torch.finfo(dtype).eps * torch.eye(6, dtype=dtype)
            X.requires_grad_()
            (found,) = torch.autograd.grad((function(X) * G.to(dtype)).sum(), X)
            exact = eigenproblem(matrix(X.detach())).along(g, matrix(G))
            assert error(found, exact) < bound, (values, dtype)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
@pytest.mark.parametrize("gram", ["F.T @ F", "F @ F.T"])
def test_a_function_of_a_sum_of_gram_matrices_is_exact(shape, gram):
    n = "d" if gram == "F.T @ F" else "m"
    text = f"matfun('log(1 + exp(x))', {gram} + {gram} + eye({n}))"
    tied = torch.linalg.qr(normal(5, 3))[0] * torch.tensor([2.0, 2, 1])
    F = (tied if shape == (5, 3) else tied.T).clone().requires_grad_()
    result = emitted(Layer.from_text(text, F="m d")).layer(F)
    G = normal(*result.shape, seed=2)
    (found,) = torch.autograd.grad((result * G).sum(), F)
    turned = n == "m"
    exact = Pooling(F.detach().T if turned else F.detach(), 0.0)
    reference = exact.gradient(sp.log(1 + sp.exp(2 * x + 1)), G)
    assert error(found.T if turned else found, reference) < 1e-13


@pytest.mark.parametrize(
    ("name", "g"),
    [("1/x", 1 / x), ("x/(2 + x)", x / (2 + x)), ("sqrt", sp.sqrt(x)), ("exp", sp.exp(x))],
)
def test_wide_matrices_are_exact_whatever_their_rank(name, g):
    text = f"matfun('{name}', F.T @ F + eps * eye(d))"
    layer = Layer.from_text(text, F="m d", eps="scalar positive constant")
    function = emitted(layer).layer
    G = normal(5, 5, seed=1)
    wide, zero = normal(3, 5), torch.zeros(3, 5, dtype=DTYPE)
    tied = torch.linalg.qr(wide.T)[0].T
    for F in (wide, wide[:, :1] @ wide[:1], tied, 1e-4 * wide, zero):
        F = F.clone().requires_grad_()
        (found,) = torch.autograd.grad((function(F, 0.1) * G).sum(), F)
        if F.any():
            assert error(found, Pooling(F.detach(), 0.1).gradient(g, G)) < 1e-13
        else:
            assert not found.any()
    F = wide.clone().requires_grad_()
    assert gradcheck(lambda F: function(F, 0.1), (F,), check_forward_ad=True)
    assert gradgradcheck(lambda F: function(F, 0.1), (F,))


@pytest.mark.parametrize("p", [0.3, 0.5, -0.7, 2.0])
def test_a_symbolic_exponent_is_exact_at_ties(p):
    layer = Layer.from_text("powm(X, p)", X="n n positive_definite", p="scalar positive constant")
    function = emitted(layer).layer
    for values in DEFINITE.values():
        X, G = with_spectrum(values).requires_grad_(), normal(6, 6, seed=1)
        (found,) = torch.autograd.grad((function(X, p) * G).sum(), X)
        exact = eigenproblem(matrix(X.detach())).along(x ** sp.Float(p, 60), matrix(G))
        assert error(found, exact) < 1e-14


@pytest.mark.parametrize(
    "text", ["sqrtm(X)", "expm(X)", "matfun('x*log(x)', X)", "inv(X)", "projector(X)"]
)
def test_second_derivatives_hold_at_ties(text):
    function = emitted(Layer.from_text(text, X="n n symmetric" if "proj" in text else
                                       "n n positive_definite")).layer  # fmt: skip
    U = torch.linalg.qr(normal(4, 4))[0]
    if text == "projector(X)":
        spectrum = torch.tensor([2.0, 2, 0, 0], dtype=DTYPE)

        def of(M):  # moves in the matrices of rank 2
            Z = torch.eye(4, dtype=DTYPE) + M
            return function(Z @ (U * spectrum @ U.T) @ Z.mT)
    else:
        spectrum = torch.tensor([2.0, 2, 2, 1], dtype=DTYPE)

        def of(M):
            return function(U * spectrum @ U.T + M)

    M = torch.zeros(4, 4, dtype=DTYPE, requires_grad=True)
    assert gradcheck(of, (M,))
    assert gradgradcheck(of, (M,))


POWERS = ("powm(A, 3) @ x", "powm(A @ A, -2) @ x", "powm(powm(A, 2), 2) @ x")


@pytest.mark.parametrize("text", POWERS)
def test_an_integer_power_of_a_general_matrix_is_a_product(text):
    assert Layer.from_text(text, A="n n invertible", x="n").check().passed


@pytest.mark.parametrize("declaration", ["n n", "n n constant"])
def test_a_matrix_function_of_a_general_matrix_is_refused(declaration):
    layer = Layer.from_text("expm(A) @ x", A=declaration, x="n")
    with pytest.raises(MbpError, match="declare it symmetric"):
        layer.derive()


THRESHOLDED = {
    'matfun("relu", S)': {"S": "d d symmetric"},
    'matfun("abs(x)", S)': {"S": "d d symmetric"},
    "svd(X)[0] @ relu(svd(X)[1] - t * eye(d)) @ svd(X)[2].T": {
        "X": "m d", "t": "scalar positive constant",
    },
}  # fmt: skip


@pytest.mark.parametrize("text", THRESHOLDED)
def test_a_spectrum_with_a_threshold_differentiates_across_it(text):
    report = one_off_layer(text, THRESHOLDED[text], "thresholded").check()
    assert report.passed, str(report)


def test_eigenvalues_that_tie_on_either_side_of_a_threshold_have_a_gradient():
    layer = one_off_layer('matfun("relu", S)', {"S": "d d symmetric"}, "rectified").compile()
    S = torch.diag(torch.tensor([2.0, 2.0, -1.0, -1.0], dtype=torch.float64)).requires_grad_()
    assert gradcheck(lambda S: layer.rectified((S + S.mT) / 2), S)
