"""The command line: `mbp layers`, `derive`, `emit`, `check`, `claim`, `paper`."""

from __future__ import annotations

import gc
import html
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mbp.errors import MbpError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mbp.api import Layer
    from mbp.derive.derivation import Derivation
    from mbp.verify.check import Report

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""The exit statuses."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Derives the backward pass of a matrix layer, proves it, emits it and checks it.",
)


class Format(StrEnum):
    """How a derivation is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    html = "html"
    json = "json"


Expression = Annotated[
    str | None,
    typer.Option(
        "-e", metavar="EXPR", help="An expression instead of a layer.", show_default=False
    ),
]
Let = Annotated[
    list[str] | None,
    typer.Option("--let", metavar="'X: m n'", help="Declares a variable of EXPR; repeatable."),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET…", help="Built-in layers, or FILE.py:NAME.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All built-in layers.")]
Library = Annotated[str, typer.Option(metavar="torch|numpy|jax", help="For which library.")]


@app.callback(invoke_without_command=True)
def _rules(
    context: typer.Context,
    rules: Annotated[
        list[Path] | None,
        typer.Option("--rules", metavar="DIR", help="Loads further rules; repeatable."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Prints the version.")] = False,
) -> None:
    if version:
        from mbp import __version__

        print(f"mbp {__version__}")
        return
    if rules:
        from mbp.api import load_rules

        for directory in rules:
            load_rules(directory)
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def layers() -> int:
    """The built-in layers, a line each."""
    from mbp.layers import registry
    from mbp.present.text import first_line

    built_in = registry()
    width = max(map(len, built_in))
    for name, layer in built_in.items():
        print(f"{name:{width}}  {first_line(layer.definition.doc)}")
    return DONE


@app.command()
def derive(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="A built-in layer, or FILE.py:NAME.", show_default=False
        ),
    ] = None,
    expression: Expression = None,
    let: Let = None,
    wrt: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Derives in this input only.", show_default=False),
    ] = None,
    order: Annotated[
        int, typer.Option(min=1, max=2, help="2 derives the backward pass once more.")
    ] = 1,
    cost: Annotated[
        bool, typer.Option("--cost", help="Adds operations, bytes moved and bytes saved.")
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="m=196,d=64", help="With --cost: for these sizes too."),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.text,
    output: Annotated[
        Path | None,
        typer.Option("-o", metavar="FILE", help="Writes to a file.", show_default=False),
    ] = None,
) -> int:
    """The two-step proof of a layer's variation and gradients."""
    from mbp.targets import targets

    if output is not None:
        _require_writable(output)
    (found,) = targets([target] if target else [], expression, let or [])
    derivation = found.derivation(wrt, order)
    if at is not None and not cost:
        raise MbpError("--at gives the sizes for --cost; add --cost")
    text = rendered(derivation, format)
    if cost:
        text = _with_cost(text, derivation, format, at)
    if output is None:
        sys.stdout.write(text)
    else:
        _write(output, text)
    return DONE


def _with_cost(text: str, derivation: Derivation, format: Format, at: str | None) -> str:
    """The rendered derivation with its cost at the end, or among the keys of the object."""
    from mbp.present.cost import cost_lines, cost_table, parsed_sizes

    sizes = parsed_sizes(at, derivation) if at else None
    if format is Format.json:
        table = {**json.loads(text), "cost": cost_table(derivation, sizes)}
        return json.dumps(table, indent=2, ensure_ascii=False) + "\n"
    lines = "\n".join(cost_lines(derivation, sizes))
    block = {
        Format.text: f"\n{lines}\n",
        Format.markdown: f"\n```text\n{lines}\n```\n",
        Format.latex: f"\n\\begin{{verbatim}}\n{lines}\n\\end{{verbatim}}\n",
        Format.html: f"<pre>{html.escape(lines)}</pre>\n",
    }[format]
    if format is Format.html and "</body>" in text:
        return text.replace("</body>", f"{block}</body>")
    return text + block


def rendered(derivation: Derivation, format: Format) -> str:
    """The derivation as text that ends in a line break."""
    from mbp import present

    text: str = getattr(present, f"to_{format.value}")(derivation)
    return text if text.endswith("\n") else text + "\n"


@app.command()
def emit(
    names: Names = None,
    every: All = False,
    expression: Expression = None,
    let: Let = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The name of the layer of -e EXPR.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="DIR", help="Where to; generated/ if not given.", show_default=False
        ),
    ] = None,
    target: Library = "torch",
    check: Annotated[bool, typer.Option("--check", help="Writes nothing; fails if stale.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrites files edited by hand.")
    ] = False,
) -> int:
    """Writes a layer's module, or checks that it is up to date."""
    from mbp.emit.files import source_of
    from mbp.targets import targets

    if expression is not None and name is None:
        raise MbpError("the module of -e EXPR needs a name: add --name NAME")
    if expression is None and name is not None:
        raise MbpError("--name names the module of -e EXPR; a layer has a name")
    directory = output or Path("generated") / ("" if target == "torch" else target)
    wanted = targets(names or [], expression, let or [], every=every, name=name)
    status = DONE
    with _progress("emit", len(wanted)) as progress:
        for one in wanted:
            progress.start(one.layer.name)
            if not check:
                before = source_of(directory / f"{one.layer.name}.py")
                path = one.layer.emit(directory, target, force)
                print(path)
                if not force and before not in (None, source_of(path)):
                    print(f"note: {path} was of another definition or target", file=sys.stderr)
            elif stale := _stale(directory / f"{one.layer.name}.py", one.layer, target):
                print(stale)
                status = FAILED
            progress.advance()
    return status


def _stale(path: Path, layer: Layer, target: str) -> str | None:
    if not path.is_file():
        return f"{path}: missing"
    if path.read_bytes() != layer.emit_text(target).encode():
        return f"{path}: stale; run mbp emit"
    return None


@app.command()
def check(
    names: Names = None,
    every: All = False,
    expression: Expression = None,
    let: Let = None,
    target: Library = "torch",
) -> int:
    """Verifies generated modules numerically, a row each."""
    from mbp.targets import targets

    wanted = targets(names or [], expression, let or [], every=every)
    failures = 0
    widths = _widths([one.layer for one in wanted])
    with _progress("check", len(wanted)) as progress:
        for k, one in enumerate(wanted):
            progress.start(one.layer.name)
            report = one.layer.check(progress.start, target)
            failures += not report.passed
            table = list(_table(report, widths))
            for line in table if k == 0 else table[1:]:
                print(line)
            for note in report.notes:
                print(note)
            progress.advance()
    verdict = f"{failures} failed" if failures else "all passed"
    print(f"{len(wanted)} layer{'s' * (len(wanted) != 1)} checked, {verdict}")
    return FAILED if failures else DONE


def _widths(layers: Sequence[Layer]) -> tuple[int, int]:
    names = [layer.name for layer in layers]
    inputs = [name for layer in layers for name in layer.definition.inputs]
    return max(map(len, ["layer", *names])), max(map(len, ["input", *inputs]))


def _table(report: Report, widths: tuple[int, int]) -> Iterator[str]:
    """A heading and a row for each input: its error against each witness, and the verdict."""
    witnesses = list(dict.fromkeys(row.witness for row in report))
    left, middle = widths
    yield f"{'layer':{left}}  {'input':{middle}}  {'  '.join(f'{w:>11}' for w in witnesses)}"
    for name in dict.fromkeys(row.input for row in report):
        found = {row.witness: row for row in report if row.input == name}
        errors = "  ".join(f"{found[w].error:11.1e}" if w in found else " " * 11 for w in witnesses)
        verdict = "ok" if all(row.passed for row in found.values()) else "FAILED"
        yield f"{report.layer:{left}}  {name:{middle}}  {errors}  {verdict}"


class VerdictFormat(StrEnum):
    """How a verdict is written."""

    text = "text"
    json = "json"


class TableFormat(StrEnum):
    """How the table of the paper's equations is written."""

    text = "text"
    markdown = "markdown"
    json = "json"


@app.command()
def claim(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="A built-in layer, or FILE.py:NAME.", show_default=False
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option("-e", metavar="EXPR", help="An expression, or 'LHS == RHS'."),
    ] = None,
    let: Let = None,
    gradient: Annotated[
        str | None, typer.Option(metavar="X", help="The claim is the gradient in X.")
    ] = None,
    variation: Annotated[
        str | None, typer.Option(metavar="Y", help="The claim is the variation of Y.")
    ] = None,
    formula: Annotated[
        str | None,
        typer.Option("--is", metavar="FORMULA", help="What it is said to be; d(X) varies X."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'K: entry(i, j) = …, diagonal = 0'", help="Defines a kernel; repeatable."
        ),
    ] = None,
    format: Annotated[VerdictFormat, typer.Option(help="How to write it.")] = VerdictFormat.text,
) -> int:
    """Is this formula right? Says under what conditions, and what would be right."""
    from mbp.referee import verdict_on
    from mbp.referee.present import verdict_json, verdict_text
    from mbp.targets import declarations

    if (target is None) == (expression is None):
        raise MbpError("name a layer, FILE.py:NAME, or -e EXPR with --let 'X: m n'")
    if target is not None and let:
        raise MbpError("--let declares the variables of -e EXPR; a layer has its own")
    if target is not None and formula is None:
        raise MbpError("say what is claimed: --gradient X or --variation Y, and --is FORMULA")
    if expression is not None and not let:
        raise MbpError("declare the variables of -e EXPR, as in --let 'X: m n'")
    with _progress("claim", None) as progress:
        found = verdict_on(
            target or expression or "", declarations(let or []), gradient=gradient,
            variation=variation, formula=formula, where=where or [], progress=progress.start,
        )  # fmt: skip
    print(verdict_json(found) if format is VerdictFormat.json else verdict_text(found))
    return DONE if found.holds else FAILED


@app.command()
def paper(
    format: Annotated[TableFormat, typer.Option(help="How to write it.")] = TableFormat.text,
    output: Annotated[
        Path | None,
        typer.Option("-o", metavar="FILE", help="Writes to a file.", show_default=False),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Writes nothing; fails if -o FILE is stale.")
    ] = False,
) -> int:
    """The paper, equation by equation, judged anew."""
    from mbp.referee import paper as judged

    if check and output is None:
        raise MbpError("--check compares with a file: name it with -o FILE")
    if output is not None and not check:
        _require_writable(output)
    with _progress("paper", judged.count()) as progress:
        rows = list(judged.rows(progress.start, progress.advance))
    text: str = getattr(judged, f"to_{format.value}")(rows)
    if output is None:
        sys.stdout.write(text)
    elif not check:
        _write(output, text)
    elif not output.is_file() or output.read_text(encoding="utf-8") != text:
        print(f"{output}: stale; run mbp paper --format {format.value} -o {output}")
        return FAILED
    return DONE


class _Steps:
    """A progress bar on the terminal's stderr; nothing at all where stderr is no terminal."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=total)

    def start(self, what: str) -> None:
        """Says what is being done now."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=what)

    def advance(self) -> None:
        """One more is done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[_Steps]:
    """Shows what is being done, of how many if `total` says so."""
    if not sys.stderr.isatty():
        yield _Steps(None, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    console = Console(stderr=True)
    # Lines for stdout pass above the bar only where both are the same terminal.
    both = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=both) as progress:
        yield _Steps(progress, total)


def _require_writable(path: Path) -> None:
    """Raises MbpError for a file that cannot be written, before the work for it is done."""
    if path.is_dir():
        raise MbpError(f"{path} is a directory; -o takes a file")
    if not os.access(path.parent, os.W_OK):
        reason = "permission denied" if path.parent.is_dir() else f"no directory {path.parent}"
        raise MbpError(f"cannot write {path}: {reason}")


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise MbpError(f"cannot write {path}: {error.strerror}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    if arguments is None:
        gc.freeze()  # what is imported stays: the collector walks it for a tenth of a short run
    command = typer.main.get_command(app)
    try:
        status = command.main(
            list(sys.argv[1:] if arguments is None else arguments), "mbp", standalone_mode=False
        )
        sys.stdout.flush()
    except MbpError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        return _refuse(_usage(" ".join(error.format_message().split())))
    except BrokenPipeError:
        # Whoever read our output has had enough; say nothing when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{place}{error.strerror or error}")
    except RecursionError:
        return _refuse("the expression is nested too deeply")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except ModuleNotFoundError as error:
        return _refuse(f"{error}; pip install 'mbp[torch]'")
    except Exception as error:  # a fault of ours, but the reader of a traceback is not here
        return _refuse(f"unexpected {type(error).__name__}: {error}; please report it")
    return status if isinstance(status, int) else DONE


def _usage(message: str) -> str:
    """Typer's complaint in our words."""
    if message.startswith("No such option: --rules"):
        return "--rules DIR goes before the subcommand: mbp --rules DIR derive TARGET"
    return message.replace("Value error, ", "")


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT
