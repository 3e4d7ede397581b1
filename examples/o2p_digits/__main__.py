"""Heads for a small network on few digits: what training through log(FᵀF + εI) is worth.

Run as `python -m examples.o2p_digits [--seeds N]`; a few minutes on two cores, no download.
Writes examples/results/o2p_digits.md and o2p_digits.png.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown

from examples.o2p_digits.data import digits
from examples.o2p_digits.runs import (
    CONTENDERS,
    FAILURE_STEPS,
    HELD_OUT,
    LOGARITHMS,
    RATES,
    chosen_rates,
    failures,
    race,
    steps,
)
from examples.reporting import RESULTS, progress_bar, show, spread, ticking, write
from examples.training import Step

TITLE = "O2P on digits: test error in %, 1,000 for training, 4,000 for testing"
HEADINGS = ("head", "test\nerror", "learning\nrate")
NOTES = """Mean ± standard deviation over {seeds} seeds; `python -m examples.o2p_digits`. The rate
is the better of {better} on {held_out} held-out training digits.

The network of the last row trained through autograd of `torch.linalg.eigh` or `svd` instead of the
emitted layer: steps whose gradient is not finite. They are left out; guessing has the loss 2.30.

{spoilt}"""
DTYPES = {"float32": torch.float32, "float64": torch.float64}
COLOURS = ("tab:blue", "tab:orange", "tab:red")


def draw(
    histories: Mapping[str, Mapping[str, Sequence[Step]]],
    errors: Mapping[str, Sequence[float]],
    path: Path,
) -> None:
    """The losses of the three logarithms in each precision, and the errors of the heads."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    *losses, bars = figure.subplots(1, len(histories) + 1, width_ratios=(1, 1, 1.15))
    for axis, (dtype, runs) in zip(losses, histories.items(), strict=True):
        for (name, run), colour in zip(runs.items(), COLOURS, strict=True):
            spoilt = sum(not step.finite for step in run)
            label = f"{name}: {spoilt} of {len(run)} steps not finite"
            axis.plot([step.loss for step in run], color=colour, label=label, linewidth=1.2)
        axis.set_title(f"log(FᵀF/49 + εI), end to end, {dtype}", fontsize=10)
        axis.set_xlabel("step")
        axis.set_ylabel("training loss")
        axis.set_ylim(0, 4)
        axis.legend(fontsize=7.5, frameon=False, loc="upper right")
    for place, (name, shares) in enumerate(errors.items()):
        percent = torch.tensor(shares) * 100
        bars.barh(place, percent.mean(), color="tab:blue" if "end to end" in name else "0.75")
        bars.plot(percent, [place] * len(shares), "k.", markersize=4)
    bars.set_yticks(range(len(errors)), list(errors), fontsize=8)
    bars.invert_yaxis()
    bars.set_xlabel("test error in %, a dot for each seed")
    for axis in (*losses, bars):
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main(seeds: int = 3) -> None:
    """Chooses the rates, races the heads from SEEDS first weights, and shows where autograd fails.

    Prints the table and writes it and the picture to examples/results/.
    """
    console = Console()
    train, test = digits()
    with progress_bar(console) as bar:
        total = len(RATES) * steps(train.part(slice(HELD_OUT, None)))
        rates = chosen_rates(train, ticking(bar, "choose learning rates", total))
        tick = ticking(bar, "train the heads", seeds * steps(train))
        races = [race(rates, train, test, seed, tick) for seed in range(seeds)]
        total = len(DTYPES) * len(LOGARITHMS) * FAILURE_STEPS
        tick = ticking(bar, "log through autograd", total)
        histories = {name: failures(train, dtype, tick) for name, dtype in DTYPES.items()}
    errors = {name: [one[name] for one in races] for name in CONTENDERS}
    rows = [(name, spread(errors[name]), f"{rates[name]:g}") for name in CONTENDERS]
    spoilt = [
        f"- {name}, {dtype}: {sum(not step.finite for step in run)} of {len(run)} steps, last loss "
        f"{run[-1].loss:.2f}"
        for dtype, runs in histories.items()
        for name, run in runs.items()
    ]
    better = " and ".join(f"{rate:g}" for rate in RATES)
    notes = NOTES.format(seeds=seeds, better=better, held_out=HELD_OUT, spoilt="\n".join(spoilt))
    show(console, TITLE, HEADINGS, rows)
    console.print(Markdown(notes))
    write("o2p_digits", TITLE, HEADINGS, rows, notes)
    draw(histories, errors, RESULTS / "o2p_digits.png")
    console.print(f"written: {RESULTS}/o2p_digits.md, .png", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
