"""A built-in layer is called like a function of PyTorch, on tensors and inside another layer."""

import pytest
import torch

import mbp
from mbp.expr.nodes import Expr
from mbp.layers import eig, ncuts_j2, o2p, registry, svd


def test_one_output_is_a_tensor() -> None:
    F = torch.randn(2, 7, 3, dtype=torch.float64)
    assert o2p(F).shape == (2, 3, 3)
    assert o2p(F=F, eps=0.5).shape == (2, 3, 3)


def test_several_outputs_are_a_tuple_in_the_order_of_their_letters() -> None:
    X = torch.randn(5, 3, dtype=torch.float64)
    U, S, V = svd(X)
    torch.testing.assert_close(U @ torch.diag(S) @ V.T, X)


def test_layers_compose_as_expressions() -> None:
    @mbp.layer(X="m n", E="m k partition")
    def both(X: Expr, E: Expr) -> tuple[Expr, Expr]:
        C = o2p(X, 0.1)
        U, Q = eig(C)
        return mbp.tr(U @ Q @ U.T @ C), ncuts_j2(X, mbp.eye("n"), E)

    assert both.derive().gradients["X"].shape == both.definition.inputs["X"].shape
    assert max(error for _, error in both.derive().verify()) < 1e-10


def test_a_dict_layer_gives_a_dict() -> None:
    @mbp.layer(X="m n")
    def gram(X: Expr) -> dict[str, Expr]:
        return {"left": X @ X.T, "right": X.T @ X}

    assert list(gram(torch.ones(2, 3))) == ["left", "right"]
    assert not any(layer.definition.as_dict for layer in registry().values())


def test_what_is_no_real_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="F is neither a tensor nor an expression"):
        o2p(torch.ones(3, 2).numpy())
    with pytest.raises(TypeError, match="complex"):
        o2p(torch.ones(3, 2, dtype=torch.complex64))


def test_a_definition_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="declare the arguments"):
        mbp.layer(lambda F: F)
    with pytest.raises(ValueError, match="a declaration is a text"):
        mbp.layer(F=(3, 4))(lambda F: F)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not None"):
        mbp.layer(F="m d")(lambda F: None)  # type: ignore[arg-type, return-value]
