"""The built-in layers' JSON, evaluated by a reader that knows nothing of the engine."""

import json

import numpy as np
import pytest

from mbp.layers import registry
from tests.language.interpreter import Interpreter

DIMS = {"m": 6, "n": 4, "d": 4, "k": 2}


def admissible(declaration, rng):
    """A random matrix with a declaration's structure, and a random admissible variation of it."""
    words = declaration.split()
    if words[0] == "scalar":
        return 0.7, 0.0
    shape = [DIMS[word] for word in words if word in DIMS]
    A, dA = rng.normal(size=shape), rng.normal(size=shape)
    match words[len(shape) :]:
        case ["partition"]:
            return np.eye(shape[1])[np.arange(shape[0]) % shape[1]], np.zeros(shape)
        case ["orthogonal"]:
            Q = np.linalg.qr(A)[0]
            return Q, Q @ (dA - dA.T)
        case ["diagonal", *_]:
            return np.diag(np.arange(1.0, shape[0] + 1)), np.diag(np.diag(dA))
        case ["positive_definite"]:
            return A @ A.T + np.eye(shape[0]), dA + dA.T
        case ["symmetric"]:  # of constant rank, nonnegative so that its row sums are positive
            B, dB = abs(A[:, 2:]), dA[:, 2:]
            return B @ B.T, dB @ B.T + B @ dB.T
    return abs(A), dA


@pytest.mark.parametrize("name", registry())
def test_variation_and_gradient_of_the_json_are_adjoint(name):
    data = json.loads(registry()[name].derive().to_json())
    rng = np.random.default_rng(0)
    drawn = {name: admissible(text, rng) for name, text in data["inputs"].items()}
    if name == "eig":  # a spectrum of full rank, without ties
        drawn["X"] = (np.diag([1.0, 2.0, 4.0, 7.0]) + 0.1, drawn["X"][1])
    values = {name: value for name, (value, _) in drawn.items()}
    values |= {f"d({name})": variation for name, (_, variation) in drawn.items()}
    interpreter = Interpreter(values, DIMS, data["where"])
    forward = backward = size = 0.0
    cotangents = {}
    for output, letter in data["cotangents"].items():
        dY = interpreter.value(data["variations"][output])
        G = cotangents[letter] = rng.normal(size=dY.shape)
        forward += float((G * dY).sum())
        size += float(abs(G * dY).sum())
    interpreter = Interpreter(values | cotangents, DIMS, data["where"])
    for x, text in data["gradients"].items():
        gradient = interpreter.value(text)
        backward += float((gradient * drawn[x][1]).sum())
    assert size > 1e-3
    assert abs(forward - backward) <= 1e-10 * size
