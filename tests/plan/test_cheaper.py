"""Plans that change what is computed have the same values and derivatives, and cost less."""

import math
from collections import Counter
from functools import cache

import pytest
import sympy as sp
import torch
from torch.autograd import gradcheck, gradgradcheck

from benchmarks.timing import Allocations
from mbp.api import one_off_layer, parse
from mbp.emit import emit_text, load
from mbp.layers import registry
from mbp.numeric.evaluate import evaluate
from mbp.plan.choice import layer_cost, plan
from mbp.plan.cost import plan_cost
from mbp.plan.definitions.push_through import pushed_through
from mbp.plan.lowering.low_rank import low_rank
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Form

torch.manual_seed(0)
DTYPE = torch.float64
m, d, r = sp.symbols("m d r", integer=True, positive=True)


def normal(*shape):
    return torch.randn(shape, dtype=DTYPE)


def one_off(text, **declarations):
    return one_off_layer(text, declarations, "layer")


@cache
def emitted(name):
    return getattr(load(emit_text(registry()[name].derive()), name), name)


def compiled(text, **declarations):
    return load(emit_text(one_off(text, **declarations).derive()), "layer").layer


FUNCTIONS = ["log(c + x)", "sqrt(1 + x)", "exp(-x)", "1/(2 + x)", "x**3 + x", "tanh(x)"]


@pytest.mark.parametrize("g", FUNCTIONS)
def test_a_function_of_a_gram_matrix_goes_through_the_other_one(g):
    text = f'matfun("{g}", F.T @ F)' if "c" not in g else "logm(F.T @ F + eps * eye(d))"
    declared = {"F": "m d"} | ({"eps": "scalar positive constant"} if "c" in g else {})
    definition = one_off(text, **declared).definition
    pushed = pushed_through(definition)
    assert pushed.shapes == ((m, d),)
    env = {"m": 3, "d": 5, definition.inputs["F"]: normal(3, 5).numpy()}
    if "eps" in declared:
        env[definition.inputs["eps"]] = torch.tensor([[0.1]], dtype=DTYPE).numpy()
    (before,), (after,) = definition.outputs.values(), pushed.definition.outputs.values()
    torch.testing.assert_close(evaluate(before, env), evaluate(after, env))


@pytest.mark.parametrize("name", ["o2p", "power_pool"])
def test_a_wide_input_has_no_large_eigenproblem(name):
    wide = plan(registry()[name].derive()).wide
    values = [*wide.plan.forward.values, *wide.plan.backward.values]
    assert [v.args[0].rows for v in values if v.op == "eigh"] == [m]
    assert sp.degree(plan_cost(wide.plan).backward.flops, d) == 2


@pytest.mark.parametrize("name", ["o2p", "power_pool"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)], ids=str)
def test_a_wide_input_has_right_derivatives(name, shape):
    layer = emitted(name)
    F = normal(*shape).requires_grad_()
    gram = F.mT @ F + 0.1 * torch.eye(5, dtype=DTYPE)
    q, U = torch.linalg.eigh(gram)
    g = q.log() if name == "o2p" else q.sqrt()
    torch.testing.assert_close(layer(F, 0.1), U * g[..., None, :] @ U.mT)
    assert gradcheck(lambda F: layer(F, 0.1), F, check_forward_ad=True)
    assert gradgradcheck(lambda F: layer(F, 0.1), F)


def test_a_wide_input_of_low_rank_has_a_finite_gradient():
    layer = emitted("o2p")
    F = (normal(4, 1) @ normal(1, 6)).requires_grad_()
    (ours,) = torch.autograd.grad(layer(F, 0.1).square().sum(), F)
    torch.testing.assert_close(
        ours, 4 * F.detach() @ _log_times_inverse(F.detach()), rtol=1e-9, atol=1e-9
    )


def _log_times_inverse(F):
    q, U = torch.linalg.eigh(F.mT @ F + 0.1 * torch.eye(F.shape[-1], dtype=DTYPE))
    return U * (q.log() / q) @ U.mT


LOW_RANK = {
    "inv(diag(v) + U @ U.T) @ x": {"v": "m positive", "U": "m r", "x": "m"},
    "logdet(diag(v) + U @ M @ U.T)": {"v": "m positive", "U": "m r", "M": "r r"},
    "inv(2 * eye(m) + 3 * U @ U.T) @ x": {"U": "m r", "x": "m"},
    "inv(diag(v) + U @ W.T) @ x": {"v": "m positive", "U": "m r", "W": "m r", "x": "m"},
    "det(eye(m) + U @ M @ W.T)": {"U": "m r", "M": "r r", "W": "m r"},
    "logdet(diag(v) + U @ U.T + 2 * W @ W.T)": {"v": "m positive", "U": "m r", "W": "m r"},
    "x.T @ inv(diag(v) + U @ U.T + W @ W.T) @ x": {
        "v": "m positive", "U": "m r", "W": "m r", "x": "m",
    },
    "logdet(3 * diag(v) - U @ U.T / 10)": {"v": "m positive", "U": "m r"},
    "x.T @ powm(2 * eye(m) + U @ U.T, -2) @ x": {"U": "m r", "x": "m"},
    "logdet(diag(v) + c * ones(m, m))": {"v": "m positive", "c": "scalar positive"},
    "inv(diag(v) + c * ones(m) @ ones(m).T) @ x": {
        "v": "m positive", "c": "scalar positive", "x": "m",
    },
    "logdet(diag(v) + c * x @ x.T)": {"v": "m positive", "c": "scalar positive", "x": "m"},
    "logdet(diag(v) - U @ U.T / 99 + ones(m, m))": {"v": "m positive", "U": "m r"},
    "logdet(diag(v) + (U @ W.T + W @ U.T) / 9)": {"v": "m positive", "U": "m r", "W": "m r"},
    "logdet(eye(m) + U @ W.T - W @ U.T)": {"U": "m r", "W": "m r"},
    "logdet(eye(m) + (U @ U.T + W @ W.T) / 2)": {"U": "m r", "W": "m r"},
    "inv(diag(v) + projector(U)) @ x": {"v": "m positive", "U": "m r", "x": "m"},
    "logdet(2 * diag(v) - projector(U))": {"v": "m positive", "U": "m r"},
    "logdet(2 * eye(m) + projector(U) @ projector(W))": {"U": "m r", "W": "m r"},
    "logdet(c * eye(m) - U @ U.T / 99)": {"c": "scalar positive", "U": "m r"},
    "sumsq(inv(eye(m) + U @ U.T) - inv(eye(m) + W @ W.T))": {"U": "m r", "W": "m r"},
    "tr(inv(diag(v) + U @ U.T) @ diag(w) @ inv(diag(v) + U @ U.T))": {
        "v": "m positive", "w": "m positive", "U": "m r",
    },
    "x.T @ inv(diag(v) + U @ U.T) @ inv(diag(w) + U @ U.T) @ x": {
        "v": "m positive", "w": "m positive", "U": "m r", "x": "m",
    },
}  # fmt: skip


def arguments(declared, rows, rank):
    sizes = {"m": rows, "r": rank}
    made = []
    for name, text in declared.items():
        X = normal(*(sizes[n] for n in text.split() if n in sizes))
        made.append(X.abs() + 1 if "positive" in text else X @ X.mT if name == "M" else X)
    return [X.requires_grad_() for X in made]


@pytest.mark.parametrize("text", LOW_RANK)
def test_a_diagonal_plus_a_low_rank_is_linear_in_the_rows(text):
    declared = LOW_RANK[text]
    cost = layer_cost(one_off(text, **declared).derive())
    assert sp.degree(cost.forward.flops, m) == sp.degree(cost.backward.flops, m) == 1
    layer = compiled(text, **declared)
    assert gradcheck(layer, arguments(declared, 6, 2))
    assert gradgradcheck(layer, arguments(declared, 5, 2))
    large = arguments(declared, 500, 4)
    with Allocations() as seen:
        layer(*large).sum().backward()
    assert seen.largest < 500 * 20


def test_a_low_rank_without_an_inverse_of_the_diagonal_is_left_alone():
    graph = Graph({m: 100, sp.Symbol("r", integer=True, positive=True): 5})
    declared = {"v": "m", "w": "m positive", "U": "m r"}
    assert low_rank(graph, parse("diag(v) + U @ U.T", **declared)) is None
    assert low_rank(graph, parse("diag(w) + U @ U.T", **declared)) is not None
    assert low_rank(graph, parse("eye(r) + U.T @ U", **declared)) is None


def agrees_with_the_definition(text, declared, sizes, given):
    definition = one_off(text, **declared).definition
    env = dict(sizes)
    dims = {sp.Symbol(n, integer=True, positive=True): k for n, k in sizes.items()}
    for x, X in zip(definition.inputs.values(), given, strict=True):
        env[x] = X.detach().numpy().reshape(x.rows.subs(dims), -1)
    (expected,) = (evaluate(Y, env) for Y in definition.outputs.values())
    found = compiled(text, **declared)(*given).detach()
    torch.testing.assert_close(found, torch.as_tensor(expected).reshape(found.shape))


@pytest.mark.parametrize("text", LOW_RANK)
@pytest.mark.parametrize("rows, rank", [(7, 2), (3, 5)])
def test_a_diagonal_plus_a_low_rank_has_its_value_for_any_shape(text, rows, rank):
    given = arguments(LOW_RANK[text], rows, rank)
    agrees_with_the_definition(text, LOW_RANK[text], {"m": rows, "r": rank}, given)


WIDE = {
    "x.T @ inv(F.T @ F + diag(v)) @ x": {"F": "m d", "v": "d positive", "x": "d"},
    "logdet(2 * F.T @ F + diag(v))": {"F": "m d", "v": "d positive"},
    "x.T @ expm(-F.T @ F) @ x": {"F": "m d", "x": "d"},
    "tr(logm(F.T @ (eye(m) - ones(m) @ ones(m).T / tr(eye(m))) @ F + eye(d)))": {"F": "m d"},
    "x.T @ sqrtm(F.T @ (eye(m) - ones(m) @ ones(m).T / tr(eye(m))) @ F + eye(d)) @ x": {
        "F": "m d", "x": "d",
    },
}  # fmt: skip


@pytest.mark.parametrize("text", WIDE)
def test_a_gram_matrix_of_a_wide_input_is_the_smaller_one(text):
    declared = WIDE[text]

    def made(rows, cols):
        sizes = {"m": rows, "d": cols}
        shapes = [[sizes[n] for n in spec.split() if n in sizes] for spec in declared.values()]
        given = [torch.randn(shape, dtype=DTYPE) / cols**0.5 for shape in shapes]
        return [X.abs() + 1 if n == "v" else X for n, X in zip(declared, given, strict=True)]

    for rows, cols in ((2, 5), (5, 2), (3, 3)):
        given = made(rows, cols)
        agrees_with_the_definition(text, declared, {"m": rows, "d": cols}, given)
        assert gradcheck(compiled(text, **declared), [X.requires_grad_() for X in given])
    with Allocations() as seen:
        compiled(text, **declared)(*(X.requires_grad_() for X in made(4, 500))).backward()
    assert seen.largest <= 4 * 500


OF_SMALLER_GRAM = {  # of weighted, stacked and longer Gram matrices, of several at once
    "tr(logm(F.T @ diag(w) @ F / sum(w) + e * eye(d)))": {"F": "m d", "w": "m positive"},
    "norm(logm(F.T @ diag(w) @ F + e * eye(d)))": {"F": "m d", "w": "m positive"},
    "powm(F.T @ diag(w) @ F + e * eye(d), 0.3) @ x": {"F": "m d", "w": "m positive", "x": "d"},
    "diag(w) @ F @ expm(F.T @ diag(w) @ F) @ x": {"F": "m d", "w": "m positive", "x": "d"},
    "x.T @ sqrtm(F.T @ (diag(w) - w @ w.T / sum(w)) @ F + e * eye(d)) @ x": {
        "F": "m d", "w": "m positive", "x": "d",
    },
    "tr(logm(F.T @ (diag(w) / sum(w) - w @ w.T / sum(w) ** 2) @ F + e * eye(d)))": {
        "F": "m d", "w": "m positive",
    },
    "x.T @ invsqrtm(F.T @ P @ F / tr(P) + e * eye(d)) @ x": {
        "F": "m d", "P": "m m positive_definite", "x": "d",
    },
    "sumsq(logm(F.T @ F + X.T @ X + e * eye(d)))": {"F": "m d", "X": "k d"},
    "X @ expm(-2 * F.T @ F - X.T @ diag(v) @ X / 3) @ x": {
        "F": "m d", "X": "k d", "v": "k positive", "x": "d",
    },
    "logdet(F.T @ F + e * eye(d)) - logdet(F.T @ F + X.T @ X + e * eye(d))": {
        "F": "m d", "X": "k d",
    },
    "tr(logm(B.T @ F.T @ F @ B + e * eye(d)))": {"F": "m k", "B": "k d"},
    "x.T @ sqrtm(diag(z) @ F.T @ F @ diag(z) + e * eye(d)) @ x": {
        "F": "m d", "z": "d", "x": "d",
    },
    "tr(sqrtm(e * eye(d) + F.T @ F) @ logm(eye(d) + X.T @ X))": {"F": "m d", "X": "k d"},
    "x.T @ powm(F.T @ F + e * eye(d), -2) @ x": {"F": "m d", "x": "d"},
}  # fmt: skip


def declared_of(text):
    return OF_SMALLER_GRAM[text] | ({"e": "scalar positive"} if "e *" in text else {})


@cache
def smaller(text):
    return compiled(text, **declared_of(text))


def of_gram(text, sizes, batch=()):
    """The layer, its declarations and arguments, each gradient of which is wanted."""
    declared, made = declared_of(text), []
    for spec in declared.values():
        X = normal(*batch, *(sizes[n] for n in spec.split() if n in sizes))
        if "positive_definite" in spec:
            X = X @ X.mT / sizes["m"] + torch.eye(sizes["m"], dtype=DTYPE)
        elif X.dim() == len(batch):
            X = X.abs() + 0.3
        elif "positive" in spec:
            X = X.abs() + 0.5
        elif X.dim() == len(batch) + 2:
            X = X / max(X.shape[-2:]) ** 0.5
        made.append(X.requires_grad_())
    return smaller(text), declared, made


@pytest.mark.parametrize("text", OF_SMALLER_GRAM)
def test_functions_of_a_gram_matrix_of_low_rank_form_nothing_large(text):
    layer, _, large = of_gram(text, {"m": 5, "d": 300, "k": 4})
    with Allocations() as seen:
        layer(*large).sum().backward()
    assert seen.largest <= 2 * 5 * 300


@pytest.mark.parametrize("text", OF_SMALLER_GRAM)
def test_functions_of_a_gram_matrix_of_low_rank_are_right_for_any_shape(text):
    for m, d, k in ((2, 6, 3), (6, 2, 3), (3, 3, 3)):
        sizes = {"m": m, "d": d, "k": k}
        layer, declared, given = of_gram(text, sizes)
        agrees_with_the_definition(text, declared, sizes, given)
        assert gradcheck(layer, given)
    layer, _, given = of_gram(text, {"m": 2, "d": 5, "k": 2}, batch=(2,))
    if "e *" in text:
        given[-1] = torch.tensor(0.4, dtype=DTYPE, requires_grad=True)
    assert gradcheck(layer, given)


@pytest.mark.parametrize("text", OF_SMALLER_GRAM)
def test_so_are_they_at_repeated_singular_values(text):
    layer, declared, given = of_gram(text, {"m": 3, "d": 7, "k": 3})
    given = [
        torch.linalg.qr(X.detach().mT)[0].mT.contiguous() if X.dim() == 2 and name in "FX"
        else torch.ones_like(X) if name in ("w", "v", "z") else X.detach()
        for name, X in zip(declared, given, strict=True)
    ]  # fmt: skip
    agrees_with_the_definition(text, declared, {"m": 3, "d": 7, "k": 3}, given)
    assert gradcheck(layer, [X.requires_grad_() for X in given])


KRONECKER = {
    "u.T @ kron(A, B) @ w": {"A": "m m", "B": "d d", "u": "m*d", "w": "m*d"},
    "kron(A, B).T @ kron(A, B) @ w": {"A": "m m", "B": "d d", "w": "m*d"},
    "u.T @ kron(A, B)": {"A": "m d", "B": "d m", "u": "m*d"},
}


@pytest.mark.parametrize("text", KRONECKER)
def test_a_kronecker_product_meets_a_vector_without_being_formed(text):
    declared = KRONECKER[text]
    sizes = {"m": 7, "d": 5, "m*d": 35}
    given = [normal(*(sizes[n] for n in spec.split())) for spec in declared.values()]
    agrees_with_the_definition(text, declared, {"m": 7, "d": 5}, given)
    given = [X.requires_grad_() for X in given]
    assert gradcheck(compiled(text, **declared), given)
    with Allocations() as seen:
        compiled(text, **declared)(*given).sum().backward()
    assert seen.largest <= 7 * 7


VECTORS = {
    "ones(m).T @ inv(P) @ ones(m)": {"P": "m m positive_definite"},
    "x.T @ powm(P, -2) @ x": {"P": "m m positive_definite", "x": "m"},
    "x.T @ powm(P, 3) @ x": {"P": "m m positive_definite", "x": "m"},
}


@pytest.mark.parametrize("text", VECTORS)
def test_a_form_of_vectors_takes_no_product_of_matrices(text):
    found = plan(one_off(text, **VECTORS[text]).derive())
    values = [*found.forward.values, *found.backward.values]
    square = [v.op for v in values if v.rows == v.cols == m and v.form is not Form.DIAGONAL]
    assert not {"eigh", "cholesky_inverse", "matmul", "cholesky_solve"} & set(square)
    P = normal(5, 5)
    given = [P @ P.mT + torch.eye(5)] + [normal(5)] * (len(VECTORS[text]) - 1)
    given = [X.requires_grad_() for X in given]
    assert gradcheck(compiled(text, **VECTORS[text]), given)
    assert gradgradcheck(compiled(text, **VECTORS[text]), given)


def test_an_integer_power_has_no_eigenproblem():
    declared = {"F": "m d", "x": "d", "eps": "scalar positive"}
    found = plan(one_off("x.T @ inv(F.T @ F + eps * eye(d)) @ x", **declared).derive())
    assert not any(v.op == "eigh" for v in (*found.forward.values, *found.backward.values))


@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_a_partition_sums_its_classes_and_spreads_over_its_rows(k, batch):
    layer = compiled("E @ (E.T @ X)", E="m k partition", X="m d")
    labels = torch.arange(2 * k) % k
    E, X = torch.eye(k, dtype=DTYPE)[labels], normal(*batch, 2 * k, 4).requires_grad_()
    torch.testing.assert_close(layer(E, X), E @ (E.mT @ X))
    assert gradcheck(lambda X: layer(E, X), X)


OF_CLASSES = {
    "tr(E.T @ F @ F.T @ E @ inv(E.T @ E))": {"F": "m d"},
    "sum(F * (E @ inv(E.T @ E) @ E.T @ F))": {"F": "m d"},
    "logdet(F.T @ (eye(m) - E @ inv(E.T @ E) @ E.T) @ F + eye(d))": {"F": "m d"},
    "tr(projector(E) @ F @ F.T)": {"F": "m d"},
    "projector(diag(w) @ E) @ F": {"w": "m positive", "F": "m d"},
    "pinv(E) @ F": {"F": "m d"},
    "x.T @ inv(diag(w) + E @ E.T) @ x": {"w": "m positive", "x": "m"},
    "logdet(diag(w) + E @ E.T)": {"w": "m positive"},
    "logdet(diag(w) + projector(E))": {"w": "m positive"},
}


@pytest.mark.parametrize("text", OF_CLASSES)
def test_class_totals_are_never_factored(text):
    declared = {"E": "m k partition"} | OF_CLASSES[text]
    found = operations(text, **declared)
    sizes = found["cholesky"] + found["lu_factor"] + found["inverse"] + found["logdet"]
    assert sizes <= ("eye(d)" in text)
    assert not any(op.endswith("_frame") for op in found)
    layer = compiled(text, **declared)
    for rows, cols, batch in ((6, 4, ()), (4, 7, ()), (5, 3, (2,))):
        dims = {"m": rows, "d": cols}
        given = []
        for spec in OF_CLASSES[text].values():
            X = normal(*batch, *(dims[n] for n in spec.split() if n in dims))
            given.append((X.abs() + 1 if "positive" in spec else X).requires_grad_())
        E = torch.eye(3, dtype=DTYPE)[torch.arange(rows) % 3]
        names = list(OF_CLASSES[text])

        def of(*given, E=E, names=names):
            return layer(E=E, **dict(zip(names, given, strict=True)))

        assert gradcheck(of, given)
        if not batch:
            agrees_with_the_definition(text, declared, dims | {"k": 3}, [E, *given])


def test_a_distance_of_projectors_does_not_cancel_where_they_meet():
    E = torch.eye(2, dtype=DTYPE).repeat(20, 1)
    F = E @ torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=DTYPE)
    value = emitted("ncuts_j2")(F, torch.eye(2, dtype=DTYPE), E)
    assert 0 <= value < 1e-28


RESIDUALS = [
    "norm(X - projector(A) @ X)", "norm(X - A @ pinv(A) @ X)", "norm(X.T @ projector(A) - X.T)",
]  # fmt: skip


@pytest.mark.parametrize("text", RESIDUALS)
def test_a_residual_of_a_projection_does_not_cancel(text):
    layer = compiled(text, X="m k", A="m d")
    A, B, N = normal(9, 3), normal(3, 2), normal(9, 2)
    Q = torch.linalg.qr(A)[0]
    for size in (1.0, 1e-4, 1e-8):
        X = (A @ B + size * N).requires_grad_()
        Y = layer(X=X, A=A)
        residual = X.detach() - Q @ (Q.mT @ X.detach())
        torch.testing.assert_close(Y.detach(), residual.norm(), rtol=1e-14 / size, atol=0)
        (gradient,) = torch.autograd.grad(Y, X)
        expected = residual / residual.norm()
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14 / size)


def test_a_rank_deficient_factor_has_the_gradient_of_its_range():
    layer = emitted("ncuts_j2")
    B, E = normal(20, 3), torch.eye(4, dtype=DTYPE).repeat(5, 1)
    F = (B @ normal(3, 5)).requires_grad_()
    (ours,) = torch.autograd.grad(layer(F, torch.eye(5, dtype=DTYPE), E), F)
    inverse = torch.linalg.pinv(F.detach(), rtol=1e-10)
    residual = E - F.detach() @ (inverse @ E)
    expected = -2 * residual / E.sum(0) @ (inverse @ E).mT
    torch.testing.assert_close(ours, expected)


def test_a_badly_conditioned_factor_keeps_its_rank_and_its_gradient():
    Q, V = torch.linalg.qr(normal(200, 6))[0], torch.linalg.qr(normal(6, 6))[0]
    s = torch.logspace(0, -7, 6, dtype=DTYPE)
    F, E = (Q * s @ V.mT).requires_grad_(), torch.eye(4, dtype=DTYPE).repeat(50, 1)
    (ours,) = torch.autograd.grad(emitted("ncuts_j2")(F, torch.eye(6, dtype=DTYPE), E), F)
    residual, Z = E - Q @ (Q.mT @ E), V / s @ (Q.mT @ E)
    expected = -2 * residual / E.sum(0) @ Z.mT
    assert (ours - expected).norm() < 1e-7 * expected.norm()


@pytest.mark.parametrize("name", ["ncuts_j1", "ncuts_j2"])
def test_no_intermediate_of_the_cuts_is_larger_than_their_input(name):
    F = normal(4000, 6).abs().requires_grad_()
    E = torch.eye(4, dtype=DTYPE).repeat(1000, 1)
    with Allocations() as seen:
        emitted(name)(F, torch.eye(6, dtype=DTYPE), E).backward()
    assert seen.largest <= F.numel()


@pytest.mark.parametrize("name", ["ncuts_j1", "ncuts_j2"])
@pytest.mark.parametrize("rank", [6, 4])
def test_the_gram_matrix_gives_the_range_by_an_option(name, rank):
    F = (normal(60, rank).abs() @ normal(rank, 6).abs()).requires_grad_()
    E, Lam = torch.eye(4, dtype=DTYPE).repeat(15, 1), torch.eye(6, dtype=DTYPE)
    layer = emitted(name)
    values = [layer(F, Lam, E, gram=gram) for gram in (False, True)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(J, F)[0] for J in values))


@pytest.mark.parametrize("gram", [False, True])
def test_least_squares_regain_what_the_normal_equations_lose(gram):
    layer = compiled("X - projector(A) @ X", A="m d", X="m k")
    U, V = torch.linalg.qr(normal(80, 6))[0], torch.linalg.qr(normal(6, 6))[0]
    A, X = U * torch.logspace(0, -5, 6, dtype=DTYPE) @ V.mT, normal(80, 3)
    torch.testing.assert_close(
        layer(A, X, gram=gram), X - U @ (U.mT @ X), rtol=1e-10, atol=1e-10
    )


def frames(text, **declarations):
    program = plan(one_off(text, **declarations).derive()).forward
    return {v.op for v in program.values if v.op.endswith("_frame")}


def test_a_frame_is_formed_only_for_many_columns():
    declared = {"A": "m d", "X": "m k", "E": "m k partition"}
    assert frames("projector(A) @ E", **declared) == {"right_frame"}
    assert frames("sumsq(E - A @ pinv(A) @ E)", **declared) == {"right_frame"}
    assert frames("tr(E.T @ projector(A) @ E)", **declared) == {"right_frame"}
    assert frames("projector(A)", **declared) == {"orthogonal_frame"}
    assert frames("pinv(A)", **declared) == {"orthogonal_frame"}


THIN = [
    "X * c + u @ v.T + ones(m) @ w.T",
    "X * c + A @ B + 2 * u @ v.T",
    "A @ B + u @ v.T - (v @ u.T).T / 3",
]


@pytest.mark.parametrize("text", THIN)
def test_thin_products_are_added_as_one(text):
    declared = {"X": "m d", "A": "m 3", "B": "3 d", "u": "m", "v": "d", "w": "d", "c": "scalar"}
    used = {name: declared[name] for name in declared if name in text}
    layer = one_off(text, **used)
    values = plan(layer.derive()).forward.values
    assert sum(v.op in ("matmul", "outer") for v in values) == 1
    sizes = {"m": 50, "d": 40}
    shapes = {n: [sizes.get(w) or int(w) for w in spec.split() if w != "scalar"]
              for n, spec in used.items()}  # fmt: skip
    inputs = {name: torch.randn(shape, dtype=DTYPE) for name, shape in shapes.items()}
    env = sizes | {x: inputs[n].reshape(*shapes[n], *[1] * (2 - len(shapes[n]))).numpy()
                   for n, x in layer.definition.inputs.items()}  # fmt: skip
    (expected,) = (evaluate(Y, env) for Y in layer.definition.outputs.values())
    found = load(emit_text(layer.derive()), "layer").layer(*inputs.values())
    torch.testing.assert_close(found, torch.as_tensor(expected))


def test_what_does_not_vary_does_not_vary_in_the_wide_program_either():
    text = "skew(inv((Y @ B).T @ Y @ B + 2 * eye(n) + sqrtm(X.T @ X + 2 * eye(n))))"
    layer = compiled(text, X="m n", Y="m k", B="k n")
    for m, n in ((5, 3), (2, 6)):
        inputs = [normal(*shape).requires_grad_() for shape in ((m, n), (m, 2), (2, n))]
        Z = layer(*inputs)
        torch.testing.assert_close(Z, torch.zeros_like(Z))
        for gradient in torch.autograd.grad(Z, inputs, normal(n, n)):
            assert not gradient.any()


ORDERS = {
    "norm(A @ A.T)": lambda A, B: (A @ A.mT).norm(),
    "inner(A @ A.T, B @ B.T)": lambda A, B: (A @ A.mT * (B @ B.mT)).sum(),
    "tr(A @ A.T @ B @ B.T @ A @ A.T)":
        lambda A, B: torch.trace(A @ A.mT @ B @ B.mT @ A @ A.mT),
    "sumsq(A @ A.T - B @ B.T)": lambda A, B: (A @ A.mT - B @ B.mT).square().sum(),
    "norm(inv(A @ A.T + eye(m)))":
        lambda A, B: torch.linalg.inv(A @ A.mT + torch.eye(A.shape[0], dtype=DTYPE)).norm(),
    "tr(powm(A @ A.T / 10, 4))":
        lambda A, B: torch.trace(torch.linalg.matrix_power(A @ A.mT / 10, 4)),
}  # fmt: skip


@pytest.mark.parametrize("text", ORDERS)
@pytest.mark.parametrize("shape", [(200, 5), (5, 200)])
def test_the_order_of_products_follows_the_shape(text, shape):
    declared = {name: dims for name, dims in {"A": "m d", "B": "m k"}.items() if name in text}
    layer = compiled(text, **declared)
    A, B = (normal(*shape).requires_grad_() for _ in "AB")
    given = {"A": A, "B": B} if "B" in text else {"A": A}
    with Allocations() as seen:
        value = layer(**given)
        found = torch.autograd.grad(value, list(given.values()))
    assert seen.largest <= 2 * 200 * 5
    expected = ORDERS[text](A, B)
    torch.testing.assert_close(value, expected)
    wanted = torch.autograd.grad(expected, list(given.values()))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    small = [normal(*((3, 5) if shape[0] < shape[1] else (5, 3))) for _ in given]
    assert gradgradcheck(layer, [X.requires_grad_() for X in small])


def operations(text, passes=("forward", "backward"), **declarations):
    """How often each operation occurs in some passes of a plan."""
    found = plan(one_off(text, **declarations).derive())
    values = dict.fromkeys(v for kind in passes for v in getattr(found, kind).values)
    return Counter(v.op for v in values)


FACTORED_ONCE = {
    "sumsq(pinv(A) @ B - C)": {"A": "m d", "B": "m k", "C": "d k"},
    "pinv(A) @ B": {"A": "m d full_column_rank", "B": "m k"},
    "pinv(A) @ C": {"A": "d m full_row_rank", "C": "d k"},
    "inner(pinv(A), pinv(A.T).T)": {"A": "m d"},
    "logdet(S) + b.T @ inv(S) @ b": {"S": "m m positive_definite", "b": "m"},
    "logdet(diag(v) + U @ U.T) + b.T @ inv(diag(v) + U @ U.T) @ b": {
        "v": "m positive", "U": "m d", "b": "m",
    },
    "tr(powm(-A.T @ A - s * eye(d), -2))": {"A": "m d", "s": "scalar positive"},
    "tr(inv(A.T @ (eye(m) - ones(m) @ ones(m).T / tr(eye(m))) @ A + eye(d)) @ A.T @ A)": {
        "A": "m d",
    },
    "b.T @ powm(s * eye(m) + U @ U.T, -2) @ b": {
        "U": "m d", "s": "scalar positive", "b": "m",
    },
    "tr(inv(diag(v) + U @ U.T) @ diag(w) @ inv(diag(v) + U @ U.T))": {
        "v": "m positive", "U": "m d", "w": "m",
    },
    "sumsq(b - A @ inv(A.T @ A + s * eye(d)) @ A.T @ b)": {
        "A": "m d", "s": "scalar positive", "b": "m",
    },
    "tr(logm(S))": {"S": "m m positive_definite"},
    "tr(inv(S) @ logm(S))": {"S": "m m positive_definite"},
    "norm(logm(2 * S))": {"S": "m m positive_definite"},
    "logdet(S) + b.T @ sqrtm(3 * S) @ b": {"S": "m m positive_definite", "b": "m"},
    "det(M)": {"M": "m m"},
    "b.T @ inv(M) @ b + logdet(M)": {"M": "m m", "b": "m"},
    "logdet(eye(m) - M / 99) + b.T @ inv(99 * eye(m) - M).T @ b": {"M": "m m", "b": "m"},
    "det(A.T @ A)": {"A": "m d"},
}  # fmt: skip


@pytest.mark.parametrize("text", FACTORED_ONCE)
def test_a_matrix_is_factored_once_for_both_passes(text):
    found = plan(one_off(text, **FACTORED_ONCE[text]).derive())
    kinds = "orthogonal_frame", "right_frame", "cholesky", "lu_factor", "inverse", "eigh"
    kinds += "logdet", "det"
    for shape in (found, found.wide.plan) if found.wide is not None else (found,):
        values = dict.fromkeys((*shape.forward.values, *shape.backward.values))
        assert sum(v.op in kinds for v in values) == 1


@pytest.mark.parametrize("text", FACTORED_ONCE)
@pytest.mark.parametrize("sizes", [(9, 4, 2), (4, 9, 2)], ids=str)
def test_what_shares_a_factorization_has_right_derivatives(text, sizes):
    declared = FACTORED_ONCE[text]
    if "rank" in str(declared):
        sizes = sorted(sizes, reverse=True)  # the declared rank needs m ≥ d
    dims = dict(zip("mdk", sizes, strict=True))
    inputs = []
    for spec in declared.values():
        X = normal(*(dims[n] for n in spec.split() if n in dims))
        X = X @ X.mT + torch.eye(len(X)) if "definite" in spec else X
        inputs.append((X.abs() + 1 if "positive" in spec.split() else X).requires_grad_())
    layer = compiled(text, **declared)
    assert gradcheck(layer, inputs, check_forward_ad=True)
    assert gradgradcheck(layer, inputs)


@pytest.mark.parametrize("shape", [(300, 6), (6, 300)], ids=str)
@pytest.mark.parametrize("text", ["sumsq(pinv(A) @ B)", "sumsq(projector(A) @ B)"])
def test_no_matrix_is_larger_than_the_factor_of_any_shape(text, shape):
    layer = compiled(text, A="m d", B="m k")
    A, B = normal(*shape).requires_grad_(), normal(shape[0], 2).requires_grad_()
    with Allocations() as seen:
        layer(A, B).backward()
    assert seen.largest <= 300 * 6


def test_a_diagonal_factor_scales_the_smaller_matrix():
    found = plan(one_off("sumsq(A @ diag(v) @ B)", A="m d", B="d k", v="d").derive())
    values = [*found.forward.values, *found.backward.values]
    scaled = [v for v in values if v.op in ("scale_rows", "scale_cols")]
    assert scaled and all(m not in (v.rows, v.cols) for v in scaled)


OF_KRONECKER = {
    "logdet(kron(P, Q))": {"P": "p p", "Q": "q q"},
    "x.T @ inv(kron(P, Q)) @ x": {"P": "p p", "Q": "q q", "x": "p*q"},
    "tr(kron(P, Q))": {"P": "p p", "Q": "q q"},
    "sumsq(kron(P, Q))": {"P": "p p", "Q": "q q"},
}


@pytest.mark.parametrize("text", OF_KRONECKER)
def test_what_is_computed_from_a_kronecker_product_is_computed_from_its_factors(text):
    declared = OF_KRONECKER[text]
    layer = compiled(text, **declared)
    sizes = {"p": 4, "q": 5, "p*q": 20}
    inputs = [normal(*(sizes[n] for n in spec.split())) for spec in declared.values()]
    agrees_with_the_definition(text, declared, {"p": 4, "q": 5}, inputs)
    inputs = [X.requires_grad_() for X in inputs]
    assert gradcheck(layer, inputs)
    with Allocations() as seen:
        layer(*inputs).backward()
    assert seen.largest <= 5 * 5


def test_traces_take_the_cheapest_turn_whatever_the_first_shapes_say():
    layer = compiled("tr(A @ B @ C @ D)", A="m d", B="d m", C="m d", D="d m")
    for rows, cols in ((200, 4), (4, 200)):
        inputs = [normal(*shape).requires_grad_() for shape in ((rows, cols), (cols, rows)) * 2]
        with Allocations() as seen:
            layer(*inputs).backward()
        assert seen.largest <= 200 * 4


RANK_ONE = {
    "tr(sqrtm(c * eye(m) + x @ x.T))": {"x": "m", "c": "scalar positive"},
    "b.T @ logm(c * eye(m) + x @ x.T) @ b": {"x": "m", "c": "scalar positive", "b": "m"},
    "invsqrtm(eye(m) + 2 * x @ x.T) @ b": {"x": "m", "b": "m"},
}


@pytest.mark.parametrize("text", RANK_ONE)
def test_a_function_of_a_rank_one_goes_through_the_vector(text):
    declared = RANK_ONE[text]
    layer = compiled(text, **declared)
    for rows in (1, 4):
        given = arguments(declared, rows, 1)
        agrees_with_the_definition(text, declared, {"m": rows}, given)
        assert gradcheck(layer, given)
        assert gradgradcheck(layer, given)
    with Allocations() as seen:
        layer(*arguments(declared, 500, 1)).sum().backward()
    assert seen.largest <= 500


def test_only_one_shape_may_save_something():
    layer = compiled("tr(logm(s * eye(m) + U @ U.T))", U="m d", s="scalar positive")
    for shape in ((6, 3), (3, 6)):
        U, s = normal(*shape).requires_grad_(), torch.tensor(0.7, dtype=DTYPE, requires_grad=True)
        assert gradcheck(layer, (U, s))
        assert gradgradcheck(layer, (U, s))


PUSHED = [
    "sumsq(sqrtm(F.T @ F + eye(d)) - eye(d))",
    "tr(sqrtm(F.T @ F + eye(d)) @ sqrtm(X.T @ X + eye(d)))",
    "tr(logm(F.T @ F + eye(d)) @ logm(X.T @ X + eye(d)))",
    "tr(expm(F.T @ F / 4) @ expm(X.T @ X / 4))",
]


@pytest.mark.parametrize("text", PUSHED)
@pytest.mark.parametrize("small", [0.0, 1e-9, 1.0])
def test_a_wide_factor_may_lose_rank_in_a_function(text, small):
    layer = compiled(text, **{name: "m d" for name in "FX" if name in text})
    U, V = torch.linalg.qr(normal(2, 2))[0], torch.linalg.qr(normal(6, 2))[0]
    F = (U * torch.tensor([1.0, small], dtype=DTYPE)) @ V.mT
    inputs = [F, normal(2, 6) / 2][: 1 + ("X" in text)]
    assert gradcheck(layer, [X.requires_grad_() for X in inputs])


TWICE = [
    "norm(F - ones(m, m) @ F / tr(eye(m)))",
    "norm(F @ F.T - ones(m, m) / tr(eye(m)))",
    "norm(projector(F) - ones(m, m) / tr(eye(m)))",
    "logdet(eye(m) + projector(F))",
]


@pytest.mark.parametrize("text", TWICE)
@pytest.mark.parametrize("shape", [(5, 2), (2, 5)], ids=str)
def test_derivatives_hold_twice_whichever_side_is_the_larger(text, shape):
    layer, F = compiled(text, F="m d"), normal(*shape).requires_grad_()
    assert gradcheck(layer, F)
    assert gradgradcheck(layer, F)


@pytest.mark.parametrize("shape", [(5, 2), (2, 5)], ids=str)
def test_the_trace_of_a_logarithm_has_no_eigenproblem(shape):
    text = "tr(logm(F.T @ F + s * eye(d)))"
    declared = {"F": "m d", "s": "scalar positive"}
    assert operations(text, **declared)["eigh"] == 0
    F, s = normal(*shape).requires_grad_(), torch.tensor(0.3, dtype=DTYPE, requires_grad=True)
    layer = compiled(text, **declared)
    expected = torch.logdet(F.mT @ F + s * torch.eye(shape[1], dtype=DTYPE))
    torch.testing.assert_close(layer(F, s), expected)
    assert gradcheck(layer, (F, s))


WITH_EMPTY_CLASSES = {
    "projector(E) @ F": lambda E, F: E @ torch.linalg.pinv(E) @ F,
    "pinv(E) @ F": lambda E, F: torch.linalg.pinv(E) @ F,
}


@pytest.mark.parametrize("text", WITH_EMPTY_CLASSES)
@pytest.mark.parametrize("classes", [[0, 0, 1, 2, 2], [0, 0, 2, 2, 0]], ids=str)
def test_a_class_of_a_partition_may_be_empty(text, classes):
    layer = compiled(text, E="m k partition", F="m d")
    E = torch.nn.functional.one_hot(torch.tensor(classes), 3).to(DTYPE)
    F = normal(5, 2).requires_grad_()
    torch.testing.assert_close(layer(E, F), WITH_EMPTY_CLASSES[text](E, F))
    assert gradcheck(lambda F: layer(E, F), F)


def test_a_function_may_have_constants_that_are_functions_of_numbers():
    layer = compiled('matfun("log(2)*x + exp(x)", S)', S="n n symmetric")
    S = normal(3, 3)
    S = S + S.mT
    torch.testing.assert_close(layer(S), math.log(2) * S + torch.linalg.matrix_exp(S))
