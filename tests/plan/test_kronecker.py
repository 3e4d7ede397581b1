"""Kronecker products and sums are applied factor by factor, in values and in derivatives."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from benchmarks.timing import Allocations
from mbp.api import one_off_layer
from mbp.emit import emit_text, load
from mbp.plan.choice import plan

DTYPE = torch.float64
SIZES = {"m": 4, "n": 5, "p": 6, "q": 3, "c": 2, "r": 7}
kron, inv = torch.kron, torch.linalg.inv


def compiled(text, declared):
    return load(emit_text(one_off_layer(text, declared, "layer").derive()), "layer").layer


def eye(n):
    return torch.eye(n, dtype=DTYPE)


def kron_sum(A, B):
    return kron(A, eye(len(B))) + kron(eye(len(A)), B)


def of_spectrum(g):
    def function(A):
        q, U = torch.linalg.eigh(A)
        return U * g(q) @ U.mT

    return function


def is_symmetric(spec):
    return "symmetric" in spec or "definite" in spec


def arguments(declared, sizes, seed=0):
    """Admissible inputs, of determinants that are neither large nor small."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for spec in declared.values():
        sides = [side.split("*") for side in spec.split() if set(side.split("*")) <= set(sizes)]
        shape = [prod(sizes[n] for n in side) for side in sides]
        X = torch.randn(shape, dtype=DTYPE, generator=generator)
        if "positive_definite" in spec:
            X = X @ X.mT / len(X) + eye(len(X))
        elif "symmetric" in spec:
            X = X + X.mT
        elif "positive" in spec:
            X = X.abs() + 1
        made.append(X.requires_grad_())
    return made


def agrees_with_autograd(layer, plain, declared, inputs):
    ours, theirs = layer(*inputs), plain(*inputs)
    torch.testing.assert_close(ours, theirs)
    G = torch.randn(theirs.shape, dtype=DTYPE, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(ours, inputs, G)
    expected = torch.autograd.grad(theirs, inputs, G)
    for spec, X, Y in zip(declared.values(), found, expected, strict=True):
        torch.testing.assert_close(X, (Y + Y.mT) / 2 if is_symmetric(spec) else Y)


def largest(layer, inputs):
    """The entries of the largest tensor that both passes make."""
    with Allocations() as seen:
        layer(*inputs).sum().backward()
    return seen.largest


def second_order(layer, declared, inputs):
    def on_symmetric(*given):
        parts = zip(declared.values(), given, strict=True)
        return layer(*((X + X.mT) / 2 if is_symmetric(spec) else X for spec, X in parts))

    return gradgradcheck(on_symmetric, inputs)


PRODUCTS = {
    "kron(P, Q) @ X": (
        lambda P, Q, X: kron(P, Q) @ X, {"P": "m n", "Q": "p q", "X": "n*q c"},
    ),
    "X @ kron(P, Q)": (
        lambda X, P, Q: X @ kron(P, Q), {"X": "c m*p", "P": "m n", "Q": "p q"},
    ),
    "kron(P, Q).T @ X": (
        lambda P, Q, X: kron(P, Q).mT @ X, {"P": "m n", "Q": "p q", "X": "m*p c"},
    ),
    "Y @ kron(P, Q) @ N @ X": (
        lambda Y, P, Q, N, X: Y @ kron(P, Q) @ N @ X,
        {"Y": "c m*p", "P": "m n", "Q": "p q", "N": "n*q r", "X": "r c"},
    ),
    "kron(P, kron(Q, R)) @ X": (
        lambda P, Q, R, X: kron(P, kron(Q, R)) @ X,
        {"P": "m n", "Q": "p q", "R": "c r", "X": "n*q*r c"},
    ),
    "kron(kron(P, Q), R) @ X": (
        lambda P, Q, R, X: kron(kron(P, Q), R) @ X,
        {"P": "m n", "Q": "p q", "R": "c r", "X": "n*q*r c"},
    ),
    "kron(P, Q) @ kron(Q, P) @ X": (
        lambda P, Q, X: kron(P, Q) @ kron(Q, P) @ X, {"P": "m m", "Q": "q q", "X": "m*q c"},
    ),
    "kron(inv(P), Q) @ X": (
        lambda P, Q, X: kron(inv(P).contiguous(), Q) @ X, {"P": "m m", "Q": "p q", "X": "m*q c"},
    ),
    "tanh(kron(P, Q) @ X) @ W": (
        lambda P, Q, X, W: torch.tanh(kron(P, Q) @ X) @ W,
        {"P": "m n", "Q": "p q", "X": "n*q c", "W": "c r"},
    ),
    "tr(kron(P, Q) @ X @ Y.T)": (
        lambda P, Q, X, Y: (kron(P, Q) @ X * Y).sum(),
        {"P": "m n", "Q": "p q", "X": "n*q c", "Y": "m*p c"},
    ),
    "inner(kron(P, Q), X @ Y.T)": (
        lambda P, Q, X, Y: (kron(P, Q) @ Y * X).sum(),
        {"P": "m n", "Q": "p q", "X": "m*p c", "Y": "n*q c"},
    ),
    "(kron(A, eye(q)) + kron(eye(p), B)) @ X": (
        lambda A, B, X: kron_sum(A, B) @ X, {"A": "p p", "B": "q q", "X": "p*q c"},
    ),
    "(kron(A, B) - 2 * kron(C, D) + 3 * eye(p*q)) @ X": (
        lambda A, B, C, D, X: (kron(A, B) - 2 * kron(C, D) + 3 * eye(len(X))) @ X,
        {"A": "p p", "B": "q q", "C": "p p", "D": "q q", "X": "p*q c"},
    ),
    "K @ K @ X": (
        lambda A, B, X: kron_sum(A, B) @ kron_sum(A, B) @ X,
        {"A": "p p", "B": "q q", "X": "p*q c"},
    ),
    "diag(kron(A, B))": (
        lambda A, B: kron(A, B).diagonal(), {"A": "p p", "B": "q q"},
    ),
    "sum(kron(P, Q))": (
        lambda P, Q: kron(P, Q).sum(), {"P": "m n", "Q": "p q"},
    ),
    "det(kron(A, B))": (
        lambda A, B: torch.linalg.det(kron(A, B)), {"A": "q q", "B": "c c"},
    ),
}  # fmt: skip

K = "(kron(A, eye(q)) + kron(eye(p), B))"
SYMMETRIC = {"A": "p p symmetric", "B": "q q symmetric"}
DEFINITE = {"A": "p p positive_definite", "B": "q q positive_definite"}
SPECTRAL = {
    f"inv({K}) @ X": (
        lambda A, B, X: inv(kron_sum(A, B)) @ X, {**SYMMETRIC, "X": "p*q c"},
    ),
    f"x.T @ inv({K} + s * eye(p*q)) @ x": (
        lambda A, B, s, x: x @ inv(kron_sum(A, B) + s * eye(len(x))) @ x,
        {**DEFINITE, "s": "scalar positive", "x": "p*q"},
    ),
    "x.T @ inv(kron(A, B) + s * eye(p*q)) @ x + logdet(kron(A, B) + s * eye(p*q))": (
        lambda A, B, s, x: x @ inv(kron(A, B) + s * eye(len(x))) @ x
        + torch.logdet(kron(A, B) + s * eye(len(x))),
        {**DEFINITE, "s": "scalar positive", "x": "p*q"},
    ),
    f"logdet({K})": (
        lambda A, B: torch.linalg.slogdet(kron_sum(A, B))[1], SYMMETRIC,
    ),
    f"det({K} / 8)": (
        lambda A, B: torch.linalg.det(kron_sum(A, B) / 8), DEFINITE,
    ),
    f"tr(inv({K}))": (
        lambda A, B: inv(kron_sum(A, B)).trace(), DEFINITE,
    ),
    f"tr(logm({K}))": (
        lambda A, B: torch.logdet(kron_sum(A, B)), DEFINITE,
    ),
    f"expm({K}) @ x": (
        lambda A, B, x: torch.matrix_exp(kron_sum(A, B)) @ x, {**SYMMETRIC, "x": "p*q"},
    ),
    f'matfun("exp(1 - x / 2)", 2 * {K} + eye(p*q)) @ x': (
        lambda A, B, x: torch.matrix_exp(eye(len(x)) / 2 - kron_sum(A, B)) @ x,
        {**SYMMETRIC, "x": "p*q"},
    ),
    "sqrtm(kron(A, B)) @ X": (
        lambda A, B, X: of_spectrum(torch.sqrt)(kron(A, B)) @ X, {**DEFINITE, "X": "p*q c"},
    ),
    "logm(kron(A, B)) @ X": (
        lambda A, B, X: of_spectrum(torch.log)(kron(A, B)) @ X, {**DEFINITE, "X": "p*q c"},
    ),
    "sylvester(A, B, C)": (
        lambda A, B, C: (inv(kron_sum(A, B)) @ C.flatten()).unflatten(0, C.shape),
        {**DEFINITE, "C": "p q"},
    ),
    "inv(kron(A, eye(q*c)) + kron(eye(p), kron(B, eye(c))) + kron(eye(p*q), C)) @ x": (
        lambda A, B, C, x: inv(kron_sum(A, kron_sum(B, C))) @ x,
        {**DEFINITE, "C": "c c positive_definite", "x": "p*q*c"},
    ),
}  # fmt: skip


def written_out(text):
    return text.replace("K ", f"{K} ") if text.startswith("K ") else text


@pytest.mark.parametrize("text", PRODUCTS | SPECTRAL)
def test_the_derivatives_are_those_of_the_plain_formula(text):
    plain, declared = (PRODUCTS | SPECTRAL)[text]
    layer = compiled(written_out(text), declared)
    for sizes in (SIZES, SIZES | {"m": 5, "n": 2, "p": 2, "q": 6, "c": 1}):
        agrees_with_autograd(layer, plain, declared, arguments(declared, sizes))


@pytest.mark.parametrize("text", PRODUCTS | SPECTRAL)
def test_the_second_derivatives_are_right(text):
    _, declared = (PRODUCTS | SPECTRAL)[text]
    sizes = {"m": 2, "n": 3, "p": 2, "q": 2, "c": 2, "r": 3}
    assert second_order(
        compiled(written_out(text), declared), declared, arguments(declared, sizes)
    )


@pytest.mark.parametrize("text", PRODUCTS | SPECTRAL)
def test_nothing_is_larger_than_the_operands_and_their_halfway_products(text):
    _, declared = (PRODUCTS | SPECTRAL)[text]
    sizes = dict.fromkeys("mnpq", 12) | {"c": 2, "r": 3}
    inputs = arguments(declared, sizes)
    operands = max(X.numel() for X in inputs)
    assert largest(compiled(written_out(text), declared), inputs) <= max(operands, 12 * 12 * 3)


def test_a_matrix_of_many_columns_is_no_reason_to_form_the_product():
    declared = {"P": "m n", "Q": "p q", "X": "n*q c"}
    inputs = arguments(declared, dict.fromkeys("mnpq", 8) | {"c": 200})
    assert largest(compiled("kron(P, Q) @ X", declared), inputs) <= 8 * 8 * 200


def test_the_order_of_the_factors_follows_their_shapes():
    declared = {"P": "m n", "Q": "p q", "X": "n*q c"}
    sizes = {"m": 2, "n": 20, "p": 20, "q": 2, "c": 3}
    derivation = one_off_layer("kron(P, Q) @ X", declared, "layer").derive()
    found = plan(derivation, None, sizes)
    assert found.wide is None
    entries = [(v.rows * v.cols).subs({n: sizes[n.name] for n in (v.rows * v.cols).free_symbols})
               for v in (*found.forward.values, *found.backward.values)]  # fmt: skip
    assert max(entries) <= 20 * 2 * 3


def test_what_the_forward_pass_made_serves_the_gradients():
    declared = {"P": "m n", "Q": "p q", "X": "n*q c"}
    found = plan(one_off_layer("kron(P, Q) @ X", declared, "layer").derive())
    products = [sum(v.op == "matmul" for v in part.values)
                for part in (found.forward, found.backward)]  # fmt: skip
    assert products == [2, 4]


def test_batches_broadcast():
    declared = {"P": "m n", "Q": "p q", "X": "n*q c"}
    layer = compiled("kron(P, Q) @ X", declared)
    P, Q, X = arguments(declared, SIZES)
    stacked = [torch.stack([A.detach(), 2 * A.detach()]).requires_grad_() for A in (Q, X)]
    Y = layer(P, *stacked)
    expected = torch.stack([kron(P, B) @ Z for B, Z in zip(*stacked, strict=True)])
    torch.testing.assert_close(Y, expected)
    assert gradcheck(layer, (P, *stacked), check_forward_ad=True)


def test_a_repeated_eigenvalue_is_no_tie_to_fear():
    declared = {**SYMMETRIC, "X": "p*q c"}
    layer = compiled(f"inv({K}) @ X", declared)
    inputs = [(2 * eye(4)).requires_grad_(), eye(3).requires_grad_(), *arguments({"X": "p c"}, {
        "p": 12, "c": 2})]  # fmt: skip
    agrees_with_autograd(
        layer, lambda A, B, X: inv(kron_sum(A, B)) @ X, declared, inputs
    )


def test_a_function_of_a_sum_that_does_not_split_is_left_whole():
    g = 'matfun("abs(x)", ' + K + ") @ x"
    declared = {**SYMMETRIC, "x": "p*q"}
    plain = of_spectrum(torch.abs)
    inputs = arguments(declared, SIZES)
    agrees_with_autograd(
        compiled(g, declared), lambda A, B, x: plain(kron_sum(A, B)) @ x, declared, inputs
    )


SHAPES = st.fixed_dictionaries({n: st.integers(1, 4) for n in "mnpqcr"})
LAYERS = {text: compiled(text, PRODUCTS[text][1]) for text in (
    "kron(P, Q) @ X", "X @ kron(P, Q)", "kron(P, kron(Q, R)) @ X", "inner(kron(P, Q), X @ Y.T)",
)}  # fmt: skip


@given(text=st.sampled_from(sorted(LAYERS)), sizes=SHAPES, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_every_shape_has_the_derivatives_of_the_plain_formula(text, sizes, seed):
    plain, declared = PRODUCTS[text]
    agrees_with_autograd(LAYERS[text], plain, declared, arguments(declared, sizes, seed))


def test_a_projector_may_be_a_factor():
    layer = compiled("tr(kron(projector(F), A))", {"F": "m d", "A": "n n"})
    F, A = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((4, 2), (3, 3)))
    torch.testing.assert_close(layer(F, A), 2 * torch.trace(A))
    assert gradcheck(layer, (F, A))
