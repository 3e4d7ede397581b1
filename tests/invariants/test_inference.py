"""Every inference rule is confirmed by numbers: what is inferred holds on random instances.

The expressions are all those that one or two operations make of variables with every property.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import sympy as sp

from mbp.errors import MbpError, PropertyError, ShapeError
from mbp.expr import build, scalar
from mbp.expr.nodes import Expr, Number, Var, Variation, col, row, topological, variables
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.invariants.infer import _RULES, has
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import Array
from mbp.numeric.evaluate import Interpreter
from mbp.numeric.instances import is_fixed, random_point, random_variation
from mbp.numeric.meanings import holds
from mbp.rulebook import RULEBOOK

SIZES = {"m": 4, "n": 3, "k": 2}
INSTANCES = 3
LARGEST = 8.0

SQUARE = {
    "A": "",
    "S": "symmetric",
    "K": "antisymmetric",
    "D": "diagonal",
    "D1": "diagonal nonnegative",
    "D2": "diagonal positive",
    "Q": "orthogonal",
    "Q1": "symmetric orthogonal",
    "L": "lower_triangular",
    "L1": "lower_triangular invertible",
    "L2": "strictly_lower_triangular",
    "L3": "unit_lower_triangular",
    "R": "upper_triangular",
    "P": "positive_definite",
    "P1": "positive_semidefinite",
    "P2": "projector",
    "N": "invertible",
    "W": "positive",
    "W1": "nonnegative",
    "W2": "symmetric positive",
}
TALL = {"F": "", "U": "orthonormal_columns", "F1": "full_column_rank", "E": "partition",
        "V": "positive", "V1": "nonnegative"}  # fmt: skip
VARIABLES: list[Var] = [
    *(declare(name, f"n n {text}") for name, text in SQUARE.items()),
    *(declare(name, f"m n {text}") for name, text in TALL.items()),
    declare("H", "n m full_row_rank"),
    declare("K1", "k k antisymmetric invertible"),
    declare("v", "n"),
    declare("v1", "n positive"),
    declare("v2", "n nonnegative"),
    declare("c", "scalar"),
    declare("c1", "scalar positive"),
    declare("c2", "scalar nonnegative constant"),
]
BY_NAME = {x.name: x for x in VARIABLES}


def leaves() -> list[Expr]:
    n, m = "n", "m"
    constants = [
        build.eye(n), build.ones(n, n), build.ones(m, n), build.zeros(n, n), build.zeros(m, n),
        build.number(2), build.number(-1), build.number(sp.Rational(1, 3)),
        build.dim_size(build.dim(n)),
    ]  # fmt: skip
    return [*VARIABLES, *constants]


def unary(A: Expr) -> Iterator[Expr]:
    yield A.T
    yield -A
    yield 3 * A
    yield BY_NAME["c"] * A
    yield BY_NAME["c1"] * A
    yield BY_NAME["c2"] * A
    if isinstance(A, Var):
        yield build.variation(A)
    for name in ("exp", "sigmoid", "softplus", "cosh", "sqrt", "abs", "relu", "tanh", "log", "sin"):
        yield build.apply(name, A)
    for p in (2, 3, sp.Rational(1, 2), -1):
        if p == 2 or p == 3 or has(A, "positive"):
            yield build.power(A, build.number(p))
    yield build.inner(A, A)
    yield build.sum_of(A)
    if not A.is_square or A.is_scalar:
        if A.cols == 1 and not A.is_scalar:
            yield build.diag(A)
        return
    for kind in ("sym", "skew", "diag", "lower", "strictly_lower", "upper", "strictly_upper"):
        yield build.part(kind, A)
    if has(A, "invertible"):
        yield build.inv(A)
    yield build.det(A)
    yield build.diag(A)
    if has(A, "symmetric"):
        for g in ("exp", "x**2", "sin", "1 + x**2", "1/(1 + exp(x))"):
            yield build.matfun(g, A)
            directions = [BY_NAME[X] for X in ("S", "K", "P", "D") if BY_NAME[X].shape == A.shape]
            for X in directions:
                yield build.frechet(scalar.parse_scalar(g), A, (), X)
    if has(A, "positive_definite"):
        for g in ("log", "sqrt", "1/x"):
            yield build.matfun(g, A)
    yield build.eye(A.rows) - A


def binary(A: Expr, B: Expr) -> Iterator[Expr]:
    for make in (
        lambda: A + B,
        lambda: A - B,
        lambda: A @ B,
        lambda: A.T @ B @ A,
        lambda: A @ B @ A.T,
        lambda: A.T @ B,
        lambda: A * B,
        lambda: build.inner(A, B),
        lambda: build.kron(A, B),
    ):
        try:
            yield make()
        except ShapeError:
            continue


def kernels() -> Iterator[Expr]:
    v, c = BY_NAME["v1"], BY_NAME["c1"]
    n = v.rows
    for entry in (row(0) + col(0), row(0) - col(0), row(1) / (row(0) + col(0)), row(0)):
        operands = (v, c) if entry.has(row(1)) else (v,)
        yield build.kernel(entry, None, operands, n, n)
        yield build.kernel(entry, sp.Integer(0), operands, n, n)


def outputs() -> Iterator[Expr]:
    for name, arguments in {
        "eig": ["S"], "cholesky": ["P"], "ldl": ["P"], "qr": ["F1"], "polar": ["F1"], "svd": ["F"],
        "projector": ["S"], "pinv": ["F"],
    }.items():  # fmt: skip
        yield from RULEBOOK.call(name, *(BY_NAME[argument] for argument in arguments))


@cache
def expressions() -> list[Expr]:
    base = leaves()
    found = {*base, *(e for A in base for e in unary(A)), *kernels(), *outputs()}
    found |= {e for A in base for B in base for e in binary(A, B)}
    # A second operation on a sample of the results, for rules that look two levels deep.
    sample = sorted(found, key=str)[::17]
    found |= {e for A in sample for e in unary(A)}
    found |= {e for A, B in zip(sample, sample[::-1], strict=True) for e in binary(A, B)}
    return sorted(found, key=str)


@cache
def environments() -> list[Interpreter]:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(INSTANCES):
        env: dict[object, object] = dict(SIZES)
        for x in VARIABLES:
            X = random_point(x, SIZES, rng, boundary=True)
            env[x], env[build.variation(x)] = X, random_variation(x, X, rng)
        found.append(Interpreter(env))
    return found


@cache
def values(e: Expr) -> list[Array]:
    """The values of e at the instances where everything in it is finite and of moderate size."""
    found = []
    with np.errstate(all="ignore"):
        for at in environments():
            if all((np.abs(at.value(node)) < LARGEST).all() for node in topological(e)):
                found.append(at.value(e))
    return found


def is_constant(e: Expr) -> bool:
    free = (node for node in topological(e) if isinstance(node, Var | Variation))
    return all(isinstance(node, Var) and is_fixed(node) for node in free)


@pytest.mark.parametrize("prop", VOCABULARY.names)
def test_what_is_inferred_holds_and_what_is_excluded_does_not(prop: str) -> None:
    wrong = []
    for e in expressions():
        answer = has(e, prop)
        if answer is None:
            continue
        if prop == "constant":
            right = is_constant(e) is answer
        elif VOCABULARY[prop].square and not e.is_square:
            right = answer is False
        elif answer:
            right = all(holds(prop, A) for A in values(e))
        else:
            right = not values(e) or not all(holds(prop, A) for A in values(e))
        if not right:
            wrong.append(f"{e}: {answer}")
    assert not wrong, f"{len(wrong)} wrong, such as\n" + "\n".join(wrong[:10])


def test_a_positive_diagonal_makes_a_matrix_positive_definite() -> None:
    W, F = declare("W", "m m diagonal positive"), declare("F", "m n full_column_rank")
    assert has(W, "positive_definite") and has(F.T @ W @ F, "positive_definite")
    value = random_point(W, SIZES, np.random.default_rng(0))
    assert holds("positive_definite", value)


def test_every_rule_answers_yes_for_some_expression() -> None:
    fired = {
        (prop, type(e))
        for e in expressions()
        for (prop, kind), rule in _RULES.items()
        if isinstance(e, kind) and rule(e) and values(e)
    }
    missed = {(prop, kind.__name__) for prop, kind in set(_RULES) - fired}
    assert not missed


@pytest.mark.parametrize("name", SQUARE)
def test_a_declared_property_is_never_lost(name: str) -> None:
    x = BY_NAME[name]
    for prop in VOCABULARY.closure(x.properties):
        assert has(x, prop) is True


def test_answers_have_three_values() -> None:
    assert has(BY_NAME["A"], "symmetric") is None
    assert has(BY_NAME["S"], "antisymmetric") is False
    assert has(BY_NAME["F"], "symmetric") is False
    with pytest.raises(PropertyError, match="unknown property 'round'"):
        has(BY_NAME["A"], "round")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n n symmetric antisymmetric", ["symmetric contradicts antisymmetric"]),
        ("n n positive_definite antisymmetric", ["contradicts"]),
        ("n n strictly_lower_triangular invertible", ["contradicts"]),
        ("n n strictly_lower_triangular unit_lower_triangular", ["contradicts"]),
        ("n n strictly_lower_triangular orthogonal", ["contradicts"]),
        ("n n lower_triangular positive", ["lower_triangular contradicts positive"]),
        ("n n antisymmetric positive", ["antisymmetric contradicts positive"]),
        ("n n unit_lower_triangular antisymmetric", ["contradicts"]),
        ("2 3 orthonormal_columns", ["2×3", "full_column_rank"]),
        ("3 2 full_row_rank", ["3×2", "full_row_rank"]),
        ("3 3 antisymmetric invertible", ["odd"]),
        ("m n symmetric", ["symmetric", "square", "m×n"]),
        ("n projector", ["square"]),
        ("n n round", ["round", "properties are"]),
        ("n n n", ["two dimensions"]),
        ("", ["empty"]),
        ("symmetric", ["no dimensions"]),
        ("n symmetric n", ["before properties"]),
        ("n scalar", ["scalar"]),
        ("0 n", ["positive"]),
        ("n-1 n", ["not a dimension"]),
    ],
)
def test_contradictory_and_malformed_declarations_are_errors(text: str, words: list[str]) -> None:
    with pytest.raises(MbpError) as caught:
        declare("Z", text)
    for word in ("Z", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name", ["for", "match", "G", "G_Y", "d", "1x", "a b", "sym", "_x", "torch"]
)
def test_names_that_cannot_be_used_are_errors(name: str) -> None:
    with pytest.raises(MbpError, match=r"name|reserved|function"):
        declare(name, "n")


def test_numbers_and_dimensions_are_constant() -> None:
    assert has(Number(data=(sp.Integer(3),)), "positive") is True
    assert not variables(build.dim_size(build.dim("n")))


def test_congruences_with_antisymmetric_factors():
    declarations = {"K": "n n antisymmetric", "S": "n n symmetric", "P": "n n positive_definite",
                    "X": "n m"}  # fmt: skip
    letters = {name: declare(name, text) for name, text in declarations.items()}

    def said(text: str, prop: str) -> bool:
        return has(parse(text, letters, RULEBOOK.functions), prop) is True

    assert said("K @ S @ K", "symmetric") and said("K @ K", "symmetric")
    assert said("-K @ P @ K", "positive_semidefinite")
    assert said("-2 * K @ K", "positive_semidefinite")
    assert said("eye(n) - K @ P @ K", "positive_definite")
    assert not said("K @ P @ K", "positive_semidefinite")
    assert not said("-K @ S @ K", "positive_semidefinite")
    assert not said("P @ P @ P - K @ P", "symmetric")
    assert said("X.T @ K @ X", "antisymmetric") and said("K @ K @ K", "antisymmetric")
    assert not said("X.T @ K @ X", "symmetric")


def test_congruences_with_sums_that_are_transposes_of_each_other():
    declarations = {"C": "n n", "X": "n n", "R": "n n symmetric", "K": "n n antisymmetric"}
    letters = {name: declare(name, text) for name, text in declarations.items()}

    def said(text: str) -> bool:
        return has(parse(text, letters, RULEBOOK.functions), "symmetric") is True

    assert said("(C.T + R) @ R @ (C + R)")
    assert said("(X.T @ C - R @ K) @ (K @ R + C.T @ X)")
    assert not said("(X.T @ C + R @ K) @ (K @ R + C.T @ X)")
    assert not said("(C + R) @ R @ (C + R)")
    assert said("C + C.T") and said("X.T @ C + R + C.T @ X") and not said("C + X.T")


def test_congruences_with_elementwise_functions_that_are_transposes_of_each_other():
    declarations = {"C": "n n", "X": "n n", "R": "n n symmetric"}
    letters = {name: declare(name, text) for name, text in declarations.items()}

    def said(text: str, prop: str = "symmetric") -> bool:
        return has(parse(text, letters, RULEBOOK.functions), prop) is True

    assert said("(R * abs(C.T)) @ (abs(C) * R)")
    assert said("(R @ (C ** 3).T + tanh(X).T) @ R @ (C ** 3 @ R + tanh(X))")
    assert said("(C * X).T @ (X * C)") and not said("(C * X.T) @ (X * C)")
    assert said("C ** 2 - (C ** 2).T", "antisymmetric")
    assert not said("C ** 2 + (C ** 2).T", "antisymmetric")
