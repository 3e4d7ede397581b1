"""Storage is reused only where no batch and no other reader can tell."""

import pytest
import torch

from mbp.api import one_off_layer
from mbp.emit import emit_text, load

torch.manual_seed(0)
DECLARED = {"A": "m k", "B": "k n", "C": "m n"}
SIZES = {"m": 3, "k": 2, "n": 4}
FUNCTIONS = {
    "tanh": torch.tanh, "sin": torch.sin, "diag": lambda v: torch.diag(v[:, 0]), **SIZES,
    "eye": lambda n: torch.eye(n, dtype=torch.float64),
    "ones": lambda n: torch.ones(n, 1, dtype=torch.float64),
}  # fmt: skip
WORDS = (".mul_(", ".add_(", ".sub_(", ".neg_(", "_add_to_diagonal(")


def emitted(text: str):
    names = {name: dims for name, dims in DECLARED.items() if name in text}
    source = emit_text(one_off_layer(text, names, "layer").derive())
    return source, load(source, "layer").layer, names


def matrix(dims: str) -> torch.Tensor:
    return torch.randn(*(SIZES[n] for n in dims.split()), dtype=torch.float64)


@pytest.mark.parametrize(
    ("text", "in_place"),
    [
        ("(A @ B) * C", False),
        ("A @ B + C", False),
        ("(A @ B) * tanh(A @ B)", False),
        ("A @ A.T @ A + tanh(A)", True),
        ("A @ (B @ B.T) - tanh(A)", True),
        ("tanh(A) - A @ (B @ B.T)", True),
        ("tanh(A) * sin(A) * A - A", True),
        ("tanh(A) - A", False),
        ("A @ A.T + 2 * eye(m)", True),
        ("A @ A.T - diag(A @ ones(k))", True),
    ],
)
def test_in_place_only_what_depends_on_all_that_the_others_do(text, in_place):
    source, layer, names = emitted(text)
    forward = source[source.index("def _forward") : source.index("def _gradients")]
    assert any(word in forward for word in WORDS) == in_place
    inputs = {name: matrix(dims) for name, dims in names.items()}
    expected = eval(text, {**inputs, **FUNCTIONS})
    torch.testing.assert_close(layer(**inputs), expected)
    for k, batched in enumerate(names):
        given = [matrix(names[name]) for name in names]
        samples = torch.stack([matrix(names[batched]) for _ in range(2)])
        axes = tuple(0 if j == k else None for j in range(len(names)))
        given[k] = samples
        found = torch.func.vmap(layer, in_dims=axes)(*given)
        for sample, one in zip(samples, found, strict=True):
            given[k] = sample
            torch.testing.assert_close(one, layer(*given))
    torch.autograd.gradcheck(layer, [X.requires_grad_() for X in inputs.values()])
    torch.autograd.gradgradcheck(layer, list(inputs.values()))
