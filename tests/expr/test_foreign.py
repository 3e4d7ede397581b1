"""What users of NumPy and PyTorch write for an expression: an operator works, the rest is told."""

import numpy as np
import pytest
import torch

import mbp
from mbp.expr.foreign import _HERE

X = mbp.parse("X", X="n n")


@pytest.mark.parametrize(
    "value", [np.float64(2), np.array(2.0), torch.tensor(2.0), np.float32(2), np.int64(2)]
)
def test_a_number_of_another_library_is_a_number(value):
    for Y in (value * X, X * value):
        assert Y is 2 * X
    assert X / value is X / 2


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (np.exp, "exp(A)"), (np.trace, "tr(A)"), (np.sum, "sum(A)"), (np.linalg.inv, "inv(A)"),
        (np.arctan, "atan(A)"), (torch.exp, "exp(A)"), (torch.trace, "tr(A)"),
        (torch.linalg.inv, "inv(A)"), (torch.sum, "sum(A)"), (np.cumsum, "not with expressions"),
    ],
)  # fmt: skip
def test_a_function_of_another_library_names_the_one_here(function, hint):
    with pytest.raises(mbp.MbpError) as told:
        function(X)
    assert hint in str(told.value)


@pytest.mark.parametrize("array", [np.eye(3), torch.eye(3)])
def test_an_array_is_asked_to_be_an_input(array):
    for product in (lambda: X @ array, lambda: array @ X):
        with pytest.raises(mbp.MbpError, match="give the layer an input"):
            product()


def test_attributes_and_entries_of_arrays_are_told():
    with pytest.raises(AttributeError, match=r"write A\.T"):
        X.transpose()
    with pytest.raises(AttributeError, match=r"no attribute 'whatever'$"):
        _ = X.whatever
    with pytest.raises(mbp.MbpError, match="no entries or slices"):
        X[0, 0]
    assert not hasattr(X, "numpy") and abs(X) is mbp.abs(X)


def test_every_scalar_function_of_the_grammar_is_one_of_the_package():
    assert mbp.sinh(X) is mbp.parse("sinh(X)", X="n n")
    with pytest.raises(AttributeError, match=r"it is written tr\(A\)"):
        mbp.trace(X)


@pytest.mark.parametrize(
    ("name", "called"),
    [("svd", 'mbp.rule("svd")(A)'), ("eigh", 'mbp.rule("eig")(A)'), ("solve", "inv(A) @ B"),
     ("svdvals", 'mbp.rule("svd")(A)[1]'), ("ldl", 'mbp.rule("ldl")(A)')],
)  # fmt: skip
def test_a_decomposition_is_told_as_it_is_called_in_python(name, called):
    with pytest.raises(AttributeError) as told:
        getattr(mbp, name)
    assert str(told.value).endswith(f"it is written {called}")


@pytest.mark.parametrize(
    "function", [np.linalg.svd, np.linalg.qr, torch.linalg.svd, torch.linalg.eigh]
)
def test_a_decomposition_of_another_library_names_the_call_here(function):
    with pytest.raises(mbp.MbpError, match=r'write mbp\.rule\("\w+"\)\(A\)'):
        function(X)


def test_triangles_are_functions_of_the_package():
    assert mbp.tril(X) is mbp.parse("tril(X)", X="n n")
    assert mbp.triu(X, 1) is mbp.parse("triu(X, 1)", X="n n")
    with pytest.raises(mbp.MbpError, match="k = 0 or k = -1"):
        mbp.tril(X, 2)


@pytest.mark.parametrize("name", _HERE)
def test_a_name_from_elsewhere_is_told_how_it_is_written(name):
    text = name if len(name) == 1 else f"{name}(X)"
    with pytest.raises(mbp.MbpError, match="it is written"):
        mbp.parse(text, X="n n")
