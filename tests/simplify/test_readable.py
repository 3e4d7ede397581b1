"""What is printed is what the paper and the textbooks print."""

from __future__ import annotations

import pytest

import mbp
from mbp.expr import build
from mbp.expr.nodes import Expr
from mbp.expr.parser import parse
from mbp.invariants.declare import variable
from mbp.rulebook import RULEBOOK
from mbp.simplify import equal, normal, simplify
from mbp.simplify.products import MOST_WORDS
from mbp.simplify.reading import length

LETTERS = {
    "A": "m n", "B": "n p", "X": "n n", "Y": "n n", "S": "n n symmetric", "C": "n n",
    "P": "n n projector", "U": "n n orthogonal", "Q": "n n diagonal positive_definite",
    "V": "n n orthogonal", "D": "n n diagonal nonnegative", "F": "m n", "Lam": "n n",
    "E": "m k partition", "G": "n n", "G_W": "m m", "K": "n n antisymmetric",
    "R": "m n full_column_rank", "x": "n", "y": "n", "a": "m", "v": "m", "w": "n positive",
    "c": "scalar", "eps": "scalar positive", "W": "m m symmetric",
}  # fmt: skip


def read(text: str) -> Expr:
    names = {name: variable(name, declaration) for name, declaration in LETTERS.items()}
    return parse(text, names, RULEBOOK.functions)


PAPER = {
    "(40)": ("(G + G.T) @ V @ logm(D @ D + eps * eye(n))",
             "2 * sym(G) @ V @ logm(D @ D + eps * eye(n))"),
    "(41)": ("D @ inv(D @ D + eps * eye(n)) @ diagpart(V.T @ G @ V) * 2",
             "2 * D @ inv(D @ D + eps * eye(n)) @ diagpart(V.T @ G @ V)"),
    "(44)": ("G @ U @ logm(Q) + G.T @ U @ logm(Q)", "2 * sym(G) @ U @ logm(Q)"),
    "(45)": ("diagpart(U.T @ G @ U @ inv(Q))", "inv(Q) @ diagpart(U.T @ G @ U)"),
    "(51)": ("(eye(n) - projector(S)) @ G @ pinv(S) + pinv(S) @ G.T @ (eye(n) - projector(S))",
             "2 * sym((eye(n) - projector(S)) @ G @ pinv(S))"),
    "(52)": ("(eye(n) - projector(S)) @ (G + G.T) @ pinv(S)",
             "2 * (eye(n) - projector(S)) @ sym(G) @ pinv(S)"),
    "(60)": ("-2 * pinv(W) @ (E @ inv(E.T @ E) @ E.T) @ (eye(m) - projector(W))",
             "-2 * pinv(W) @ E @ diag((E.T @ ones(m)) ** -1) @ E.T @ (eye(m) - projector(W))"),
    "(64)": ("F.T @ G_W @ F", "F.T @ G_W @ F"),
    "(65)": ("(G_W + G_W.T) @ F @ Lam.T", "2 * sym(G_W) @ F @ Lam.T"),
    "Prop. 5": ("diag(diag(G_W) + v) @ ones(m, n)", "(v + diag(G_W)) @ ones(1, n)"),
}  # fmt: skip

TEXTBOOK = {
    "inverse and transpose": ("inv(X.T) @ C.T", "inv(X).T @ C.T"),
    "least squares": ("2 * A.T @ A @ x - 2 * A.T @ a", "2 * A.T @ (A @ x - a)"),
    "quadratic form": ("X @ x + X.T @ x", "(X + X.T) @ x"),
    "symmetric argument": ("S @ x + S.T @ x", "2 * S @ x"),
    "norm": ("A.T @ (A @ x - a) / sqrt(sumsq(A @ x - a))",
             "A.T @ (A @ x - a) / norm(A @ x - a)"),
    "zero": ("A @ x - A @ x", "zeros(m)"),
    "trace of the identity": ("tr(U.T @ U) * c", "c * tr(eye(n))"),
    "logistic": ("sigmoid(A @ x) - sigmoid(A @ x) ** 2",
                 "sigmoid(A @ x) * (ones(m) - sigmoid(A @ x))"),
    "hyperbolic tangent": ("v - v * tanh(A @ x) ** 2", "v * (ones(m) - tanh(A @ x) ** 2)"),
    "pseudo-inverse": ("inv(R.T @ R) @ R.T", "pinv(R)"),
    "its transpose": ("R @ inv(R.T @ R)", "pinv(R).T"),
    "projector": ("a - R @ inv(R.T @ R) @ R.T @ a", "(eye(m) - projector(R)) @ a"),
    "scaled row": ("diag(v) @ A @ x", "v * (A @ x)"),
    "outer product": ("a @ x.T @ X.T", "a @ x.T @ X.T"),
    "transposed sum": ("X.T @ C.T + C.T @ X.T", "(C @ X + X @ C).T"),
    "sum of entries": ("ones(m).T @ A @ ones(n)", "sum(A)"),
    "triangle": ("tril(X, -1) + diagpart(X)", "tril(X)"),
    "blocks": ("hstack(A, F) + hstack(zeros(m, n), A)", "hstack(A, A + F)"),
    "residual": ("sumsq(A @ x) - 2 * a.T @ A @ x + sumsq(a)", "sumsq(A @ x - a)"),
    "half": ("(X + X.T) / 2", "sym(X)"),
    "powers of a scalar": ("c ** 3 * X / c", "c ** 2 * X"),
}  # fmt: skip


@pytest.mark.parametrize("number", PAPER)
def test_the_papers_form(number: str) -> None:
    text, printed = PAPER[number]
    _prints(text, printed)


@pytest.mark.parametrize("name", TEXTBOOK)
def test_a_textbooks_form(name: str) -> None:
    text, printed = TEXTBOOK[name]
    _prints(text, printed)


def _prints(text: str, printed: str) -> None:
    e, f = read(text), simplify(read(text))
    assert equal(e, read(printed))
    assert str(f) == printed or length(f) < length(read(printed))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("tr(X @ Y @ C)", "tr(C.T @ Y.T @ X.T)"),
        ("inner(X * Y, C)", "sum(C * X * Y)"),
        ("diag(diag(x) @ X @ diag(y))", "x * y * diag(X)"),
        ("inv(F.T @ F + eps * eye(n)) @ F.T @ F", "eye(n) - eps * inv(eps * eye(n) + F.T @ F)"),
        ("E.T @ diag(v) @ E", "diag(E.T @ v)"),
        ("inner(K, S)", "0"),
        ("x.T @ K @ x", "0"),
        ("sqrtm(Q) @ sqrtm(Q)", "Q"),
        ('matfun("1/(2*sqrt(x))", S)', "invsqrtm(S) / 2"),
        ('c * matfun("3*exp(x)", S)', "3 * c * expm(S)"),
        ("hstack(A, F) @ vstack(X, Y)", "A @ X + F @ Y"),
        ("frechet(\"exp\", 1, S, eye(n))", "expm(S)"),
        ("exp(x) * exp(-x)", "ones(n)"),
        ("det(S + 2 * K)", "det(2 * K + S)"),
        ("skew(X @ K)", "-skew((X @ K).T)"),
        ("(x + w) ** 2 / (w + x)", "w + x"),
        ("logdet(2 * X @ Y)", "logdet(X) + logdet(Y) + tr(eye(n)) * log(2)"),
    ],
)  # fmt: skip
def test_equal_expressions_are_found_equal(left: str, right: str) -> None:
    assert equal(read(left), read(right))


def test_unequal_expressions_are_not() -> None:
    assert not equal(read("X @ Y"), read("Y @ X"))
    assert not equal(read("expm(S)"), read('matfun("tanh", S)'))
    assert not equal(read("det(X)"), read("det(Y)"))


def test_a_product_of_many_sums_is_not_multiplied_out() -> None:
    X, Y = read("X"), read("Y")
    factors = [X + k * Y for k in range(1, 30)]
    f = simplify(build.matmul(*factors))  # multiplied out, it has 2²⁹ words
    assert length(f) <= length(build.matmul(*factors))
    assert len(normal(build.matmul(*factors)).args) <= MOST_WORDS


def test_a_deep_expression_is_walked_as_a_graph() -> None:
    e = read("X")
    for _ in range(200):
        e = build.apply("tanh", e + e.T)
    assert simplify(e).shape == e.shape  # the tree has 2²⁰⁰ leaves


def test_a_factor_that_not_all_terms_have_is_not_divided_out() -> None:
    names = {name: variable(name, text) for name, text in {
        "X": "m n", "Y": "m n", "v": "n 1", "w": "n 1", "c": "scalar", "e": "scalar positive",
    }.items()}  # fmt: skip
    e = parse("(c * X + Y / e) @ v @ (v / e + w).T", names, RULEBOOK.functions)
    found = simplify(normal(e))
    assert equal(found, e)
    assert "/ c" not in str(found)


GRADIENTS = {
    "x.T @ y / sqrt((x.T @ x) * (y.T @ y))": "G * (y - x.T @ y * x / sumsq(x)) / norm(x) / norm(y)",
    "sqrt((x.T @ W @ x) * (y.T @ W @ y))":
        "sqrt(y.T @ W @ y) * G * W @ x / sqrt(x.T @ W @ x)",
    "pinv(R)": "(G.T - 2 * R @ inv(R.T @ R) @ sym(G @ R)) @ inv(R.T @ R)",
    "pinv(A)": "(eye(m) - projector(A)) @ G.T @ pinv(A) @ pinv(A).T - pinv(A).T @ "
               "(G @ pinv(A).T - pinv(A) @ G.T @ (eye(n) - projector(A.T)))",
}  # fmt: skip


@pytest.mark.parametrize("text", GRADIENTS)
def test_a_gradient_reads_as_in_a_textbook(text: str) -> None:
    declared = {name: LETTERS[name] for name in "xyRA" if name in text}
    declared |= {"W": "n n positive_definite"} if "W" in text else {}
    gradients = mbp.Layer.from_text(text, **declared).derive().gradients
    assert str(next(iter(gradients.values()))) == GRADIENTS[text]
