"""Layers that a loop over expressions defines: short to derive, right, and no dearer than autograd.

The witnesses are the same loops run on tensors and differentiated by autograd.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import mbp
from mbp.api import Layer
from mbp.errors import MbpError
from mbp.expr.nodes import Expr, Named, topological
from mbp.verify.proof import adjoint_error, gradient_error
from tests.language.interpreter import Interpreter

TOLERANCE = 1e-11
DIGITS = 1e-20
N, M = 12, 16
VECTORS = 8 * 4 * 2 * M * N
"""The flops of four products with a vector in each of eight turns, which PyTorch does not count."""


class _Torch:
    """The functions of expressions that the loops below use, of tensors."""

    inv = staticmethod(torch.linalg.inv)
    tanh = staticmethod(torch.tanh)
    tr = staticmethod(torch.trace)
    norm = staticmethod(torch.linalg.norm)

    @staticmethod
    def eye(n: str) -> Tensor:
        return torch.eye({"n": N, "m": M}[n], dtype=torch.float64)

    @staticmethod
    def sym(A: Tensor) -> Tensor:
        return (A + A.mT) / 2


def newton_schulz(np: Any, A: Any, *, steps: int = 5) -> Any:
    """iSQRT-COV: Y₀ = A/tr A, Z₀ = I; Y ← ½Y(3I − ZY), Z ← ½(3I − ZY)Z; √(tr A) Y."""
    identity = np.eye("n")
    Y, Z = A / np.tr(A), identity
    for _ in range(steps):
        Y, Z = Y @ (3 * identity - Z @ Y) / 2, (3 * identity - Z @ Y) @ Z / 2
    return np.tr(A) ** 0.5 * Y


def polar(np: Any, X: Any) -> Any:
    """The orthogonal factor by an odd polynomial of X."""
    X = X / np.norm(X)
    for _ in range(4):
        A = X @ X.T
        X = 3.4 * X + (2 * A @ A - 4.7 * A) @ X
    return X


def babylonian(np: Any, A: Any) -> Any:
    """X ← ½(X + X⁻¹A)."""
    X = A
    for _ in range(9):
        X = (X + np.inv(X) @ A) / 2
    return X


def symmetrized(np: Any, S: Any) -> Any:
    """X ← ½ sym(X(3I − X²))."""
    X = S
    for _ in range(4):
        X = np.sym(X @ (3 * np.eye("n") - X @ X)) / 2
    return X


def gated(np: Any, W: Any, h: Any) -> Any:
    """h ← h + tanh(W h) ∘ h."""
    for _ in range(8):
        h = h + np.tanh(W @ h) * h
    return h


def descent(np: Any, F: Any, b: Any, x: Any) -> Any:
    """x ← x − ⅛Fᵀ(F x − b)."""
    for _ in range(8):
        x = x - F.T @ (F @ x - b) / 8
    return x


LOOPS: dict[Callable[..., Any], dict[str, str]] = {
    newton_schulz: {"A": "n n positive_definite"},
    polar: {"X": "m n"},
    babylonian: {"A": "n n positive_definite"},
    symmetrized: {"S": "n n symmetric"},
    gated: {"W": "n n", "h": "n"},
    descent: {"F": "m n", "b": "m", "x": "n"},
}


@cache
def layer_of(loop: Callable[..., Any], **options: int) -> Layer:
    names = LOOPS[loop]
    inputs = {name: mbp.parse(name, **{name: text}) for name, text in names.items()}
    Y = loop(mbp, *inputs.values(), **options)
    return Layer(mbp.Definition(loop.__name__, inputs, {"Y": Y}, doc=loop.__doc__ or ""))


def point_of(loop: Callable[..., Any]) -> list[Tensor]:
    torch.manual_seed(0)
    point = []
    for text in LOOPS[loop].values():
        sizes = [{"n": N, "m": M}[n] for n in text.split() if n in "mn"]
        X = torch.rand(*sizes, dtype=torch.float64) / N**0.5
        if "symmetric" in text:
            X = (X + X.mT) / 4
        if "positive_definite" in text:
            X = X @ X.mT + torch.eye(N, dtype=torch.float64) / 4
        point.append(X.requires_grad_())
    return point


def gradients(Y: Tensor, point: list[Tensor]) -> tuple[tuple[Tensor, ...], float]:
    """The gradients at a fixed cotangent, and the flops of the products that they take."""
    G = torch.linspace(-1, 1, Y.numel(), dtype=Y.dtype).reshape(Y.shape)
    counter = FlopCounterMode(display=False)
    with counter:
        found = torch.autograd.grad(Y, point, G)
    return found, counter.get_total_flops()


def named(*roots: Expr) -> list[Named]:
    return [node for node in topological(*roots) if isinstance(node, Named)]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_gradients_of_a_loop_are_those_of_autograd_at_no_greater_cost(
    loop: Callable[..., Any],
) -> None:
    point, layer = point_of(loop), layer_of(loop)
    Y, expected = layer(*point), loop(_Torch, *point)
    assert torch.linalg.norm(Y - expected) < TOLERANCE * torch.linalg.norm(expected)
    found, flops = gradients(Y, point)
    right, most = gradients(expected, point)
    for G, R, text in zip(found, right, LOOPS[loop].values(), strict=True):
        M = _Torch.sym(R) if "symmetric" in text or "definite" in text else R
        assert torch.linalg.norm(G - M) < TOLERANCE * torch.linalg.norm(M)
    assert flops <= 1.5 * max(most, VECTORS)


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_variation_and_gradient_of_a_loop_hold_in_fifty_digits(loop: Callable[..., Any]) -> None:
    derivation = layer_of(loop).derive()
    assert named(*derivation.gradients.values(), *derivation.variations.values())
    assert adjoint_error(derivation) < DIGITS
    assert gradient_error(derivation) < DIGITS


def test_every_line_of_a_proof_with_named_intermediates_holds() -> None:
    for step, error in layer_of(newton_schulz, steps=3).derive().verify():
        assert error < DIGITS, step


def test_second_derivatives_of_a_loop() -> None:
    (A,) = point_of(newton_schulz)
    assert torch.autograd.gradgradcheck(layer_of(newton_schulz, steps=3), A[:4, :4].detach()
                                        .requires_grad_())  # fmt: skip


def test_derivation_grows_with_the_steps_as_the_loop_does() -> None:
    short, long = (len(str(layer_of(newton_schulz, steps=k).derive())) for k in (4, 8))
    assert long < 3 * short


def test_three_products_a_step_however_the_loop_is_written() -> None:
    products = [
        node for node in named(layer_of(newton_schulz).definition.outputs["Y"])
        if " @ " in str(node.args[0])
    ]  # fmt: skip
    assert len(products) <= 3 * 5


def test_a_short_layer_names_nothing() -> None:
    assert not named(layer_of(newton_schulz, steps=2).definition.outputs["Y"])


def test_names_are_none_of_the_layers_own() -> None:
    S1 = mbp.parse("S1", S1="n n")
    X = S1
    for _ in range(6):
        X = X @ X - S1
    definition = mbp.Definition("cubes", {"S1": S1}, {"S": X})
    names = [node.name for node in named(definition.outputs["S"])]
    assert names and len(set(names)) == len(names)
    assert not {"S", "S1"} & set(names)


def test_layers_that_name_alike_compose() -> None:
    root = layer_of(newton_schulz)
    A, B = (mbp.parse(name, **{name: "n n positive_definite"}) for name in "AB")
    X = root(A)
    for _ in range(3):
        X = X @ (X - root(B)) + X
    derivation = mbp.Layer(mbp.Definition("composed", {"A": A, "B": B}, {"Y": X})).derive()
    names = [node.name for node in named(derivation.definition.outputs["Y"])]
    assert len(set(names)) < len(names)
    assert adjoint_error(derivation) < DIGITS
    assert gradient_error(derivation) < DIGITS
    where = str(derivation).partition("where\n")[2].partition("\n\n")[0]
    defined = [line.split(" = ")[0].strip() for line in where.splitlines()]
    assert len(set(defined)) == len(defined)


def test_json_defines_every_name_that_its_gradient_uses() -> None:
    layer = layer_of(newton_schulz, steps=3)
    data = json.loads(layer.derive().to_json())
    (A,) = point_of(newton_schulz)
    G = torch.linspace(-1, 1, A.numel(), dtype=A.dtype).reshape(A.shape)
    values = {"A": A.detach().numpy(), "G": G.numpy(), "d(A)": A.detach().numpy()}
    read = Interpreter(values, {"n": N}, data["where"]).value(data["gradients"]["A"])
    (right,) = torch.autograd.grad(newton_schulz(_Torch, A, steps=3), A, G)
    assert abs(read - _Torch.sym(right).numpy()).max() < TOLERANCE


def test_where_says_what_a_name_stands_for() -> None:
    derivation = layer_of(newton_schulz, steps=3).derive()
    for text in (str(derivation), derivation.to_latex(), layer_of(newton_schulz).emit_text()):
        assert "S1" in text or "S_{1}" in text
    assert "S1   = 3 * eye(n) - A / tr(A)" in str(derivation)


def test_what_doubles_with_every_turn_is_refused_by_name() -> None:
    A = mbp.parse("A", A="n n")
    with pytest.raises(MbpError, match=r"a product of 8192 factors, .* fewer turns .* powm"):
        for _ in range(20):
            A = A @ A
