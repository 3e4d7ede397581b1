"""The paper's equations as judged now, against docs/paper.md and against a study by hand."""

import json
from pathlib import Path

import pytest

from mbp.referee import paper
from mbp.resources import rules_table

TABLES = rules_table("paper")
PAGE = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8").splitlines()

# By hand in NumPy, with finite differences: what does not simply hold.
STUDIED = {
    "(16)": "holds when", "(31)": "holds when", "(29)": "ill-formed", "(33)": "wrong",
    "(35)": "holds up to a projection", "(39)": "holds up to a projection",
    "Prop. 2, proof 0": "holds when",
    "(40)": "holds up to a projection", "(41)": "holds up to a projection",
    "Prop. 3, proof 2": "wrong", "(42)": "holds up to a projection",
    "(44)": "holds up to a projection", "(45)": "holds up to a projection",
    "Prop. 4, proof 4": "holds up to a projection", "(46)": "holds up to a projection",
    "(47)": "holds up to a projection", "(48), remark": "wrong", "§6, 1": "wrong",
    "§6, 2": "wrong", "§6, 3": "wrong", "(51)": "holds when",
    "(52)": "holds up to a projection", "(53)": "holds when", "(54)": "holds when",
    **{f"Lemma 1, proof {k}": "holds when" for k in (3, 5, 6, 7, 8, 9, 10, 11, 12)},
    "(55)": "holds up to a projection", "(57)": "holds when", "Prop. 5": "holds when",
    "Prop. 5, proof 4": "holds when", "Prop. 5, proof 5": "holds when",
    "Prop. 5, proof 6": "holds when", "§6, 12": "wrong", "(60)": "holds when",
    "Prop. 6, proof 1": "wrong", "(61)": "wrong", "(62)": "wrong", "(63)": "holds when",
    "§6, 14": "holds when", "§6, 15": "holds when", "(65)": "holds when",
    "§6, 16": "holds when", "§6, 17": "holds when", "§6, 18": "holds when", "§6, 20": "wrong",
    "§8.1, 2": "ill-formed",
}  # fmt: skip


@pytest.mark.parametrize("entry", TABLES["equation"], ids=lambda entry: entry["id"])
def test_equation_is_judged_as_by_hand_and_as_the_page_says(entry):
    row = paper.judged_row(entry, TABLES["setting"])
    assert row.verdict.verdict == STUDIED.get(row.id, "holds")
    assert paper.table_line(row) in PAGE
    if sentence := paper.deviation_line(row):
        # What the engine itself derives is printed anew whenever the simplifier improves.
        own = (row.verdict.mend is None and row.verdict.correct) or ""
        assert any(line.startswith(sentence.partition(f"`{own}")[0]) for line in PAGE)
    assert json.loads(paper.to_json([row]))[0]["id"] == row.id


def test_the_page_has_no_line_too_many():
    ids = [entry["id"] for entry in TABLES["equation"]]
    cells = [line.split(" | ")[0].removeprefix("| ") for line in PAGE if line.startswith("| ")]
    assert cells[2:] == ids
    assert len(set(ids)) == len(ids)


def test_every_numbered_equation_from_4_to_72_is_there():
    ids = {entry["id"] for entry in TABLES["equation"]}
    assert {f"({k})" for k in range(4, 73)} <= ids


def test_nothing_in_the_data_is_a_verdict():
    known = {"id", "context", "setting", "states", "let", "define", "where", "outputs", "lhs",
             "rhs", "relation", "given", "gradients", "assumes", "reading"}  # fmt: skip
    assert {key for entry in TABLES["equation"] for key in entry} <= known
