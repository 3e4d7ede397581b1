"""The program: what it prints, its exit statuses, and how it refuses."""

import json
import os
import subprocess
import sys

import pytest

from mbp.cli import main


def refused(arguments, capsys):
    """The one error that bad input prints."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("error: ") == 1
    assert "Traceback" not in captured.err
    return captured.err


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, **options
    )


def test_layers_are_listed_a_line_each(capsys):
    from mbp.layers import registry

    assert main(["layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry())
    assert all(len(line.split()) > 1 for line in lines)


def test_a_scalar_expression_derives_with_cotangent_one(capsys):
    let = ["--let", "x: n", "--let", "A: n n constant"]
    assert main(["derive", "-e", "x.T @ A @ x", *let, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data["gradients"]) == {"x"}
    assert "G" not in data["gradients"]["x"]
    assert data["cotangents"] == {}


def test_let_may_stand_anywhere(capsys):
    texts = []
    for arguments in (
        ["--let", "X: n n positive_definite", "-e", "logdet(X)"],
        ["-e", "logdet(X)", "--format", "text", "--let", "X: n n positive_definite"],
    ):
        assert main(["derive", *arguments]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "html", "json"])
def test_every_format_is_printed_and_written(format, tmp_path, capsys):
    file = tmp_path / "derivation"
    assert main(["derive", "o2p", "--format", format]) == 0
    printed = capsys.readouterr().out
    assert main(["derive", "o2p", "--format", format, "-o", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == printed
    assert list(tmp_path.iterdir()) == [file]


def test_wrt_keeps_one_gradient(capsys):
    assert main(["derive", "affinity", "--wrt", "F", "--format", "json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["gradients"]) == {"F"}


def test_order_two_derives_the_backward_pass(capsys):
    arguments = ["-e", "x.T @ A @ x", "--let", "x: n", "--let", "A: n n symmetric constant"]
    assert main(["derive", *arguments, "--order", "2", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["variations"]["grad_x"] == "2 * A @ d(x)"


LAYER = '''
import mbp

@mbp.layer(X="n n positive_definite")
def mine(X):
    """A layer of one's own."""
    return mbp.logdet(X)

other = 3
'''


def test_a_layer_of_a_users_file_is_found(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(LAYER)
    assert main(["derive", f"{file}:mine"]) == 0
    assert "A layer of one's own." in capsys.readouterr().out
    assert "its layers are: mine" in refused(["derive", f"{file}:nope"], capsys)
    assert "is no layer" in refused(["derive", f"{file}:other"], capsys)
    assert "mine.py:NAME" not in refused(["derive", str(file)], capsys)


def test_what_a_users_file_prints_is_no_part_of_the_answer(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(f"print('loading')\n{LAYER}")
    assert main(["derive", f"{file}:mine", "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["layer"] == "mine" and captured.err == "loading\n"


@pytest.mark.parametrize(("body", "line", "said"), [
    ("x = 1\n1/0\n", 2, "ZeroDivisionError"),
    ("x = 1\n\ndef (:\n", 3, "invalid syntax"),
    ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
    ("import mbp\nmbp.parse('F @@ F', F='m d')\n", 2, "not an expression"),
    ("import nonexistent_module\n", 1, "ModuleNotFoundError"),
])  # fmt: skip
def test_a_fault_in_a_users_file_names_its_line(body, line, said, tmp_path, capsys):
    file = tmp_path / "bad.py"
    file.write_text(body)
    error = refused(["derive", f"{file}:layer"], capsys)
    assert f"{file}:{line}: " in error
    assert said in error


REFUSED = {
    "no target": ["derive"],
    "unknown layer": ["derive", "o2pp"],
    "two kinds of target": ["derive", "o2p", "-e", "X", "--let", "X: n n"],
    "let without an expression": ["derive", "o2p", "--let", "X: n n"],
    "unknown option": ["derive", "o2p", "--nope"],
    "unknown format": ["derive", "o2p", "--format", "pdf"],
    "unknown command": ["prove", "o2p"],
    "too many targets": ["derive", "o2p", "svd"],
    "unknown input": ["derive", "o2p", "--wrt", "Z"],
    "constant input": ["derive", "o2p", "--wrt", "eps"],
    "unparsable": ["derive", "-e", "X @@ X", "--let", "X: n n"],
    "unknown name": ["derive", "-e", "X + Z", "--let", "X: n n"],
    "wrong shape": ["derive", "-e", "X @ X", "--let", "X: m n"],
    "broadcast": ["derive", "-e", "X + 1", "--let", "X: n n"],
    "non-square sym": ["derive", "-e", "sym(X)", "--let", "X: m n"],
    "contradiction": ["derive", "-e", "X", "--let", "X: n n symmetric antisymmetric"],
    "keyword": ["derive", "-e", "X", "--let", "lambda: n n"],
    "reserved": ["derive", "-e", "G", "--let", "G: n n"],
    "let without a colon": ["derive", "-e", "X", "--let", "X"],
    "let twice": ["derive", "-e", "X", "--let", "X: n", "--let", "X: m"],
    "bad dimension": ["derive", "-e", "X", "--let", "X: 0 n"],
    "hostile": ["derive", "-e", "__import__('os').system('true')", "--let", "X: n"],
    "lambda": ["derive", "-e", "(lambda: X)()", "--let", "X: n"],
    "deep": ["derive", "-e", "(" * 500 + "X" + ")" * 500, "--let", "X: n"],
    "empty": ["derive", "-e", "", "--let", "X: n"],
    "missing rules": ["--rules", "/nonexistent", "layers"],
    "order": ["derive", "o2p", "--order", "3"],
    "unwritable": ["derive", "o2p", "-o", "/nonexistent/file"],
    "a directory for a file": ["derive", "o2p", "-o", "."],
    "a directory for the table": ["paper", "-o", "."],
    "no directory for the table": ["paper", "-o", "/nonexistent/file"],
    "nothing declared": ["derive", "-e", "logdet(X)"],
    "missing file": ["derive", "nonexistent.py:layer"],
    "nothing to emit": ["emit"],
    "expression without a name": ["emit", "-e", "X", "--let", "X: n"],
    "all and one": ["emit", "--all", "o2p"],
    "nothing to check": ["check"],
}  # fmt: skip


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_error(arguments, capsys):
    refused(arguments, capsys)


def test_a_caret_stands_under_the_fault(capsys):
    lines = refused(["derive", "-e", "X + Z", "--let", "X: n n"], capsys).splitlines()
    assert lines[1] == "  X + Z"
    assert lines[2] == "      ^"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["derive", "o2pp"], "did you mean o2p?"),
        (["derive", "-e", "logdett(X)", "--let", "X: n n"], "did you mean logdet?"),
        (["derive", "-e", "trace(X)", "--let", "X: n n"], "it is written tr(A)"),
        (["derive", "-e", "np.exp(X)", "--let", "X: n n"], "write exp(A)"),
        (["derive", "-e", "X ^ 2", "--let", "X: n n"], "**"),
        (["derive", "-e", "X", "--let", "X: n n symetric"], "did you mean symmetric?"),
        (["derive", "o2p", "--rules", "my_rules"], "before the subcommand"),
        (["derive", "-e", "logdet(X)"], "--let 'X: m n'"),
        (["emit", "o2p", "--name", "mine"], "a layer has a name"),
        (["emit", "-e", "X", "--let", "X: n"], "add --name NAME"),
    ],
)
def test_a_near_miss_is_told_what_would_be_right(arguments, said, capsys):
    assert said in refused(arguments, capsys)


def test_python_dash_m_is_the_same_program():
    result = python("-m", "mbp", "derive", "nope")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: unknown layer")


def test_deriving_imports_no_torch():
    code = (
        "import sys, mbp; from mbp.cli import main; assert main(['derive', 'o2p']) == 0;"
        "assert 'torch' not in sys.modules"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_imports_sympy_and_itself_alone():
    heavy = "{'torch', 'numpy', 'jinja2', 'typer', 'rich', 'latex2mathml'} & set(sys.modules)"
    result = python("-c", f"import sys, mbp; print({heavy} or mbp.claim.__name__)")
    assert (result.returncode, result.stdout.strip()) == (0, "claim"), result.stderr


def test_help_needs_no_derivation_engine():
    code = (
        "import sys; from mbp.cli import main; assert main(['derive', '--help']) == 0;"
        "assert 'rich.progress' not in sys.modules"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


def test_a_reader_that_stops_early_sees_no_fault():
    command = f"{sys.executable} -m mbp derive o2p | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True,
        timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert result.stderr == ""


def test_emitted_files_are_checked_and_stale_ones_fail(tmp_path, capsys):
    where = ["-o", str(tmp_path)]
    assert main(["emit", "o2p", "affinity", *where]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["affinity.py", "o2p.py"]
    assert main(["emit", "o2p", "affinity", "--check", *where]) == 0
    edited = tmp_path / "o2p.py"
    edited.write_text(edited.read_text() + "# mine\n")
    capsys.readouterr()
    assert main(["emit", "o2p", "--check", *where]) == 1
    assert "o2p.py" in capsys.readouterr().out
    refused(["emit", "o2p", *where], capsys)
    assert edited.read_text().endswith("# mine\n")
    assert main(["emit", "o2p", "--force", *where]) == 0


def test_what_another_definition_emitted_is_not_replaced_in_silence(tmp_path, capsys):
    where = ["--name", "mine", "-o", str(tmp_path)]
    for text, said in (("logdet(X)", False), ("logdet(X)", False), ("tr(X)", True)):
        assert main(["emit", "-e", text, "--let", "X: n n", *where]) == 0
        assert ("of another definition" in capsys.readouterr().err) is said


def test_a_missing_file_is_stale_without_a_derivation(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mbp.api.Layer.emit_text", None)
    assert main(["emit", "o2p", "--check", "-o", str(tmp_path)]) == 1
    assert "o2p.py: missing" in capsys.readouterr().out


def test_an_expression_is_emitted_under_its_name(tmp_path):
    arguments = ["-e", "logm(X)", "--let", "X: n n positive_definite", "--name", "log_layer"]
    assert main(["emit", *arguments, "-o", str(tmp_path)]) == 0
    assert (tmp_path / "log_layer.py").is_file()


def test_check_prints_a_row_for_each_input(capsys):
    assert main(["check", "affinity"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["layer", "input"]
    assert [line.split()[1] for line in lines[1:-1]] == ["F", "Lam"]
    assert all(line.endswith("ok") for line in lines[1:-1])
    assert lines[-1] == "1 layer checked, all passed"


def test_the_gradient_in_a_definite_matrix_is_projected(capsys):
    let = ["--let", "X: n n positive_definite", "--let", "A: n n constant"]
    assert main(["derive", "-e", "tr(A @ X)", *let, "--format", "json"]) == 0
    gradient = json.loads(capsys.readouterr().out)["gradients"]["X"]
    assert gradient in ("sym(A)", "A / 2 + A.T / 2", "A.T / 2 + A / 2")


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("import mbp\n\nx = 1 / 0\n", ":3: ZeroDivisionError"),
        ("import mbp\ndef (:\n", ":2: invalid syntax"),
        ("import mbp\n@mbp.layer(X='n n symmetric antisymmetric')\ndef f(X): ...\n", ":2: X"),
        ("raise SystemExit\n", ":1: SystemExit"),
    ],
)
def test_a_fault_in_a_users_file_is_placed_by_its_line(
    source, place, tmp_path, monkeypatch, capsys
):
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    assert f"mine.py{place}" in refused(["derive", "mine.py:f"], capsys)


@pytest.mark.parametrize("text", ["9**9**9 * X", "2**100000 * X", "(-2)**0.5 * X"])
def test_numbers_out_of_range_are_refused_at_once(text, capsys):
    arguments = ["derive", "-e", text, "--let", "X: m n"]
    assert "^" in refused(arguments, capsys)


def test_the_cost_is_said_as_formulas_and_for_sizes(capsys):
    assert main(["derive", "o2p", "--cost", "--at", "m=196,d=64"]) == 0
    text = capsys.readouterr().out
    assert "2*d**2*m" in text
    assert "at m = 196, d = 64" in text
    assert main(["derive", "o2p", "--cost", "--at", "m=49,d=512", "--format", "json"]) == 0
    wide = json.loads(capsys.readouterr().out)["cost"]
    assert int(wide["forward"]["flops"]) < 512**3


@pytest.mark.parametrize("at", ["m", "m=x", "m=0", "q=3"])
def test_sizes_that_are_none_are_refused(at, capsys):
    assert "--at" in refused(["derive", "o2p", "--cost", "--at", at], capsys)


def test_sizes_without_a_cost_are_refused(capsys):
    assert "--cost" in refused(["derive", "o2p", "--at", "m=3"], capsys)
