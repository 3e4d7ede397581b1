"""Divided differences as emitted keep full relative accuracy, whether points are apart or meet."""

from functools import cache

import mpmath as mp
import pytest
import sympy as sp
import torch

from mbp.emit.dialects.torch import TORCH
from mbp.emit.scalars import scalar_piece
from mbp.emit.text import helpers
from mbp.errors import MbpError
from mbp.expr.scalar import X, derivative, parse_scalar
from mbp.plan.lowering import divided

FUNCTIONS = {
    "log": "positive",
    "sqrt": "positive",
    "exp": "any",
    "1/x": "positive",
    "1/sqrt(x)": "positive",
    "x**0.3": "positive",
    "x**(-0.7)": "positive",
    "x**1.5": "positive",
    "x**3": "any",
    "x**12": "any",
    "tanh": "any",
    "sigmoid": "any",
    "softplus": "any",
    "sin": "any",
    "cos": "any",
    "sinh": "any",
    "cosh": "any",
    "atan": "any",
    "erf": "bell",
    "asinh": "any",
    "x/(1 + x)": "positive",
    "log(1 + x)": "positive",
    "log(0.001 + x)": "positive",
    "exp(-2*x)": "any",
    "exp(-x**2)": "bell",
    "sqrt(1 + x**2)": "any",
    "x*log(x)": "positive",
    "x*exp(-x)": "positive",
    "log(1 + exp(x))**2": "any",
    "1/(1 + sqrt(x))": "positive",
    "tanh(log(x))": "positive",
    "log(x)/(1 + x)": "positive",
    "x**x": "positive",
}
GAPS = [0.0, 1e-14, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 2.0, 30.0]


def compiled(g, symbols):
    names = {s: s.name for s in symbols}
    arguments, (value, _) = ", ".join(names.values()), scalar_piece(g, names, TORCH)
    source = f"def f({arguments}):\n    return {value}\n"
    helper = "\n".join(helpers(TORCH, source))
    head = "from __future__ import annotations\nimport torch\nfrom torch import Tensor, nn\n"
    space = {}
    exec(head + helper + "\n" + source, space)
    return space["f"]


def points(domain, dtype):
    scales = [1e-6, 1e-3, 0.3, 1.0, 7.0][dtype == torch.float32 :]
    most = {"bell": 3, "any": 30, "positive": 30}[domain]
    bases = scales + [-s for s in scales] * (domain != "positive")
    found = [(b, b + abs(b) * gap) for b in bases for gap in GAPS if abs(b) * (1 + gap) < most]
    return torch.tensor(found, dtype=dtype).unbind(-1)


@cache
def exact(g, order):
    return sp.lambdify(X, sp.diff(g, X, order), "mpmath")


def exact_first(g, x, y):
    f, df = exact(g, 0), exact(g, 1)
    if x == y:
        return df(x)
    return (f(x) - f(y)) / (x - y)


def exact_second(g, x, y, z):
    x, y, z = sorted((x, y, z))
    if x == z:
        return exact(g, 2)(x) / 2
    return (exact_first(g, z, y) - exact_first(g, y, x)) / (z - x)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 5e-14), (torch.float32, 5e-5)])
def test_first_differences(name, dtype, bound):
    g = parse_scalar(name)
    x, y = points(FUNCTIONS[name], dtype)
    f = compiled(divided.first(g), (divided.X1, divided.X2))
    with mp.workdps(60):
        for a, b in ((x, y), (y, x)):
            for result, u, v in zip(f(a, b).expand(len(x)).tolist(), a.tolist(), b.tolist()):
                true = exact_first(g, mp.mpf(u), mp.mpf(v))
                scale = abs(true) + condition(g, u, v)
                assert abs(result - true) <= bound * scale, (u, v, result, true)


def condition(g, u, v):
    """How far rounding u and v moves the difference, relative to their last digits."""
    slope = exact(g, 2)
    return max(abs(u * slope(mp.mpf(u))), abs(v * slope(mp.mpf(v))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_differences(name):
    g = parse_scalar(name)
    x, y = (p[::2] for p in points(FUNCTIONS[name], torch.float64))
    f = compiled(divided.second(g), (divided.X1, divided.X2, divided.X3))
    third = exact(g, 3)
    with mp.workdps(80):
        for z in (x, (x + y) / 2, 2 * y):
            values = torch.as_tensor(f(x, y, z)).expand(len(x)).tolist()
            for result, u, v, w in zip(values, x.tolist(), y.tolist(), z.tolist()):
                true = exact_second(g, mp.mpf(u), mp.mpf(v), mp.mpf(w))
                scale = abs(true) + max(abs(t * third(mp.mpf(t))) for t in (u, v, w))
                assert abs(result - true) <= 1e-10 * scale, (u, v, w, result, true)


def test_differences_are_symmetric():
    x, y = points("positive", torch.float64)
    for name in ("log", "x**0.3", "x*log(x)", "tanh"):
        f = compiled(divided.first(parse_scalar(name)), (divided.X1, divided.X2))
        torch.testing.assert_close(f(x, y), f(y, x), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", ["sign", "floor"])
def test_functions_with_a_jump_are_refused(name):
    with pytest.raises(MbpError, match="no derivative"):
        divided.first(parse_scalar(name))


@pytest.mark.parametrize("name", ["abs", "relu", "relu(x - 1)*x"])
def test_functions_with_a_kink_have_a_first_difference_only(name):
    g = parse_scalar(name)
    f = compiled(divided.first(g), (divided.X1, divided.X2))
    value, slope = (sp.lambdify(X, e, "mpmath") for e in (g, derivative(g)))
    at = torch.tensor([-2.0, -1e-9, 1e-9, 0.5, 1.5, 1.5 + 1e-9, 3.0], dtype=torch.float64)
    x, y = (points.flatten() for points in torch.meshgrid(at, at, indexing="ij"))
    with mp.workdps(40):
        for result, u, v in zip(f(x, y).tolist(), x.tolist(), y.tolist()):
            u, v = mp.mpf(u), mp.mpf(v)
            true = (value(u) - value(v)) / (u - v) if u != v else slope(u)
            assert abs(result - true) <= 1e-13 * max(1, abs(true)), (u, v)
    with pytest.raises(MbpError, match="no second derivative"):
        divided.second(g)


def test_at_the_kink_itself_the_difference_is_the_derivative_there():
    zero = torch.zeros(1, dtype=torch.float64)
    for name in ("abs", "relu"):
        f = compiled(divided.first(parse_scalar(name)), (divided.X1, divided.X2))
        assert f(zero, zero) == 0
