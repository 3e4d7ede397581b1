"""The Matrix Cookbook's derivatives: each gradient is right, and most print as in the book."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mbp
from mbp.expr import build
from mbp.expr.nodes import (
    Expr,
    Hadamard,
    Inner,
    Product,
    Scale,
    Sum,
    Trace,
    Var,
    topological,
    variables,
)
from mbp.expr.parser import parse
from mbp.invariants.declare import variable
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.evaluate import evaluate
from mbp.numeric.instances import curve, random_point, random_sizes, random_variation
from mbp.rulebook import RULEBOOK

STEP = 1e-5
DIRECTIONS = 4
SHARE_PRINTED_AS_IN_THE_BOOK = 0.8
LONGEST = 1.5


@dataclass(frozen=True)
class Equation:
    """One equation of the book; its right-hand side may be printed in several ways."""

    number: str
    text: str
    wrt: str
    let: dict[str, str]
    printed: tuple[str, ...]

    @property
    def names(self) -> dict[str, Expr]:
        return {name: variable(name, declaration) for name, declaration in self.let.items()}

    @property
    def function(self) -> Expr:
        return parse(self.text, self.names, RULEBOOK.functions)

    @property
    def book(self) -> tuple[Expr, ...]:
        names = {**self.names, "G": build.var("G", *self.function.shape)}
        return tuple(parse(text, names, RULEBOOK.functions) for text in self.printed)


def _equation(table: dict[str, Any]) -> Equation:
    printed = table["gradient"]
    printed = (printed,) if isinstance(printed, str) else tuple(printed)
    return Equation(table["number"], table["text"], table["wrt"], table["let"], printed)


with Path(__file__).with_name("derivatives.toml").open("rb") as file:
    EQUATIONS = [_equation(table) for table in tomllib.load(file)["equation"]]


@cache
def gradient_of(number: str) -> Expr:
    equation = next(each for each in EQUATIONS if each.number == number)
    return mbp.grad(equation.text, wrt=equation.wrt, **equation.let)


def _environment(
    equation: Equation, rng: np.random.Generator
) -> tuple[dict[Any, Any], Var, np.ndarray]:
    Y = equation.function
    names = {x.name: x for x in variables(Y)}
    sizes = random_sizes([Y, *equation.book], rng)
    env: dict[Any, Any] = dict(sizes)
    for x in names.values():
        env[x] = random_point(x, sizes, rng)
    G = build.var("G", *Y.shape)
    env[G] = rng.normal(size=evaluate(Y, env).shape)
    # A gradient makes every other variable constant, which a mention of it must match.
    for x in list(names.values()):
        if x.name != equation.wrt:
            fixed = build.var(x.name, x.rows, x.cols, (*x.properties, "constant"))
            env[fixed] = env[x]
    return env, names[equation.wrt], env[G]


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda each: each.number)
def test_gradient_is_the_derivative_projected(equation: Equation) -> None:
    rng = np.random.default_rng(7)
    env, x, G = _environment(equation, rng)
    Y = equation.function
    if Y.is_scalar:
        G = np.ones((1, 1))
    gradient = evaluate(gradient_of(equation.number), env)
    scale = max(1.0, np.abs(gradient).max())
    for _ in range(DIRECTIONS):
        dX = random_variation(x, env[x], rng)
        X = curve(x, env[x], dX)
        ahead, behind = (evaluate(Y, {**env, x: X(t)}) for t in (STEP, -STEP))
        difference = np.sum(G * (ahead - behind)) / (2 * STEP)
        assert np.sum(gradient * dX) == pytest.approx(difference, rel=1e-6, abs=1e-6 * scale)
    for prop in x.properties:
        M = build.var("M", *x.shape)
        tangent = evaluate(VOCABULARY[prop].project(M, x), {**env, M: gradient})
        np.testing.assert_allclose(tangent, gradient, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda each: each.number)
def test_gradient_equals_the_book(equation: Equation) -> None:
    env, *_ = _environment(equation, np.random.default_rng(11))
    gradient = evaluate(gradient_of(equation.number), env)
    for book in equation.book:
        np.testing.assert_allclose(gradient, evaluate(book, env), rtol=1e-8, atol=1e-9)


def test_gradients_print_as_in_the_book() -> None:
    lines = []
    for equation in EQUATIONS:
        gradient = gradient_of(equation.number)
        if _unordered(gradient) not in [_unordered(book) for book in equation.book]:
            lines.append(f"{equation.number}: {gradient}   for   {equation.book[0]}")
    share = 1 - len(lines) / len(EQUATIONS)
    summary = "\n".join([f"{share:.0%} of {len(EQUATIONS)} print as in the book, but not", *lines])
    print(summary)  # shown when the test fails, and by pytest -s
    assert share >= SHARE_PRINTED_AS_IN_THE_BOOK, summary


def test_gradients_are_hardly_longer_than_in_the_book() -> None:
    lines = []
    for equation in EQUATIONS:
        gradient = gradient_of(equation.number)
        longest = max(equation.book, key=_length)
        most = max(map(_count, equation.book))
        if _length(gradient) > LONGEST * _length(longest) or _count(gradient) > LONGEST * most:
            lines.append(f"{equation.number}: {gradient}   for   {longest}")
    assert not lines, "\n".join(lines)


def _length(expr: Expr) -> int:
    return len(str(expr).replace(" ", ""))


def _count(expr: Expr) -> int:
    return sum(1 for _ in topological(expr))


def _unordered(expr: Expr) -> Any:
    """What `expr` is up to the order of terms and of factors that may change places."""
    if isinstance(expr, Var):
        return expr.name
    if isinstance(expr, Scale):
        value, factors = build.scalar_factors(expr.args[0])
        inside = expr.args[1]
        if inside.is_scalar:
            more, rest = build.scalar_factors(inside)
            value, factors, inside = value * more, factors + rest, build.number(1)
        unordered = sorted(repr(_unordered(factor)) for factor in factors)
        return ("Scale", str(value), *unordered, _unordered(inside))
    if isinstance(expr, Trace) and isinstance(expr.args[0], Product):
        factors = [_unordered(factor) for factor in expr.args[0].args]
        rotations = [factors[k:] + factors[:k] for k in range(len(factors))]
        return ("Trace", *min(rotations, key=repr))
    parts = [_unordered(arg) for arg in expr.args]
    if isinstance(expr, Sum | Hadamard | Inner):
        parts.sort(key=repr)
    return (type(expr).__name__, str(expr.data), *parts)
