"""Products and sums that meet themselves, their transposes or a partition keep their value."""

import pytest
import torch

import mbp


@pytest.mark.parametrize("text", ["sumsq(x - y)", "norm(x - y) ** 2", "sum((x - y) * (x - y))"])
def test_a_difference_of_columns_is_squared(text):
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    assert mbp.Layer.from_text(text, x="n", y="n")(x, y) == pytest.approx(13.0)


def test_the_symmetric_part_of_an_outer_product_is_itself():
    text = "inner(x @ x.T @ E @ E.T, H @ H - eye(m))"
    layer = mbp.Layer.from_text(text, x="m", E="m k partition", H="m m symmetric")
    x, H = torch.ones(3, dtype=torch.float64), torch.ones(3, 3, dtype=torch.float64)
    E = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    layer(x.requires_grad_(), E, H).backward()
    assert x.grad.tolist() == [29.0, 29.0, 22.0]


def test_a_partition_times_its_transpose_masks_a_matrix():
    H = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    E = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    layer = mbp.Layer.from_text("H * (E @ E.T)", H="m m", E="m k partition")
    assert torch.equal(layer(H, E), H * (E @ E.T))
