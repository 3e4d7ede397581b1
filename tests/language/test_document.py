"""The document of the language says what the engine prints, and the problems cover the grammar."""

import re
from pathlib import Path

import pytest

import mbp
from tests.language.problems import PROBLEMS

DOCUMENT = Path(__file__).parents[2] / "docs" / "language.md"
ROW = re.compile(r"\| `(.+?)` \| `(.+?)` \| `(.+?)` \| `(.+?)` \|")
ROWS = [match.groups() for line in DOCUMENT.read_text().splitlines() if (match := ROW.match(line))]

GRAMMAR = [
    "eye", "ones", "zeros", "inv", "pinv", "det", "logdet", "tr", "norm", "sumsq", "sum", "inner",
    "sym", "skew", "diag", "diagpart", "exp", "log", "sqrt", "sin", "cos", "tan", "tanh", "sigmoid",
    "relu", "abs", "sign", "logm", "expm", "sqrtm", "invsqrtm", "powm", "matfun", "projector",
    "hstack", "vstack", "kron", "vec", "unvec", "kron_left", "kron_right",
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} in {row[2]}")
def test_a_row_of_the_table_is_what_is_printed(row):
    text, let, wrt, gradient = row
    declarations = dict(declaration.split(": ") for declaration in let.split("; "))
    assert str(mbp.grad(text, wrt=wrt, **declarations)) == gradient


@pytest.mark.parametrize("word", GRAMMAR)
def test_every_word_of_the_grammar_is_in_a_problem(word):
    assert any(f"{word}(" in problem.text for problem in PROBLEMS)
