"""A product's storage is reused only where no batch and no other reader can tell."""

import pytest
import torch

from mbp.api import one_off_layer
from mbp.emit import emit_text, load

torch.manual_seed(0)
DECLARED = {"A": "m k", "B": "k n", "C": "m n"}
SIZES = {"m": 3, "k": 2, "n": 4}


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
    ],
)
def test_in_place_only_what_depends_on_all_that_the_other_does(text, in_place):
    source, layer, names = emitted(text)
    forward = source[source.index("def _forward") : source.index("def _gradients")]
    assert any(word in forward for word in (".mul_(", ".add_(", ".sub_(")) == in_place
    inputs = {name: matrix(dims) for name, dims in names.items()}
    expected = eval(text, {**inputs, "tanh": torch.tanh})
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
