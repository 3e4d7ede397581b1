"""A sum that is multiplied by itself stays squared."""

import pytest
import torch

import mbp


@pytest.mark.parametrize("text", ["sumsq(x - y)", "norm(x - y) ** 2", "sum((x - y) * (x - y))"])
def test_a_difference_of_columns_is_squared(text):
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    assert mbp.Layer.from_text(text, x="n", y="n")(x, y) == pytest.approx(13.0)
