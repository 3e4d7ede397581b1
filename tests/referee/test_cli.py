"""`mbp claim`: what it prints, its exit statuses, and how it refuses."""

import json

import pytest

from mbp.cli import main

KEYS = ["verdict", "conditions", "error", "correct", "mend", "counterexample"]
SQUARE = ["--let", "A: n n", "--let", "X: n n"]


def claimed(capsys, *arguments):
    status = main(["claim", *arguments, "--format", "json"])
    data = json.loads(capsys.readouterr().out)
    assert list(data) == KEYS
    return status, data


def test_a_gradient_that_holds_is_status_zero(capsys):
    status, data = claimed(capsys, "-e", "tr(A @ X)", *SQUARE, "--gradient", "X", "--is", "A.T")
    assert status == 0
    assert data["verdict"] == "holds"
    assert data["conditions"] == []
    assert data["correct"] is data["mend"] is data["counterexample"] is None


def test_a_condition_is_status_one_and_named(capsys):
    status, data = claimed(capsys, "-e", "tr(A @ X)", *SQUARE, "--gradient", "X", "--is", "A")
    assert (status, data["verdict"], data["conditions"]) == (1, "holds when", ["A symmetric"])
    assert data["correct"] == "A.T"


def test_a_wrong_formula_is_status_one_with_all_that_explains_it(capsys):
    status, data = claimed(
        capsys, "-e", "sumsq(X)", "--let", "X: m n", "--gradient", "X", "--is", "X"
    )
    assert (status, data["verdict"]) == (1, "wrong")
    assert data["correct"] == "2 * X"
    assert "factor 2" in data["mend"]
    assert data["counterexample"].startswith("import numpy as np")
    assert data["error"] > 0.1


def test_a_null_set_leaves_the_verdict(capsys):
    where = "K: entry(i, j) = 1/(q[j] - q[i]), diagonal = 0"
    status, data = claimed(
        capsys, "eig", "--variation", "U", "--is", "U @ (K * (U.T @ d(X) @ U))", "--where", where
    )
    assert (status, data["verdict"], data["conditions"]) == (0, "holds", ["distinct(q)"])


def test_an_ill_formed_formula_is_a_verdict_that_says_where(capsys):
    status, data = claimed(capsys, "-e", "A @ B == B", "--let", "A: m n", "--let", "B: n p")
    assert (status, data["verdict"], data["error"]) == (1, "ill-formed", None)
    assert "m×p" in data["counterexample"]
    assert "n×p" in data["counterexample"]


def test_a_layer_of_a_file_is_judged(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "import mbp\n\n@mbp.layer(X='m n')\ndef gram(X):\n    return X.T @ X\n", encoding="utf-8"
    )
    assert main(["claim", f"{file}:gram", "--gradient", "X", "--is", "2 * X @ sym(G)"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "holds"
    assert "by the normal form" in printed


def test_text_shows_what_json_holds(capsys):
    arguments = ["-e", "sumsq(X)", "--let", "X: m n", "--gradient", "X", "--is", "X"]
    assert main(["claim", *arguments]) == 1
    printed = capsys.readouterr().out
    _, data = claimed(capsys, *arguments)
    for line in (data["verdict"], data["mend"], *data["counterexample"].splitlines()):
        assert line in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a layer"),
        (["o2p"], "--gradient X or --variation Y"),
        (["o2p", "--gradient", "F"], "--is FORMULA"),
        (["o2p", "--gradient", "Q", "--is", "F"], "no input 'Q'"),
        (["o2p", "--gradient", "eps", "--is", "eps"], "constant"),
        (["o2p", "--variation", "Z", "--is", "F"], "no output 'Z'"),
        (["o2p", "--gradient", "F", "--is", "F @"], "^"),
        (["o2p", "--gradient", "F", "--is", "F @ Nope"], "Nope"),
        (["o2p", "--let", "F: m n", "--gradient", "F", "--is", "F"], "has its own"),
        (["o2p", "-e", "X", "--let", "X: m n", "--gradient", "X", "--is", "G"], "name a layer"),
        (["o3p", "--gradient", "F", "--is", "F"], "unknown layer"),
        (["-e", "A == B"], "declare the variables"),
        (["-e", "A", "--let", "A: m n"], "LHS == RHS"),
        (["-e", "A == A", "--let", "A: m n", "--where", "K = 1"], "entry(i, j)"),
        (["-e", "A == A", "--let", "A: m n", "--where", "A: entry(i, j) = A[i, j]"], "rename"),
        (["-e", "A == A", "--let", "A: m n", "--is", "A"], "a claim is"),
    ],
)
def test_bad_input_is_one_error(arguments, said, capsys):
    assert main(["claim", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error: ") == 1
    assert said in captured.err


def test_check_of_the_paper_needs_a_file(capsys):
    assert main(["paper", "--check"]) == 2
    assert "-o FILE" in capsys.readouterr().err
