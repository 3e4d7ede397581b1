"""How the examples report: a progress bar, a table on the terminal and the same in a file."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def progress_bar(console: Console) -> Progress:
    """A bar for each job: its name, how much of it is done and for how long it has run."""
    return Progress(
        TextColumn("{task.description:>28}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def ticking(bar: Progress, job: str, total: int) -> Callable[[], None]:
    """A new job on the bar; each call of what is returned advances it by one."""
    task = bar.add_task(job, total=total)
    return lambda: bar.advance(task)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of shares, in percent; of a single value, the value."""
    percent = [100 * value for value in values]
    mean = f"{statistics.mean(percent):.1f}"
    return f"{mean} ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else mean


def show(
    console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Prints a table; headings may have several lines."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write(
    name: str, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], notes: str
) -> Path:
    """Writes the table and what has to be known to read it to results/NAME.md."""
    headings = [heading.replace("\n", " ") for heading in headings]
    rule = ["---", *("--:" for _ in headings[1:])]
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows)]
    path = RESULTS / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join((f"# {title}", "", *lines, "", notes, "")))
    return path
