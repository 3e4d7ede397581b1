"""Derivations as text, Markdown, LaTeX, HTML and JSON, from derivations made by hand."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy as sp

import mbp
from mbp.definition import Definition
from mbp.derive.derivation import Derivation, Step
from mbp.expr import build, scalar
from mbp.expr.nodes import Frechet, col, row, topological
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.present.entries import entries
from mbp.present.lower import divided_difference, lowered, masked
from mbp.rulebook import RULEBOOK
from tests.language.interpreter import Interpreter

KEYS = ["layer", "inputs", "outputs", "cotangents", "variations", "gradients", "where",
        "conditions", "steps"]  # fmt: skip


def matrix_function(g, declarations, argument):
    """The derivation of g(argument), with the derivative left as a divided difference.

    The argument is symmetric, linear or quadratic in X, and its variation is taken by hand.
    """
    names = {name: declare(name, text) for name, text in declarations.items()}
    A = parse(argument, names)
    Y = build.frechet(g, A, ())
    G = build.var("G", *Y.shape)
    X = next(iter(names.values()))
    dA = build.variation(X) if A is X else 2 * build.sym(X.T @ build.variation(X))
    dY = build.frechet(g, A, (), dA)
    adjoint = build.frechet(g, A, (), build.sym(G))
    gradient = adjoint if A is X else 2 * X @ adjoint
    steps = (
        Step(None, None, heading="Step 1: the variation"),
        Step(build.variation(Y), build.frechet(g, A, (), build.variation(A)), ("(9)",)),
        Step(build.variation(Y), dY, ("product rule",), note="X is all that varies"),
        Step(None, None, heading="Step 2: the adjoint"),
        Step(build.inner(G, dY), build.inner(gradient, build.variation(X)), ("(67)", "(70)")),
    )
    return Derivation(
        Definition("layer", names, {"Y": Y}, doc="A matrix function."),
        {"Y": G}, {"Y": dY}, {X.name: gradient}, {X.name: gradient},
        conditions=("rank(X) constant",), gauges=("signs of U's columns",), steps=steps,
    )  # fmt: skip


def o2p():
    declarations = {"X": "m n", "eps": "scalar positive constant"}
    return matrix_function(sp.log(scalar.X), declarations, "X.T @ X + eps * eye(n)")


GRAMMAR = r"(frechet|tril|triu|kernel)\("


@pytest.mark.parametrize("g", [sp.log(scalar.X), sp.exp(scalar.X), sp.sqrt(scalar.X),
                               1 / scalar.X, scalar.X**3, scalar.X / (1 + scalar.X),
                               scalar.X ** sp.Rational(3, 10)])  # fmt: skip
def test_an_independent_reader_gets_the_gradient_from_json(g):
    derivation = matrix_function(g, {"X": "n n positive_definite"}, "X")
    data = json.loads(derivation.to_json())
    rng = np.random.default_rng(0)
    n = 4
    X = rng.normal(size=(n, n))
    X = X @ X.T + np.eye(n)
    G = rng.normal(size=(n, n))
    dX = rng.normal(size=(n, n))
    dX = dX + dX.T
    found = Interpreter({"X": X, "G": G}, {"n": n}, data["where"]).value(data["gradients"]["X"])

    def loss(t):
        values, U = np.linalg.eigh(X + t * dX)
        applied = [float(g.subs(scalar.X, value)) for value in values]
        return float((G * ((U * applied) @ U.T)).sum())

    expected = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert abs((found * dX).sum() - expected) <= 1e-7 * abs(expected)


def test_json_has_the_keys_of_the_contract_and_texts_of_the_grammar():
    data = json.loads(o2p().to_json())
    assert list(data) == KEYS
    assert data["inputs"] == {"X": "m n", "eps": "scalar positive constant"}
    assert data["outputs"] == {"Y": "n n symmetric"}
    assert data["cotangents"] == {"Y": "G"}
    texts = [*data["variations"].values(), *data["gradients"].values()]
    texts += [side for step in data["steps"] for side in (step["lhs"], step["rhs"])]
    assert not [text for text in texts if re.search(GRAMMAR, text)]
    assert data["where"]["U"] == {
        "kind": "output", "of": "eig(X.T @ X + eps * eye(n))", "index": 0,
        "declaration": "n n orthogonal",
    }  # fmt: skip
    assert data["where"]["L"]["shape"] == "n n"
    assert set(data["where"]["L"]) == {"kind", "shape", "entry", "diagonal"}
    assert [step["by"] for step in data["steps"]] == [["(9)"], ["product rule"], ["(67)", "(70)"]]
    assert data["steps"][0]["lhs"] == "d(Y)"
    assert "Step 1" in data["steps"][0]["note"]


def test_texts_parse_over_the_names_that_json_gives():
    derivation = o2p()
    data = json.loads(derivation.to_json())
    names = {name: declare(name, text) for name, text in data["inputs"].items()}
    names["G"] = build.var("G", "n", "n")
    for name, definition in data["where"].items():
        declaration = definition.get("declaration") or definition["shape"]
        names[name] = build.var(name, *declaration.split()[:2])
    assert parse(data["gradients"]["X"], names).shape == names["X"].shape


def test_no_name_in_where_is_an_inputs_or_a_dimension():
    declarations = {"L": "Q Q positive_definite", "U": "Q Q constant"}
    data = json.loads(matrix_function(sp.log(scalar.X), declarations, "L").to_json())
    assert not set(data["where"]) & {"L", "U", "Q", "G"}
    assert len(data["where"]) == 3
    assert {
        definition["index"] for definition in data["where"].values() if "index" in definition
    } == {0, 1}


def test_a_second_derivative_is_left_alone():
    A = declare("A", "n n symmetric")
    node = build.frechet(sp.log(scalar.X), A, (), A, A)
    assert lowered(node) is node


def test_the_derivative_in_an_exponent_is_an_elementwise_function_of_eigenvalues():
    A, p = declare("A", "n n positive_definite"), declare("p", "scalar")
    g = scalar.X ** scalar.parameter(0)
    node = build.frechet(sp.diff(g, scalar.parameter(0)), A, (p,))
    assert not any(isinstance(inner, Frechet) for inner in topological(lowered(node)))
    U, Q = np.linalg.eigh(np.diag([2.0, 3.0]))[::-1]
    value = Interpreter({"U": U, "Q": np.diag(Q), "p": 2.0}, {"n": 2}).value(
        str(lowered(node)).replace("eig(A)[0]", "U").replace("eig(A)[1]", "Q")
    )
    np.testing.assert_allclose(value, np.diag([4 * np.log(2), 9 * np.log(3)]))


def test_of_a_diagonal_argument_no_frame_is_needed():
    S = declare("S", "n n diagonal")
    node = lowered(build.frechet(sp.log(scalar.X), S, (), build.var("B", "n", "n")))
    assert RULEBOOK.call("eig", S)[0] not in set(topological(node))


@pytest.mark.parametrize("g", [sp.sqrt(scalar.X), 1 / sp.sqrt(scalar.X), 1 / scalar.X, scalar.X**3])
def test_algebraic_divided_differences_are_cancelled(g):
    entry, diagonal = divided_difference(g, 0)
    at_tie = entry.subs({row(0): 2, col(0): 2})
    assert sp.simplify(at_tie - diagonal.subs(row(0), 2)) == 0


@pytest.mark.parametrize(("kind", "numpy"), [
    ("lower", np.tril), ("upper", np.triu),
    ("strictly_lower", lambda B: np.tril(B, -1)), ("strictly_upper", lambda B: np.triu(B, 1)),
])  # fmt: skip
def test_triangles_are_masks_in_json(kind, numpy):
    X = declare("X", "n n")
    Y = build.part(kind, X)
    G = build.var("G", "n", "n")
    gradient = {"X": build.part(kind, G)}
    derivation = Derivation(Definition("t", {"X": X}, {"Y": Y}), {"Y": G}, {}, gradient, gradient)
    data = json.loads(derivation.to_json())
    B = np.arange(1.0, 10.0).reshape(3, 3)
    found = Interpreter({"G": B}, {"n": 3}, data["where"]).value(data["gradients"]["X"])
    np.testing.assert_array_equal(found, numpy(B))
    assert f"tri{'l' if 'lower' in kind else 'u'}(" in derivation.to_text()
    assert masked(Y) is not Y


def test_kernel_entries_index_through_entrywise_expressions():
    S, v, c = declare("S", "n n diagonal"), declare("v", "n"), declare("c", "scalar")
    kernel = build.kernel(
        1 / (row(0) - col(0)) + row(1) * row(2), sp.Integer(0),
        (build.diag(S @ S) + c * build.ones("n"), v, c), S.rows, S.cols,
    )  # fmt: skip
    entry, diagonal = entries(kernel, {}).text
    env = {"S": np.diag([2.0, 3.0]), "v": np.array([5.0, 7.0]), "c": 11.0, "i": 0, "j": 1}
    assert eval(entry, {}, env) == 1 / (4 - 9) + 55
    assert diagonal == "0"


def test_kernel_masks_are_evaluable():
    i, j = sp.Symbol("i", integer=True), sp.Symbol("j", integer=True)
    entry = sp.Piecewise((row(0), i > j), (col(0), sp.And(i < j, j > 0)), (0, True))
    v = declare("v", "n")
    text, diagonal = entries(build.kernel(entry, None, (v,), v.rows, v.rows), {}).text
    v = np.array([2.0, 3.0])
    assert [[eval(text, {}, {"v": v, "i": a, "j": b}) for b in (0, 1)] for a in (0, 1)] == [
        [0, 3],
        [3, 0],
    ]
    assert eval(diagonal, {}, {"v": v, "i": 1}) == 0


def test_text_aligns_equations_and_gives_reasons():
    text = o2p().to_text()
    lines = [line for line in text.splitlines() if "   by " in line]
    assert len(lines) == 3
    assert len({line.index("by ") for line in lines[:2]}) == 1
    assert "Step 2: the adjoint" in text
    assert "X is all that varies" in text
    assert "rank(X) constant" in text
    assert "signs of U's columns" in text
    assert "A    = X.T @ X + eps * eye(n)" in text  # an intermediate variation has a letter
    assert all(line == line.rstrip() for line in text.splitlines())


def test_every_format_states_the_projection_convention():
    derivation = matrix_function(sp.log(scalar.X), {"X": "n n positive_definite"}, "X")
    for rendered in (derivation.to_text(), derivation.to_markdown(), derivation.to_latex(),
                     derivation.to_html()):  # fmt: skip
        assert "projected" in rendered


def test_html_is_one_well_formed_page_without_script():
    page = o2p().to_html()
    assert "<script" not in page
    assert not re.search(r'(src|href)="', page)
    assert page.count("<math") > 10
    assert "prefers-color-scheme" in page
    ElementTree.fromstring(re.sub(r"<meta ([^>]*)>", r"<meta \1/>", page.partition("\n")[2]))


def test_markdown_and_latex_hold_the_same_formulas():
    derivation = o2p()
    gradient = r"\frac{\partial L}{\partial X} &= 2 X U"
    assert gradient in derivation.to_markdown()
    assert gradient in derivation.to_latex()
    assert derivation.to_markdown().count("$$") % 2 == 0


def test_notebooks_get_a_fragment_and_displays():
    derivation = o2p()
    assert "<html" not in derivation._repr_html_()
    assert "<math" in derivation._repr_html_()
    assert derivation._repr_latex_().startswith("$$")
    assert derivation._repr_markdown_() == derivation.to_markdown()


def test_an_output_of_a_decomposition_keeps_the_layers_letter():
    A = declare("A", "n n positive_definite")
    (L,) = RULEBOOK.call("cholesky", A)
    G = build.var("G", "n", "n")
    layer = Definition("chol", {"A": A}, {"T": L})
    data = json.loads(Derivation(layer, {"T": G}, {}, {}, {"A": L @ G}).to_json())
    assert data["gradients"]["A"] == "T @ G"
    assert data["where"]["T"]["of"] == "cholesky(A)"
    assert "T = cholesky(A)" in Derivation(layer, {"T": G}, {}, {}, {"A": L @ G}).to_text()


def test_json_writes_pi_as_a_number():
    derived = mbp.Layer.from_text("sum(erf(x))", x="n").derive()
    slope = json.loads(derived.to_json())["gradients"]["x"]
    assert "pi" not in slope
    assert "3.14159" in slope


@pytest.mark.parametrize(
    ("text", "shown"),
    [("logdet(X)", "scalar"), ("sumsq(X)", "scalar nonnegative"), ("exp(tr(X))", "scalar positive"),
     ("X @ X", "n n positive_semidefinite")],
)  # fmt: skip
def test_of_a_scalar_output_only_its_sign_is_declared(text, shown):
    layer = mbp.Layer.from_text(text, X="n n symmetric")
    assert json.loads(layer.derive().to_json())["outputs"] == {"Y": shown}
