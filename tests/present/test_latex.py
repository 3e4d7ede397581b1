"""Expressions in the paper's notation."""

import pytest
from latex2mathml.converter import convert

from mbp.expr import scalar
from mbp.expr.latex import latex, letter
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.rulebook import RULEBOOK

DECLARATIONS = {
    "A": "n n symmetric", "B": "n n", "F": "m d", "Lam": "d d", "X1": "n n", "x": "n",
    "p": "scalar", "eps": "scalar positive constant",
}  # fmt: skip
NAMES = {name: declare(name, text) for name, text in DECLARATIONS.items()}


def of(text):
    return parse(text, NAMES, RULEBOOK.functions)


def compact(expr, names=None):
    return latex(expr, names).replace(r"\left", "").replace(r"\right", "").replace(" ", "")


PRINTED = {
    "logm(F.T @ F + eps * eye(d))": r"\log(F^{\top}F+\epsilonI)",
    "F @ Lam @ F.T": r"F\LambdaF^{\top}",
    "inv(B).T": r"B^{-\top}",
    "inv(A @ B).T": r"(AB)^{-\top}",
    "pinv(F)": r"F^{+}",
    "pinv(F).T": r"F^{+\top}",
    "projector(F)": r"\Pi_{F}",
    "X1.T": r"X_{1}^{\top}",
    "A @ (A + B) @ A": r"A(A+B)A",
    "A - (B - A)": r"A-(B-A)",
    "A * B": r"A\circB",
    "A * (B @ A)": r"A\circ(BA)",
    "(A * B) @ A": r"(A\circB)A",
    "2 * (A * B)": r"2(A\circB)",
    "-A": "-A",
    "A / 2": r"\frac{1}{2}A",
    "A / p": r"\frac{1}{p}A",
    "A / B": r"A\oslashB",
    "sym(B)": "B_{sym}",
    "sym(A @ B)": "(AB)_{sym}",
    "diagpart(B)": "B_{diag}",
    "diag(x)": "[x]",
    "inner(A, B)": "A:B",
    "inner(A * B, A + B)": r"(A\circB):(A+B)",
    "inner(A, B) * A": "(A:B)A",
    "sumsq(A - B) / 2": r"\frac{1}{2}\|A-B\|^{2}",
    "norm(F)": r"\|F\|",
    "tr(A @ B)": r"\operatorname{Tr}(AB)",
    "logdet(A)": r"\log|\detA|",
    "kron(A + B, B)": r"(A+B)\otimesB",
    "A ** 2": r"A^{\circ2}",
    "p ** 2": "p^{2}",
    "exp(A)": r"\exp^{\circ}(A)",
    "expm(A)": r"\exp(A)",
    "sqrtm(A)": "A^{1/2}",
    "invsqrtm(A)": "A^{-1/2}",
    "powm(A, p)": "A^{p}",
    "sum(A)": r"\mathbf{1}^{\top}A\mathbf{1}",
    "d(A) @ B": "dAB",
    "sym(d(A))": "(dA)_{sym}",
    "d(A @ B)": "d(AB)",
    "-(A + B) @ A": "-(A+B)A",
}


@pytest.mark.parametrize(("text", "expected"), PRINTED.items())
def test_notation_is_the_papers(text, expected):
    assert compact(of(text)) == expected


@pytest.mark.parametrize("text", [*PRINTED, "matfun('x/(1 + x)', A)", "hstack(A, B)", "vec(A)",
                                  "unvec(vec(A @ B), n, n)", "eig(A)[0]", "tril(B)",
                                  "frechet('log', 1, A, B)"])  # fmt: skip
def test_everything_printed_is_valid_latex(text):
    assert convert(latex(of(text))).startswith("<math")


def test_every_elementwise_function_prints():
    for name in scalar.function_names():
        assert convert(latex(of(f"{name}(A) + {name}(p) * A")))


@pytest.mark.parametrize(("name", "expected"), [
    ("eps", r"\epsilon"), ("Lam", r"\Lambda"), ("Omega", r"\Omega"), ("G_Y", "G_{Y}"),
    ("X12", "X_{12}"), ("G_Y1", "G_{Y_{1}}"), ("weights", r"\mathit{weights}"), ("d(C)", "dC"),
])  # fmt: skip
def test_names_become_letters(name, expected):
    assert letter(name) == expected


def test_named_nodes_print_as_their_letter():
    P = of("projector(F)")
    assert compact(of("projector(F) @ F"), {P: "P1"}) == "P_{1}F"
