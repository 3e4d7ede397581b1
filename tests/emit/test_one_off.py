"""A one-off layer's module differentiates twice, computes in enough precision, names bad shapes."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mbp.api import one_off_layer
from mbp.emit import emit_text, load
from mbp.errors import MbpError
from mbp.verify.bridge import emitted_function

DTYPE = torch.float64


@pytest.fixture(scope="module")
def o2p():
    layer = one_off_layer(
        "logm(F.T @ F + eps * eye(d))", {"F": "m d", "eps": "scalar positive constant"}, "o2p"
    )
    derivation = layer.derive()
    module = load(emit_text(derivation), "o2p")
    return lambda F: module.o2p(F, 1e-2)


@pytest.fixture
def F():
    return torch.randn(5, 3, dtype=DTYPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(5, 3), (2, 3), (2, 4, 3), (1, 1)])
def test_first_and_second_derivatives_hold(o2p, shape):
    torch.manual_seed(0)
    F = torch.randn(*shape, dtype=DTYPE, requires_grad=True)
    assert gradcheck(o2p, (F,))
    assert gradgradcheck(o2p, (F,))


def test_derivatives_hold_at_repeated_singular_values(o2p):
    torch.manual_seed(0)
    F = torch.linalg.qr(torch.randn(5, 3, dtype=DTYPE))[0].requires_grad_()
    assert gradcheck(o2p, (F,))
    assert gradgradcheck(o2p, (F,))


def test_without_a_second_derivation_double_backward_is_refused(F):
    derivation = one_off_layer("logm(F.T @ F)", {"F": "m d"}, "plain").derive()
    module = load(emit_text(derivation, second=None), "plain")
    x = F.clone().requires_grad_()
    (first,) = torch.autograd.grad(module.plain(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(first.sum(), x)


def test_half_precision_is_computed_in_float32(o2p, F):
    C = o2p(F.bfloat16())
    assert C.dtype == torch.bfloat16
    torch.testing.assert_close(C.double(), o2p(F.bfloat16().double()), rtol=1e-2, atol=1e-2)


def test_wrong_shapes_are_named():
    derivation = one_off_layer("A @ B", {"A": "m n", "B": "n p"}, "product").derive()
    module = load(emit_text(derivation), "product")
    with pytest.raises(ValueError, match=r"B has shape \(4, 2\).*n = 3"):
        module.product(torch.ones(2, 3), torch.ones(4, 2))


@pytest.mark.parametrize("name, shape", [("H", "m n"), ("H_grad_X", "m n"), ("X", "H m")])
def test_no_name_is_taken_for_that_of_a_second_cotangent(name, shape):
    layer = one_off_layer(f"sin({name})", {name: shape}, "layer")
    X = torch.randn(3, 2, dtype=DTYPE, requires_grad=True)
    assert gradgradcheck(load(emit_text(layer.derive()), "layer").layer, X)


def test_a_layer_with_nothing_to_differentiate_is_refused():
    layer = one_off_layer("E @ E.T", {"E": "m k partition"}, "same_class")
    with pytest.raises(MbpError, match="no input to differentiate"):
        emit_text(layer.derive())


def test_what_jumps_has_a_second_derivative_away_from_the_jump():
    layer = one_off_layer("sum(sign(X) * X ** 3)", {"X": "n n"}, "signed_cube")
    module = load(emit_text(layer.derive()), "signed_cube")
    X = torch.tensor([[1.0, -2.0], [3.0, -0.5]], dtype=DTYPE, requires_grad=True)
    assert gradgradcheck(module.signed_cube, (X,))


def test_a_network_with_a_compiled_layer_is_loaded_where_nothing_was_compiled(tmp_path):
    layer = one_off_layer("logm(F.T @ F + eps * eye(d))",
                          {"F": "m d", "eps": "scalar positive constant"}, "pooled")  # fmt: skip
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), layer.compile().Pooled(eps=1e-2))
    torch.save(network, tmp_path / "network.pt")
    X = torch.ones(2, 5, 3)
    torch.save(network(X), tmp_path / "expected.pt")
    program = (
        "import torch, mbp; network = torch.load('network.pt', weights_only=False); "
        "expected = torch.load('expected.pt'); "
        "assert torch.equal(network(torch.ones(2, 5, 3)), expected); print(network[1].eps)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.stdout == "0.01\n", done.stderr
    assert torch.equal(copy.deepcopy(network)(X), network(X))


def test_what_is_no_tensor_or_not_square_is_named():
    layer = one_off_layer("X @ W", {"X": "n n", "W": "n k"}, "product").compile().product
    with pytest.raises(TypeError, match="not of type ndarray"):
        layer(torch.ones(4, 4).numpy(), torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"X has shape \(6, 4\).* with n = 6"):
        layer(torch.ones(6, 4), torch.ones(6, 3))
    with pytest.raises(ValueError, match=r"W has shape \(5, 3\).* with n = 4"):
        layer(torch.ones(4, 4), torch.ones(5, 3))


class _WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Y):
        return Y.clone()

    @staticmethod
    def backward(ctx, G):
        return None


@pytest.mark.parametrize("text", ["logdet(A @ A.T + eye(m))", "inv(A @ A.T + eye(m))"])
def test_an_output_without_cotangent_counts_as_zero(text):
    layer = load(emit_text(one_off_layer(text, {"A": "m k"}, "layer").derive()), "layer").layer
    A = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(_WithoutGradient.apply(layer(A)).sum(), A)
    assert torch.equal(grad, torch.zeros_like(A))


@pytest.mark.parametrize("target", ["torch", "numpy"])
@pytest.mark.parametrize("empty", [((2, 3), (0, 4)), ((0, 3), (4, 2)), ((2, 0), (4, 0))])
def test_a_kronecker_product_of_empty_matrices_has_empty_gradients(empty, target):
    layer = one_off_layer("kron(A, B)", {"A": "m n", "B": "p q"}, "product")
    function = emitted_function(layer, target)
    A, B = (torch.ones(*shape, dtype=DTYPE, requires_grad=True) for shape in empty)
    function(A=A, B=B).sum().backward()
    assert (A.grad.shape, B.grad.shape) == empty and not A.grad.any() and not B.grad.any()


@pytest.mark.parametrize("target", ["torch", "numpy"])
@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ("sumsq(X) / (2 * tr(eye(m)))", 0, "needs m != 0, not m = 0"),
        ("X / sqrt(tr(eye(m)) - 1)", 1, "needs m - 1 != 0, not m = 1"),
        ("log(tr(eye(m))) * X", 0, "needs m != 0, not m = 0"),
    ],
)
def test_a_dimension_that_is_divided_by_is_asked_for(text, rows, said, target):
    layer = one_off_layer(text, {"X": "m n"}, "scaled")
    function = emitted_function(layer, target)
    with pytest.raises(ValueError, match=said):
        function(X=torch.ones(rows, 3, dtype=DTYPE))
    assert torch.isfinite(function(X=torch.ones(4, 3, dtype=DTYPE))).all()


@pytest.mark.parametrize("target", ["torch", "numpy", "jax"])
def test_a_value_of_numbers_alone_is_a_scalar(target):
    layer = one_off_layer("logdet(M) - logdet(-2 * M.T)", {"M": "m m"}, "difference")
    value = emitted_function(layer, target)(M=torch.randn(3, 3, dtype=DTYPE))
    assert value.shape == () and value == pytest.approx(-3 * math.log(2))
