"""Plans lose no digits: gradients against mpmath where an equal formula would cancel."""

import mpmath as mp
import pytest
import torch

from mbp.api import one_off_layer, parse
from mbp.emit import emit_text, load
from mbp.expr.dims import dim
from mbp.plan.choice import plan
from mbp.plan.lowering.ranges import of_factors

DTYPE = torch.float64
WITH_DIGITS = 60


@pytest.fixture(autouse=True)
def digits():
    torch.manual_seed(0)
    with mp.workdps(WITH_DIGITS):
        yield


def normal(*shape):
    return torch.randn(*shape, dtype=DTYPE)


def gradients(text, declared, *inputs, wrt=None):
    """The value and the gradients of an emitted scalar layer in its first `wrt` inputs."""
    layer = load(emit_text(one_off_layer(text, declared, "layer").derive()), "layer").layer
    inputs = [X.clone().requires_grad_() for X in inputs]
    Y = layer(*inputs)
    return Y, torch.autograd.grad(Y, inputs[:wrt])


def exact(X):
    return mp.matrix(X.tolist()) if X.dim() else mp.mpf(X.item())


def error(found, expected):
    if not found.dim():
        return float(abs(mp.mpf(found.item()) - expected) / abs(expected))
    return float(mp.norm(exact(found) - expected) / mp.norm(expected))


@pytest.mark.parametrize("epsilon", [1e-2, 1e-4, 1e-6])
def test_the_gradient_in_the_diagonal_of_a_low_rank_plus_diagonal(epsilon):
    U, w = normal(60, 4), normal(4)
    v, b = epsilon * normal(60).abs().add(0.5), U @ w
    declared = {"v": "m positive", "U": "m d", "b": "m"}
    _, (grad_v, _, grad_b) = gradients("b.T @ inv(diag(v) + U @ U.T) @ b", declared, v, U, b)
    A = mp.diag(exact(v)) + exact(U) * exact(U).T
    z = mp.lu_solve(A, exact(b))
    assert error(grad_b, 2 * z) < 1e-13 / epsilon
    assert error(grad_v, -z.apply(lambda x: x**2)) < 1e-13 / epsilon


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)], ids=str)
@pytest.mark.parametrize("level", [1.0, 1e-4, 1e-8])
def test_a_ridge_residual_keeps_its_digits(shape, level):
    X, y, lam = normal(*shape), normal(shape[0]), torch.tensor(level, dtype=DTYPE)
    declared = {"X": "m d", "y": "m", "lam": "scalar positive"}
    text = "sumsq(y - X @ inv(X.T @ X + lam * eye(d)) @ X.T @ y)"
    Y, found = gradients(text, declared, X, y, lam)
    K = exact(X) * exact(X).T + exact(lam) * mp.eye(shape[0])
    z = mp.lu_solve(K, exact(y))
    u, c = mp.lu_solve(K, z), exact(lam)
    expected = (
        -2 * c**2 * (u * (z.T * exact(X)) + z * (u.T * exact(X))),
        2 * c**2 * u,
        2 * c * (z.T * z)[0] - 2 * c**2 * (z.T * u)[0],
    )
    assert error(Y, c**2 * (z.T * z)[0]) < 1e-13
    assert max(map(error, found, expected)) < 1e-12


OF_GRAM = {  # the trace of g(A), or of a product of two functions, and g′ there
    "tr(sqrtm(A))": lambda x: 1 / (2 * mp.sqrt(x)),
    "tr(logm(A))": lambda x: 1 / x,
    "sumsq(logm(A))": lambda x: 2 * mp.log(x) / x,
    "sumsq(invsqrtm(A))": lambda x: -1 / x**2,
    "inner(logm(A), sqrtm(A))": lambda x: (mp.log(x) / 2 + 1) / mp.sqrt(x),
    "tr(expm(-A))": lambda x: -mp.exp(-x),
    "logdet(A)": lambda x: 1 / x,
}


@pytest.mark.parametrize("scalar", ["scalar positive", "scalar positive constant"])
@pytest.mark.parametrize("text", OF_GRAM)
def test_traces_of_functions_of_a_gram_matrix_at_any_rank(text, scalar):
    declared = {"X": "m d", "s": scalar}
    text, slope = text.replace("A", "(X.T @ X + s * eye(d))"), OF_GRAM[text]
    layer = load(emit_text(one_off_layer(text, declared, "layer").derive()), "layer").layer
    for rows, cols, rank in ((3, 6, 3), (3, 6, 1), (6, 3, 1), (3, 6, 2)):
        X = normal(rows, rank) @ normal(rank, cols) / 2
        X[-1] = X[0]
        X.requires_grad_()
        s = 0.3 if "constant" in scalar else torch.tensor(0.3, dtype=DTYPE)
        (found,) = torch.autograd.grad(layer(X, s), X)
        A = exact(X).T * exact(X) + mp.mpf(0.3) * mp.eye(cols)
        q, V = mp.eigsy(A)
        expected = 2 * exact(X) * (V * mp.diag([slope(x) for x in q]) * V.T)
        assert error(found, expected) < 1e-12


@pytest.mark.parametrize("condition", [1e4, 1e8])
def test_full_rank_costs_a_generalised_inverse_no_digits(condition):
    U, _ = torch.linalg.qr(normal(30, 4))
    V, _ = torch.linalg.qr(normal(4, 4))
    A = U * torch.logspace(0, -torch.tensor(condition).log10().item(), 4, dtype=DTYPE) @ V.mT
    B = normal(30, 3)
    declared = {"A": "m d full_column_rank", "B": "m k"}
    _, (grad_A, grad_B) = gradients("sumsq(pinv(A) @ B)", declared, A, B)
    inverse = (exact(A).T * exact(A)) ** -1
    X = inverse * exact(A).T * exact(B)
    residual = exact(B) - exact(A) * X
    assert error(grad_B, 2 * exact(A) * (inverse * X)) < 1e-14 * condition
    expected = 2 * (residual * (X.T * inverse) - exact(A) * (inverse * X) * X.T)
    assert error(grad_A, expected) < 1e-14 * condition


@pytest.mark.parametrize("mean", [1.0, 1e4, 1e8])
def test_what_a_projection_leaves_keeps_its_digits(mean):
    A = normal(12, 3) + mean
    P = torch.eye(3, dtype=DTYPE)[torch.arange(12) % 3]
    declared = {"A": "m d", "P": "m k partition"}
    text = "sumsq(A - P @ inv(P.T @ P) @ P.T @ A)"
    Y, (found,) = gradients(text, declared, A, P, wrt=1)
    left = exact(A) - exact(P) * exact(P).T * exact(A) / 4
    assert error(Y, mp.norm(left) ** 2) < 1e-14 * mean
    assert error(found, 2 * left) < 1e-14 * mean


@pytest.mark.parametrize("mean", [1.0, 1e4, 1e8])
def test_a_covariance_is_that_of_the_centred_matrix(mean):
    A = normal(12, 3) + mean
    text = "logdet(A.T @ (eye(m) - ones(m) @ ones(m).T / tr(eye(m))) @ A)"
    Y, (found,) = gradients(text, {"A": "m d"}, A)
    centred = exact(A) - mp.ones(12, 12) * exact(A) / 12
    S = centred.T * centred
    assert error(Y, mp.log(mp.det(S))) < 1e-13 * mean
    assert error(found, 2 * centred * S**-1) < 1e-13 * mean


@pytest.mark.parametrize("mean", [1.0, 1e4])
def test_so_is_that_of_more_columns_than_rows(mean):
    A = normal(3, 6) + mean
    text = "tr(sqrtm(A.T @ (eye(m) - ones(m) @ ones(m).T / tr(eye(m))) @ A + eye(d)))"
    _, (found,) = gradients(text, {"A": "m d"}, A)
    centred = exact(A) - mp.ones(3, 3) * exact(A) / 3
    q, V = mp.eigsy(centred.T * centred + mp.eye(6))
    slope = V * mp.diag([1 / mp.sqrt(x) for x in q]) * V.T
    assert error(found, centred * slope) < 1e-13 * mean


OF_WEIGHTED = {  # the derivative of the value in A, and the digits that a weight of size s costs
    "tr(logm(A))": (lambda A, x: function(A, lambda q: 1 / q), lambda s: 1),
    "tr(sqrtm(A))": (
        lambda A, x: function(A, lambda q: 1 / (2 * mp.sqrt(q))), lambda s: s**-0.5,
    ),
    "x.T @ sqrtm(A) @ x": (
        lambda A, x: sandwiched(A, lambda p, q: 1 / (mp.sqrt(p) + mp.sqrt(q)), x * x.T),
        lambda s: s**-0.5,
    ),
}  # fmt: skip


def function(A, g):
    q, V = mp.eigsy(A)
    return V * mp.diag([g(x) for x in q]) * V.T


def sandwiched(A, kernel, E):
    q, V = mp.eigsy(A)
    M, n = V.T * E * V, range(A.rows)
    return V * mp.matrix([[kernel(q[i], q[j]) * M[i, j] for j in n] for i in n]) * V.T


@pytest.mark.parametrize("text", OF_WEIGHTED)
@pytest.mark.parametrize("small", [1e-2, 1e-6, 1e-12])
def test_small_weights_of_a_wide_gram_matrix(text, small):
    F, x = normal(4, 8) / 2, normal(8)
    w = torch.tensor([small, 1.0, 3 * small, 0.7], dtype=DTYPE)
    slope, loss = OF_WEIGHTED[text]
    declared = {"F": "m d", "w": "m positive"} | ({"x": "d"} if "x" in text else {})
    given = (F, w, x)[: len(declared)]
    text = text.replace("A", "(F.T @ diag(w) @ F + 0.3 * eye(d))")
    _, (grad_F, grad_w) = gradients(text, declared, *given, wrt=2)
    W = mp.diag(exact(w))
    S = slope(exact(F).T * W * exact(F) + mp.mpf(3) / 10 * mp.eye(8), exact(x))
    expected_F, FS = 2 * W * exact(F) * S, exact(F) * S * exact(F).T
    assert error(grad_w, mp.matrix([FS[k, k] for k in range(4)])) < 1e-14 * loss(small)
    assert all(error(grad_F[k], expected_F[k, :].T) < 1e-14 * loss(small) for k in range(4))


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
def test_a_metric_of_a_wide_gram_matrix_may_be_badly_conditioned(condition):
    F, x, Q = normal(4, 8) / 2, normal(8), torch.linalg.qr(normal(4, 4))[0]
    P = Q * torch.tensor([1, condition**-0.3, condition**-0.6, 1 / condition], dtype=DTYPE) @ Q.mT
    P = (P + P.mT) / 2
    text = "x.T @ sqrtm(F.T @ P @ F + 0.3 * eye(d)) @ x"
    declared = {"F": "m d", "P": "m m positive_definite", "x": "d"}
    _, (grad_F, grad_P) = gradients(text, declared, F, P, x, wrt=2)
    A = exact(F).T * exact(P) * exact(F) + mp.mpf(3) / 10 * mp.eye(8)
    slope, _ = OF_WEIGHTED["x.T @ sqrtm(A) @ x"]
    S = slope(A, exact(x))
    assert error(grad_F, 2 * exact(P) * exact(F) * S) < 1e-13
    assert error(grad_P, exact(F) * S * exact(F).T) < 1e-13


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("condition", [1e3, 1e6, 1e9])
def test_the_inverse_of_a_gram_matrix_does_not_square_the_condition(condition, is_wide):
    U, _ = torch.linalg.qr(normal(30, 4))
    V, _ = torch.linalg.qr(normal(4, 4))
    A = U * torch.logspace(0, -torch.tensor(condition).log10().item(), 4, dtype=DTYPE) @ V.mT
    for text, X in (("tr(pinv(A.T @ A))", A), ("tr(pinv(3 * A @ A.T)) * 3", A)):
        Y, (found,) = gradients(text, {"A": "m d"}, X.mT.contiguous() if is_wide else X)
        inverse = (exact(A).T * exact(A)) ** -1
        trace = sum(inverse[i, i] for i in range(4))
        assert error(Y, trace) < 1e-14 * condition
        assert error(found.mT if is_wide else found, -2 * exact(A) * inverse**2) < 1e-14 * condition


SAME_RANGE = ["pinv(A).T", "pinv(A.T)", "3 * pinv(A).T"]


@pytest.mark.parametrize("text", SAME_RANGE)
def test_the_range_of_a_generalised_inverse_is_that_of_its_transpose(text):
    declared = {"A": "m d", "x": "m"}
    found = of_factors(parse(f"projector({text}) @ x", **declared))
    assert found is parse("projector(A) @ x", **declared)


DISTANCES = {
    "norm(projector(A) - projector(B))": lambda P, Q: mp.norm(P - Q),
    "norm(A @ pinv(A) - B @ pinv(B))": lambda P, Q: mp.norm(P - Q),
    "norm(projector(A) @ projector(B) - projector(B) @ projector(A))": lambda P, Q: mp.norm(
        P * Q - Q * P
    ),
    "norm((eye(m) - projector(A)) @ projector(B))": lambda P, Q: mp.norm(Q - P * Q),
    "norm(projector(A) @ projector(B) @ projector(A) - projector(A))": lambda P, Q: mp.norm(
        P * Q * P - P
    ),
    "sumsq(projector(A) @ projector(B) - 2 * projector(A))": lambda P, Q: mp.norm(P * Q - 2 * P)
    ** 2,
    "tr(projector(A)) - tr(projector(A) @ projector(B))": lambda P, Q: mp.norm(P - Q * P) ** 2,
}
TWO = {"A": "m d", "B": "m k"}


def projector(A):
    return A * (A.T * A) ** -1 * A.T


@pytest.mark.parametrize("angle", [1e-2, 1e-5, 1e-8])
@pytest.mark.parametrize("text", DISTANCES)
def test_a_distance_of_projectors_keeps_its_digits_as_the_ranges_meet(text, angle):
    A = normal(12, 3)
    B = A @ normal(3, 3) + angle * normal(12, 3)
    Y, found = gradients(text, TWO, A, B)
    along = normal(12, 3), normal(12, 3)

    def at(t):
        moved = (exact(X) + t * exact(dX) for X, dX in zip((A, B), along, strict=True))
        return DISTANCES[text](*map(projector, moved))

    t = mp.mpf(10) ** -25
    slope = sum((dX * grad).sum() for dX, grad in zip(along, found, strict=True))
    assert error(Y, at(0)) < 1e-15 / angle
    assert error(slope, (at(t) - at(-t)) / (2 * t)) < 1e-13 / angle


@pytest.mark.parametrize("text", DISTANCES)
def test_at_equal_ranges_a_distance_is_no_root_of_a_negative_number(text):
    layer = load(emit_text(one_off_layer(text, TWO, "layer").derive()), "layer").layer
    square = load(
        emit_text(one_off_layer(text.replace("norm", "sumsq"), TWO, "layer").derive()), "layer"
    ).layer
    A = normal(40, 8, 3).requires_grad_()
    B = (A @ normal(40, 3, 3)).detach().requires_grad_()
    assert (square(A, B) >= 0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(layer(A, B).sum(), (A, B)))


def test_a_distance_of_projectors_forms_none():
    for text in DISTANCES:
        found = plan(one_off_layer(text, TWO, "layer").derive())
        for program in (found.forward, found.backward):
            assert all(v.shape != (dim("m"), dim("m")) for v in program.values), text
