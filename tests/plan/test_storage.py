"""Narrow products are stored by columns, results by rows; a sum serves all its multiples."""

import inspect

import pytest
import torch

from mbp.api import one_off_layer
from mbp.emit import emit_text, load
from mbp.generated import ncuts_j2

torch.manual_seed(0)
DECLARED = {"A": "m k", "B": "k n", "C": "m n"}
SIZES = {"m": 7, "k": 3, "n": 2}


def emitted(text: str):
    """The lines of the forward and the backward pass, the layer, and inputs for it."""
    names = {name: dims for name, dims in DECLARED.items() if name in text}
    source = emit_text(one_off_layer(text, names, "layer").derive())
    inputs = [
        torch.randn(*(SIZES[n] for n in dims.split()), dtype=torch.float64, requires_grad=True)
        for dims in names.values()
    ]
    passes = source[source.index("def _forward") : source.index("def _variations")]
    lines = [line for line in passes.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(lines), load(source, "layer").layer, inputs


@pytest.mark.parametrize("text", ["A @ B", "2 * A @ B - C", "tanh(A @ B)", "C * (A @ B)"])
def test_results_are_stored_by_rows_and_gradients_too(text):
    passes, layer, inputs = emitted(text)
    Y = layer(*inputs)
    assert Y.is_contiguous()
    assert all(X.is_contiguous() for X in torch.autograd.grad(Y.square().sum(), inputs))
    assert "B.mT @ A.mT" not in passes


def test_a_narrow_product_within_is_stored_by_columns():
    passes, layer, inputs = emitted("sumsq(tanh(A @ B))")
    assert passes.count("(B.mT @ A.mT).mT") == 1
    assert "A @ B" not in passes
    assert torch.autograd.gradcheck(layer, inputs)


def test_a_sum_is_computed_once_for_all_its_multiples():
    passes, layer, inputs = emitted("sumsq(C - A @ B)")  # C - A @ B, 2 (A @ B - C), 2 (C - A @ B)
    assert passes.count("A @ B") == 1
    assert passes.count("C - ") == 1
    assert torch.autograd.gradcheck(layer, inputs)


def test_a_tall_product_that_is_only_read_transposed_is_computed_so():
    source = inspect.getsource(ncuts_j2)
    passes = source[source.index("def _forward") : source.index("def _second_gradients")]
    assert "T1 @ (-2 * G[..., None, None] * v1 * T2)" in passes
    assert "T2.mT" not in passes
