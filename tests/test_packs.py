"""Rule packs: what one may hold, how it is loaded, and that a bad one is refused by place."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mbp
from mbp.cli import main
from mbp.errors import RuleError
from mbp.invariants.vocabulary import VOCABULARY
from mbp.rulebook import RULEBOOK

PACK = """
[gram_factor]
input   = { X = "m n full_column_rank" }
output  = { L = "n n lower_triangular" }
defines = ["X.T @ X = L @ L.T"]
assumes = ["m >= n"]
forward = ["cholesky(X.T @ X)"]

[commuting]
square   = true
implies  = ["symmetric"]
equation = "X @ X.T == X.T @ X"
tangent  = "sym(M)"

[cosine_variation]
let = { X = "m n" }
expr = "cosh(X)"
variation = "sinh(X) * d(X)"

[square_of_reflection]
let = { R = "n n orthogonal symmetric" }
lhs = "R @ R"
rhs = "eye(n)"
source = "definition"

[root_of_commuting]
input   = { X = "n n commuting positive_definite" }
output  = { Y = "n n positive_definite" }
defines = ["Y @ Y = X"]
"""

ROTTEN = {
    "two rules of one name": ("[a]\nlhs = 'X'\n[a]\nlhs = 'X'", "'a'"),
    "built-in name": (
        "[cholesky]\ninput={A='n n'}\noutput={L='n n'}\ndefines=['A = L']",
        "already",
    ),
    "cycle": ("[p]\nimplies=['q']\n[q]\nimplies=['p']", "circle"),
    "unknown property": ("[p]\nimplies=['nothing']", "nothing"),
    "property equation": ("[p]\nequation='X @ == X'", "X @"),
    "equation shapes": (
        "[f]\ninput={A='m n'}\noutput={Y='m n'}\ndefines=['Y.T = A']",
        "n×m",
    ),
    "undetermined output": (
        "[f]\ninput={A='n n'}\noutput={Y='n n', Z='n n'}\ndefines=['Y = A']",
        "Z",
    ),
    "rewrite shapes": ("[w]\nlet={A='m n'}\nlhs='A @ A.T'\nrhs='A.T @ A'", "m×m"),
    "variation shapes": (
        "[v]\nlet={X='m n'}\nexpr='cosh(X)'\nvariation='d(X).T'",
        "n×m",
    ),
    "no kind": ("[k]\nsource='nowhere'", "cannot tell"),
    "forward": (
        "[f]\ninput={A='n n'}\noutput={Y='n n'}\ndefines=['Y = A']\nforward={torch='os.system'}",
        "os.system",
    ),
    "forward shapes": (
        "[f]\ninput={A='m n'}\noutput={Y='m n'}\ndefines=['Y = A']\nforward=['A.T']",
        "n×m",
    ),
    "not TOML": ("[f", "TOML"),
}


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    """The rules in force before, put back after the test."""
    before, properties = dict(RULEBOOK.__dict__), VOCABULARY.snapshot()
    yield
    RULEBOOK.__dict__.clear()
    RULEBOOK.__dict__.update(before)
    VOCABULARY.restore(properties)


def test_a_pack_holds_every_kind_of_rule(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(PACK)
    R = mbp.parse("R @ R @ A", R="n n orthogonal symmetric", A="n n")
    mbp.load_rules(tmp_path)
    assert str(mbp.grad("tr(gram_factor(X))", wrt="X", X="m n full_column_rank"))
    assert str(mbp.grad("sum(cosh(X))", wrt="X", X="m n")) == "sinh(X)"
    mbp.grad("tr(root_of_commuting(X))", wrt="X", X="n n commuting positive_definite")
    assert str(mbp.grad("tr(R @ R @ A)", wrt="A", R="n n orthogonal symmetric", A="n n")) == str(
        mbp.parse("eye(n)", A="n n")
    )
    assert R is not None


def test_a_rule_said_again_is_no_new_one(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(PACK)
    mbp.load_rules(tmp_path)
    (tmp_path / "cholesky.toml").write_text(
        "[cholesky]\n"
        "input = { A = 'n n positive_definite' }\n"
        "output = { L = 'n n lower_triangular' }\n"
        "defines = ['A = L @ L.T']\n"
        "forward = { torch = 'torch.linalg.cholesky' }"
    )
    known = list(RULEBOOK.decompositions)
    mbp.load_rules(tmp_path)
    assert list(RULEBOOK.decompositions) == known

    (tmp_path / "pack.toml").write_text(PACK.replace("sinh(X) * d(X)", "-sinh(X) * d(X)"))
    with pytest.raises(RuleError, match=r"cosine_variation.*already"):
        mbp.load_rules(tmp_path)


@pytest.mark.parametrize("kind", ROTTEN)
def test_a_bad_pack_names_file_entry_and_reason(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, word = ROTTEN[kind]
    (tmp_path / "bad.toml").write_text(text)
    known = (*RULEBOOK.decompositions, *VOCABULARY.names)
    assert main(["--rules", str(tmp_path), "layers"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "bad.toml" in said and word in said
    assert said.count("bad.toml") == 1
    assert kind == "not TOML" or f"[{text[1]}" in said or "twice" in said
    assert (*RULEBOOK.decompositions, *VOCABULARY.names) == known


def test_a_definition_that_fails_later_still_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "late.toml").write_text(
        "[half]\ninput={A='n n invertible'}\noutput={L='n n', M='n n'}\ndefines=['A = L @ M']"
    )
    mbp.load_rules(tmp_path)
    with pytest.raises(RuleError, match=r"late.toml: \[half\].*under-determined"):
        mbp.grad("tr(half(A)[0])", wrt="A", A="n n invertible")


@pytest.mark.parametrize(
    ("function", "said"),
    [("cholesy", "PyTorch has no function torch.linalg.cholesy"), ("qr", "returns 2 tensors")],
)
def test_a_forward_that_pytorch_does_not_have_is_named(
    function: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root.toml").write_text(
        "[root]\ninput={A='n n positive_definite'}\noutput={L='n n lower_triangular'}\n"
        f"defines=['A = L @ L.T']\nforward={{torch='torch.linalg.{function}'}}"
    )
    assert main(["--rules", str(tmp_path), "check", "root"]) == 2
    assert said in capsys.readouterr().err


def _installed(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    package, info = folder / "my_rules", folder / "my_rules-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('a pack is read, not run')")
    (package / "pack.toml").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mbp.rules]\nmine = my_rules\n")
    return subprocess.run(
        [sys.executable, "-m", "mbp", "derive", "gram_factor"], text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(folder)}, check=False,
    )


def test_packs_of_installed_packages_are_in_force(tmp_path: Path) -> None:
    done = _installed(tmp_path, PACK)
    assert done.returncode == 0, done.stderr
    assert "X.T @ X" in done.stdout


def test_a_bad_pack_of_an_installed_package_is_named(tmp_path: Path) -> None:
    done = _installed(tmp_path, "[f]\ninput={A='n n'}\noutput={Y='n n'}\ndefines=['Y.T @ A']")
    assert done.returncode == 2
    for word in ("entry point 'mine'", "pack.toml", "[f]", "not an equation"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
