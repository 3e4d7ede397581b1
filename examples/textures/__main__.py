"""Trains O2P, J1 and J2 on texture mosaics and reports what the layers and the losses did.

Run as `python -m examples.textures`; takes about a minute on two cores and downloads nothing.
The picture is written to examples/results/textures.png. The exit status is 1 when a gradient
check fails or a loss does not fall.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import nn

from examples.cuts.monitor import mean_alignment
from examples.cuts.mosaics import Mosaic, train_and_test
from examples.cuts.network import Segmenter, evaluated, inferred, learn, segmenter
from examples.cuts.pictures import draw
from examples.cuts.segmentation import best_scale_for_each, segmentations
from examples.reporting import RESULTS, progress_bar, show, ticking
from examples.textures.classifier import RegionClassifier
from examples.training import Recipe, Step
from mbp import layers

TRAIN, TEST, PICTURED = 60, 12, 4
RECIPE = Recipe(steps=200, batch=4, rate=2e-3, clip=1.0)
PICTURE = RESULTS / "textures.png"


@dataclass(frozen=True)
class Run:
    """One layer's training: its loss on the test mosaics before and after, and the seconds."""

    before: float
    after: float
    history: Sequence[Step]
    seconds: float

    @property
    def fell(self) -> bool:
        """Whether the loss fell and every gradient was finite."""
        return self.after < self.before and all(step.finite for step in self.history)


def trained(
    model: nn.Module, train: Sequence[Mosaic], test: Sequence[Mosaic], tick: Callable[[], None]
) -> Run:
    """Trains the model by RECIPE; `tick` is called after each step."""
    started = time.perf_counter()
    before = evaluated(model, test)
    history = learn(model, train, RECIPE, after=lambda step: tick())
    return Run(before, evaluated(model, test), history, time.perf_counter() - started)


def report(runs: dict[str, Run], console: Console) -> bool:
    """Prints the table of layers; true when every gradient check passed and every loss fell."""
    reports = {name: getattr(layers, name).check() for name in runs}
    witnesses = list(dict.fromkeys(row.witness for rows in reports.values() for row in rows))
    table = []
    for name, run in runs.items():
        errors = [
            max((row.error for row in reports[name] if row.witness == witness), default=None)
            for witness in witnesses
        ]
        shown = ["–" if error is None else f"{error:.0e}" if error else "0" for error in errors]
        losses = (f"{run.before:.3f}", f"{run.after:.3f}", f"{run.seconds:.1f}")
        table.append((name, *shown, *losses))
    title = "Gradient error against each witness, and loss on the test mosaics"
    columns = [witness.replace(" ", "\n") for witness in witnesses]
    headings = ("layer", *columns, "loss\nbefore", "loss\nafter", "seconds")
    show(console, title, headings, table)
    passed = all(found.passed for found in reports.values())
    return passed and all(run.fell for run in runs.values())


def main() -> int:
    """Trains, segments, prints the table and writes the picture; the process's exit status."""
    console = Console()
    training, testing = train_and_test(TRAIN, TEST)
    torch.manual_seed(0)
    classifier = RegionClassifier()
    models = {}
    for objective in ("J1", "J2"):
        torch.manual_seed(0)
        models[objective] = segmenter(objective)
    recognised = [classifier.accuracy(testing)]
    columns, notes = {}, []
    with progress_bar(console) as bar:

        def examine(title: str, model: Segmenter) -> None:
            tick = ticking(bar, f"segment, {title}", TEST)
            found = segmentations(inferred(model, testing).numpy(), testing, tick)
            state = mean_alignment(model, testing)
            columns[title] = found
            notes.append(
                f"{title}: {best_scale_for_each(found):.0%} of the true regions covered, "
                f"rank {state.rank:.1f}, alignment deficit {state.deficit:.2f}"
            )

        tick = ticking(bar, "train o2p", RECIPE.steps)
        runs = {"o2p": trained(classifier, training, testing, tick)}
        recognised.append(classifier.accuracy(testing))
        examine("before", models["J2"])
        for objective, model in models.items():
            layer = f"ncuts_{objective.lower()}"
            tick = ticking(bar, f"train {layer}", RECIPE.steps)
            runs[layer] = trained(model, training, testing, tick)
            examine(f"after {objective}", model)
    fine = report(runs, console)
    before, after = recognised
    console.print(f"regions recognised from their O2P descriptor: {before:.0%}, then {after:.0%}")
    for note in notes:
        console.print(note)
    shown = slice(0, PICTURED)
    draw(testing[shown], {title: found[shown] for title, found in columns.items()}, PICTURE)
    console.print(f"picture: {PICTURE}", soft_wrap=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
