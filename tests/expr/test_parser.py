"""Texts outside the grammar end in an error that shows the place, and are never executed."""

import ast
import builtins
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbp.errors import MbpError, ShapeError
from mbp.expr.nodes import Expr
from mbp.expr.parser import parse, parse_outputs
from mbp.expr.scalar import parse_scalar
from mbp.invariants.declare import declare
from mbp.rulebook import RULEBOOK
from tests.strategies import VARIABLES


def read(text: str) -> Expr:
    return parse(text, VARIABLES, RULEBOOK.functions)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "under", "words"),
    [
        ("X @ Z", "Z", ["unknown name 'Z'"]),
        ("X @ S + S @ X.T", "X @ S + S @ X.T", ["m×n", "n×m"]),
        ("S + 2 * (X @ X)", "X @ X", ["m×n"]),
        ("S + sym(X)", "sym(X)", ["sym", "square", "m×n"]),
        ("tr(X)", "tr(X)", ["square", "m×n"]),
        ("inv(X) @ X", "inv(X)", ["square"]),
        ("S + c", "S + c", ["eye(n)"]),
        ("X + c", "X + c", ["ones(m, n)"]),
        ("X * Y.T", "X * Y.T", ["m×n", "n×m"]),
        ("hstack(X, S)", "hstack(X, S)", ["equal rows"]),
        ("vstack(X, v)", "vstack(X, v)", ["equal columns"]),
        ("diag(v.T)", "diag(v.T)", ["row"]),
        ("unvec(v, 2, 3)", "unvec(v, 2, 3)", ["2×3", "n×1"]),
        ("X ** Y", "X ** Y", ["exponent"]),
        ("frob(X)", "frob(X)", ["unknown function 'frob'"]),
        ("det(X, X)", "det(X, X)", ["takes 1 argument"]),
        ("X.transpose", "X.transpose", [".T"]),
        ("S.__class__", "S.__class__", ["attribute"]),
        ("S if c else S", "S if c else S", ["grammar"]),
        ("lambda: S", "lambda: S", ["grammar"]),
        ("[S]", "[S]", ["grammar"]),
        ("S == S", "S == S", ["grammar"]),
        ("not S", "not S", ["grammar"]),
        ("'S'", "'S'", ["grammar"]),
        ("True * S", "True", ["not numbers"]),
        ("1j * S", "1j", ["grammar"]),
        ("S @ det", "det", ["function"]),
        ("inner(A=S)", "inner(A=S)", ["keyword"]),
        ("S[0]", "S[0]", ["index"]),
        ("eye(0) @ S", "0", ["positive"]),
        ("eye(n, n)", "eye(n, n)", ["one dimension"]),
        ('matfun("frob", S)', None, ["frob"]),
        ("logm(X)", "logm(X)", ["square"]),
        ("S / 0", "S / 0", ["zero"]),
        ("eig(X)[0]", "eig(X)", ["eig", "m×n"]),
        ("eig(S)[2]", "eig(S)[2]", ["index"]),
        ("1e999999 * S", "1e999999", ["range"]),
        ("é @ S", "é", ["unknown name"]),
        ("X.T @ X @ é", "é", ["unknown name"]),
    ],
)
def test_an_error_puts_its_caret_under_the_fault(
    text: str, under: str | None, words: list[str]
) -> None:
    with pytest.raises(MbpError) as caught:
        read(text)
    shown = str(caught.value)
    for word in words:
        assert word in shown
    assert caught.value.text is not None and caught.value.column is not None
    if under is not None:
        assert caught.value.text[caught.value.column :].startswith(under)
        assert shown.splitlines()[-1] == "  " + " " * text.index(under) + "^"


@pytest.mark.parametrize("text", ["", "X @", "(X", "X @@ X", "X X", "\x00", "X\n+ X", "  "])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(MbpError):
        read(text)


def test_several_outputs_need_a_choice() -> None:
    with pytest.raises(MbpError, match=r"pick one with \[0\]"):
        read("eig(S)")
    outputs = parse_outputs("eig(S)", VARIABLES, RULEBOOK.functions)
    assert isinstance(outputs, tuple) and len(outputs) == 2


def test_deep_nesting_is_an_error_or_an_expression_but_never_a_crash() -> None:
    for text in (
        "(" * 5000 + "S" + ")" * 5000,
        "-" * 50_000 + "S",
        "sym(" * 3000 + "S" + ")" * 3000,
    ):
        with pytest.raises(MbpError):
            read(text)
    assert isinstance(read(" + ".join(["S"] * 500)), Expr)


@pytest.mark.parametrize("text", ["9 ** 9 ** 9 ** 9", "(10 ** 60) ** 60 ** 60", "2 ** -(9 ** 40)",
                                  "((((10**60)**60)**60)**60)**60", 'matfun("9**9**9*x", S)',
                                  'matfun("1e999999999*x", S)', 'matfun("gamma(10**9)*x", S)',
                                  'matfun("digamma(2**60)*x", S)'])  # fmt: skip
def test_huge_powers_do_not_fill_the_memory(text: str) -> None:
    with suppress(MbpError):
        assert len(str(read(text))) < 10_000


@pytest.mark.parametrize(
    "g", ["1/0*x", "log(-1)", "2**sqrt(-1)", "sqrt(-2)*x", "0**-1", "1/(x - x)"]
)
def test_a_scalar_function_has_real_values(g: str) -> None:
    with pytest.raises(MbpError, match=r"no real value|out of range"):
        parse_scalar(g)


def test_shapes_are_checked_when_a_node_is_made() -> None:
    X, S = VARIABLES["X"], VARIABLES["S"]
    with pytest.raises(ShapeError, match="X is m×n but S is n×n"):
        X + S
    with pytest.raises(ShapeError, match="X is m×n"):
        X @ X


# --- hostile input ----------------------------------------------------------------------------

NASTY = [
    "__import__('os').system('touch pwned')",
    "().__class__.__bases__[0].__subclasses__()",
    "(lambda: print('pwned'))()",
    "[x for x in (1).__class__.__mro__]",
    "exec('import os')",
    "eval('1')",
    "open('pwned', 'w')",
    "print('pwned')",
    "globals()",
    "getattr(S, 'T')",
    "S.__reduce__()",
    "S.args",
    "S.T.__init__.__globals__",
    "f'{__import__(\"os\")}'",
    "(yield)",
    "(await S)",
    "(x := S)",
    "S; S",
    "S\nimport os",
    "*S",
    "{**S}",
    "matfun(\"__import__('os').system('touch pwned')\", S)",
    'matfun("x.__class__", S)',
    'matfun("exec(x)", S)',
    'matfun("lambda x: x", S)',
    'matfun("S", S)',
    'matfun("(x).free_symbols", S)',
    'matfun("x if x else x", S)',
    'frechet("open(x)", 1, S, S)',
    'frechet("x", 10**9, S, S)',
    "matfun('exp', S, __import__('os'))",
    "eye(__import__('os'))",
    "ones(m.__class__, n)",
    "unvec(v, print, n)",
    "S[__import__('os')]",
    "S.T.T.__class__",
    "tril(S, __import__('os'))",
    "norm(S)(S)",
    "sym.__globals__",
    "S ** __import__",
    "'%s' % S",
    "breakpoint()",
    "help()",
    "input()",
    "\u202eS",
    "S # comment\n__import__('os')",
]


def refuses(text: str) -> None:
    """Reads a text with every way to execute something booby-trapped."""
    try:
        read(text)
    except MbpError:
        return
    # What is accepted is arithmetic on the declared names.
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        assert not isinstance(node, ast.Lambda | ast.ListComp | ast.NamedExpr | ast.JoinedStr)
        if isinstance(node, ast.Attribute):
            assert node.attr == "T"


@pytest.fixture
def traps(monkeypatch: pytest.MonkeyPatch) -> None:
    def trap(*args: object, **kwargs: object) -> None:
        raise AssertionError("the text was executed")

    for name in ("eval", "exec", "open", "print", "input", "breakpoint", "__import__"):
        if name != "__import__":  # the interpreter itself imports lazily
            monkeypatch.setattr(builtins, name, trap)
    monkeypatch.setattr(os, "system", trap)


@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("text", NASTY)
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(MbpError):
        read(text)


WORDS = st.sampled_from(
    ["X", "S", "c", "v", "m", "n", "__import__", "os", ".T", ".__class__", "(", ")", "[", "]", "@",
     "*", "**", "+", "-", "/", ",", "'", '"', ":", ":=", "lambda", "if", "else", "for", "in", "0",
     "1", "9", "1e9", "sym", "inv", "matfun", "frechet", "eye", "ones", "diag", "d", "=", "\n", " ",
     "{", "}", "eig", "\\", "#", "yield", "not", "exec", "pi", "x"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=12).map("".join)))
def test_any_text_gives_an_expression_or_an_error_and_runs_nothing(text: str) -> None:
    refuses(text)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=10).map("".join)))
def test_any_scalar_function_text_gives_a_function_or_an_error(text: str) -> None:
    with suppress(MbpError):
        parse_scalar(text)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=20), st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=6).map(" ".join))
)
def test_any_declaration_gives_a_variable_or_an_error(name: str, text: str) -> None:
    with suppress(MbpError):
        declare(name, text)


def test_nothing_of_a_hostile_text_reaches_the_file_system(tmp_path: Path) -> None:
    script = (
        "import sys; from mbp.errors import MbpError; from mbp.expr.parser import parse\n"
        "from mbp.invariants.declare import declare\n"
        "for text in sys.stdin.read().split('\\0'):\n"
        "    try: parse(text, {'S': declare('S', 'n n')})\n"
        "    except MbpError: pass\n"
    )
    subprocess.run(
        [sys.executable, "-c", script], input="\0".join(NASTY), text=True, cwd=tmp_path, check=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [("X'", "the transpose of X is X.T"), ("tr(X", "never closed"), ("", "it is empty")],
)
def test_a_spelling_from_elsewhere_gets_a_hint(text, hint):
    with pytest.raises(MbpError, match=hint):
        parse(text, {})
