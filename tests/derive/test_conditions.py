"""A derivation states what it needs, in the letters of its layer and in one vocabulary."""

import pytest

import mbp
from mbp.layers import registry

CONDITIONS = {
    "svd": ("distinct(s)", "nonzero(s) when m > n"),
    "svd_full": ("distinct(s)", "nonzero(s) when m > n"),
    "eig": ("distinct(q)",),
    "projector": ("rank(A) constant",),
    "ncuts_j1": ("positive(F @ Lam @ F.T @ ones(m))", "rank(F) constant"),
    "ncuts_j2": ("rank(F) constant",),
    "ncuts_j2_affinity": ("rank(W) constant",),
    "normalized_affinity": ("positive(W @ ones(m))",),
    "o2p": (),
    "o2p_svd": (),
    "o2p_eig": (),
    "ncuts_j1_affinity": ("positive(W @ ones(m))", "rank(W) constant"),
    "eig_function": (),
    "affinity": (),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_built_in_layers_state_their_conditions(name: str) -> None:
    assert registry()[name].derive().conditions == CONDITIONS[name]


@pytest.mark.parametrize(
    ("text", "declarations", "conditions"),
    [
        ("svd(F)[2]", {"F": "m d"}, ("distinct(s)", "nonzero(s) when m > d")),
        ("svd(F)[0]", {"F": "d d"}, ("distinct(s)",)),
        ("svd(F)[0]", {"F": "5 3"}, ("distinct(s)", "nonzero(s) when 5 > 3")),
        ("projector(A)", {"A": "m k full_column_rank"}, ()),
        ("pinv(B @ C)", {"B": "m m invertible", "C": "m n"}, ("rank(C) constant",)),
        ("projector(A @ B.T)", {"A": "m r", "B": "n r constant"}, ("rank(A @ B.T) constant",)),
        ("inv(X)", {"X": "n n"}, ("X invertible",)),
        ("inv(X)", {"X": "n n positive_definite"}, ()),
        ("logdet(X)", {"X": "n n"}, ("X invertible",)),
        ("logm(X)", {"X": "n n symmetric"}, ("X positive_definite",)),
        ("tanh(X) + exp(X)", {"X": "n n"}, ()),
        ("sqrt(X)", {"X": "n"}, ("positive(X)",)),
        ("sum(1 / x)", {"x": "n"}, ("nonzero(x)",)),
        ("sum(1 / x)", {"x": "n constant"}, ()),
        ("cholesky(sym(X))", {"X": "n n"}, ("sym(X) positive_definite",)),
        ("polar(X)[0]", {"X": "m n"}, ("X full_column_rank",)),
        ("polar(X)[0]", {"X": "m n full_column_rank"}, ()),
    ],
)
def test_conditions_are_said_of_the_arguments_at_hand(
    text: str, declarations: dict[str, str], conditions: tuple[str, ...]
) -> None:
    assert mbp.Layer.from_text(text, **declarations).derive().conditions == conditions


def test_spectra_of_two_calls_have_two_letters() -> None:
    layer = mbp.Layer.from_text(
        "eig(A)[0] @ eig(B)[0]", A="n n symmetric", B="n n symmetric", q="scalar"
    )
    derivation = layer.derive()
    assert derivation.conditions == ("distinct(q1)", "distinct(q2)")
    assert [str(v) for v in derivation.spectra.values()] == ["diag(eig(A)[1])", "diag(eig(B)[1])"]
    assert "distinct(q2)   (q2 = diag(" in derivation.to_text()
