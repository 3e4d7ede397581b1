"""The paper's equations, read from rules/paper.toml and judged one by one, and their table."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import Dim, dim
from mbp.expr.nodes import Expr
from mbp.invariants.declare import declare
from mbp.referee.kernels import kernel
from mbp.referee.present import plain
from mbp.referee.statement import Comparison, Kind, Setting, Verdict
from mbp.referee.verdicts import Statement, combined, verdict
from mbp.resources import rules_table

_PATIENCE = 20.0
"""Long enough for every search to come to its end, so that the table is the same everywhere."""


@dataclass(frozen=True)
class Row:
    """An equation of the paper and the verdict on it."""

    id: str
    context: str
    states: str
    reading: str
    verdict: Verdict

    def data(self) -> dict[str, object]:
        """The row as plain values, by the keys of the command line's contract."""
        return {"id": self.id, "states": self.states, **plain(self.verdict.data())}


def count() -> int:
    """How many equations rules/paper.toml has."""
    return len(rules_table("paper")["equation"])


def rows(
    start: Callable[[str], None] = lambda _: None, done: Callable[[], None] = lambda: None
) -> Iterator[Row]:
    """Every equation of rules/paper.toml with the verdict of this run, in the paper's order."""
    tables = rules_table("paper")
    for entry in tables["equation"]:
        start(entry["id"])
        yield judged_row(entry, tables["setting"])
        done()


def judged_row(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> Row:
    """One entry of rules/paper.toml, judged."""
    try:
        statements = list(_statements(entry, settings))
        found = combined([verdict(one, patience=_PATIENCE) for one in statements])
    except MbpError as error:
        raise MbpError(f"{entry['id']}: {error}") from None
    return Row(
        entry["id"], entry.get("context", ""), _states(entry), entry.get("reading", ""), found
    )


# --- reading --------------------------------------------------------------------------------------


def _statements(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Statement]:
    shared = settings.get(entry.get("setting", ""), {})
    setting = _setting(shared, entry)
    given = _comparison(entry["given"], setting) if "given" in entry else None
    for name, text in entry.get("gradients", {}).items():
        yield Statement(setting, text, None, name)
    if "lhs" in entry:
        rhs = entry["rhs"]
        for text in [rhs] if isinstance(rhs, str) else rhs:
            relation = entry.get("relation", "==")
            yield Statement(setting, text, entry["lhs"], None, relation, given)


def _setting(shared: Mapping[str, Any], entry: Mapping[str, Any]) -> Setting:
    def table(key: str) -> dict[str, Any]:
        return {**shared.get(key, {}), **entry.get(key, {})}

    inputs = {name: declare(name, text) for name, text in table("let").items()}
    wanted = entry.get("outputs", shared.get("outputs", []))
    assumed = tuple(map(_assumption, entry.get("assumes", ())))
    setting = Setting(inputs, assumed=assumed)
    leaves: dict[Expr, str] = {
        build.var(f"grad_{name}", *x.shape): name for name, x in inputs.items()
    }
    setting = replace(setting, gradients=leaves)
    for name, text in table("define").items():
        A = setting.parse(text)
        if name in wanted:
            outputs = {**setting.outputs, name: A}
            cotangents = {**setting.cotangents, name: _cotangent(name, A, wanted)}
            setting = replace(setting, outputs=outputs, cotangents=cotangents)
        else:
            setting = replace(setting, letters={**setting.letters, name: A})
    for name, K in table("where").items():
        node = kernel(K["entry"], K.get("diagonal"), K.get("shape"), setting.names)
        setting = replace(setting, letters={**setting.letters, name: node})
    return setting


def _cotangent(name: str, Y: Expr, outputs: Sequence[str]) -> Expr:
    if len(outputs) > 1:
        return build.var(f"G_{name}", *Y.shape)
    return build.number(1) if Y.is_scalar else build.var("G", *Y.shape)


def _assumption(text: str) -> tuple[Dim, Dim]:
    left, relation, right = text.split()
    if relation not in (">=", "<="):
        raise MbpError(f"the assumption {text!r} compares no dimensions", text=text, column=0)
    pair = dim(left), dim(right)
    return pair if relation == ">=" else pair[::-1]


_RELATIONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def _comparison(text: str, setting: Setting) -> Comparison:
    match ast.parse(text, mode="eval").body:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            lhs, rhs = (setting.parse(ast.unparse(side)) for side in (left, right))
            return Comparison(lhs, _RELATIONS[type(op)], rhs)
    raise MbpError("a premise compares two scalars", text=text, column=0)


def _states(entry: Mapping[str, Any]) -> str:
    relation = entry.get("relation", "==")
    said = [f"gradient in {name}: {text}" for name, text in entry.get("gradients", {}).items()]
    if "lhs" in entry:
        rhs = entry["rhs"]
        sides = [entry["lhs"], *([rhs] if isinstance(rhs, str) else rhs)]
        said.append(f"{entry['states']}: " + f" {relation} ".join(sides))
    premise = f"if {entry['given']}, " if "given" in entry else ""
    return premise + "; ".join(said)


# --- presenting -----------------------------------------------------------------------------------


def to_json(judged: Sequence[Row]) -> str:
    """The rows as a JSON list."""
    return json.dumps([row.data() for row in judged], indent=2, ensure_ascii=False) + "\n"


def to_text(judged: Sequence[Row]) -> str:
    """A line for each row, and under each deviation what would be right."""
    width = max(len(row.id) for row in judged)
    lines = []
    for row in judged:
        said = f": {', '.join(row.verdict.conditions)}" if row.verdict.conditions else ""
        lines.append(f"{row.id:{width}}  {row.verdict.verdict}{said}")
        if remark := deviation(row):
            lines.append(f"{'':{width}}  {remark}")
    return "\n".join([*lines, "", summary(judged), ""])


def to_markdown(judged: Sequence[Row]) -> str:
    """The table of docs/paper.md, with a sentence for each deviation."""
    lines = [_HEAD, summary(judged), "", "| equation | of | states | verdict | error |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [table_line(row) for row in judged]
    lines += ["", "## Deviations", ""]
    lines += [line for row in judged if (line := deviation_line(row))]
    lines += ["", "## Readings", ""]
    lines += [f"- **{row.id}** {row.reading}" for row in judged if row.reading]
    return "\n".join(lines) + "\n"


def table_line(row: Row) -> str:
    """The row of the table of docs/paper.md."""
    found = row.verdict
    said = f": {', '.join(found.conditions)}" if found.conditions else ""
    cells = (row.id, row.context, _code(row.states), f"{found.verdict}{said}", _error(found))
    return f"| {' | '.join(cells)} |"


def deviation_line(row: Row) -> str:
    """The sentence of docs/paper.md on a row that deviates, empty for any other."""
    remark = deviation(row)
    return f"- **{row.id}** {remark}" if remark else ""


_HEAD = """\
# The paper, equation by equation

Every equation of the paper as printed (`rules/paper.toml`), judged by the referee: by numeric
derivatives along admissible curves at random instances, in float64 and in 50 digits. `mbp paper
--format markdown -o docs/paper.md` writes this page; the tests fail when it is stale. A claimed
gradient is compared with the projected gradient. `X symmetric` speaks of the value of X, `dX
symmetric` of its variation. Conditions behind *holds* fail on null sets only.
"""


def summary(judged: Sequence[Row]) -> str:
    """How many rows came out how."""
    counts = {kind: sum(row.verdict.kind is kind for row in judged) for kind in Kind}
    said = ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count)
    return f"{len(judged)} equations: {said}."


def deviation(row: Row) -> str:
    """One sentence on what departs from the print, empty where nothing does."""
    found = row.verdict
    right = f" Right is {_code(found.correct)}." if found.correct else ""
    match found.kind:
        case Kind.HOLDS_WHEN:
            general = right.replace("Right", "In general it")
            return f"holds only under {', '.join(found.conditions)}.{general}"
        case Kind.PROJECTION:
            return f"is right as a functional, but not the projected gradient.{right}"
        case Kind.WRONG | Kind.ILL_FORMED:
            said = "does not conform" if found.kind is Kind.ILL_FORMED else "is wrong"
            why = f": {found.mend.partition(':')[0]}" if found.mend else ""
            return f"{said}{why}.{right}"
    return ""


def _error(found: Verdict) -> str:
    if found.error is None:
        return ""
    return f"{found.error:.1g}" if found.kind is Kind.WRONG else "0"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"
