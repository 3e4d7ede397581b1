"""Segments texture mosaics by normalized cuts of features trained through the emitted layers.

Run as `python -m examples.ncuts_mosaics [--seeds N]`; a few minutes on two cores, no download.
Writes examples/results/ncuts_mosaics.md, ncuts_mosaics.png and ncuts_ranks.png.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown

from examples.cuts.monitor import Reading
from examples.cuts.mosaics import Mosaic, train_and_test
from examples.cuts.pictures import draw
from examples.cuts.scenes import enlarged, on_grid
from examples.cuts.segmentation import (
    best_scale_for_all,
    best_scale_for_each,
    covering,
    segmentations,
)
from examples.ncuts_mosaics.pretrained import pooled_features
from examples.ncuts_mosaics.runs import RECIPE, TRAININGS, VARIANTS, Outcome, run
from examples.reporting import RESULTS, progress_bar, show, spread, ticking, write

TRAIN, TEST, PICTURED = 60, 30, 5
PRETRAINED = "EfficientNet-Lite0, box-pooled"
TITLE = "Normalized cuts of texture mosaics: covering in %"
HEADINGS = (
    "features",
    "best k\nfor each",
    "best k\nfor all",
    "alignment\ndeficit",
    "entropy\nrank",
)
NOTES = """Mean ± standard deviation over {seeds} seeds; `python -m examples.ncuts_mosaics`. {train}
mosaics of two or three regions for training, from the left halves of the photographs, {test} for
testing, from the right halves; {steps} steps. Covering with the best number of clusters k of 2 … 8
for each image (OIS) and with the one that is best for all (ODS). The deficit k − ‖QᵀÊ‖² is 0 when
the features span the partition. EfficientNet-Lite0 was trained on ImageNet and not for this. The
last two rows are another test: mosaics of two regions, of which one shows a texture that training
left out (another for each seed)."""


def baselines(testing: Sequence[Mosaic]) -> dict[str, float]:
    """Coverings that need no features."""
    whole = [covering(scene.segments, np.zeros_like(scene.segments)) for scene in testing]
    grid = [covering(scene.segments, enlarged(on_grid(scene.segments))) for scene in testing]
    return {
        "one segment": float(np.mean(whole)),
        "the truth on the features' grid": float(np.mean(grid)),
    }


def summary(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A variant's cells of the table, over the seeds."""
    return (
        spread([best_scale_for_each(outcome.found) for outcome in outcomes]),
        spread([best_scale_for_all(outcome.found) for outcome in outcomes]),
        f"{np.mean([outcome.alignment.deficit for outcome in outcomes]):.2f}",
        f"{np.mean([outcome.alignment.entropy_rank for outcome in outcomes]):.1f}",
    )


def draw_monitor(runs: Mapping[str, Sequence[Sequence[Reading]]], path: Path) -> None:
    """Objective, alignment deficit and ranks along training, a line for each seed."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    panels: dict[str, Callable[[Reading], float]] = {
        "objective": lambda at: at.objective,
        "alignment deficit k − ‖QᵀÊ‖²": lambda at: at.alignment.deficit,
        "rank of the features": lambda at: at.alignment.rank,
    }
    for (name, seeds), colour in zip(runs.items(), ("tab:orange", "tab:blue"), strict=True):
        for seed, readings in enumerate(seeds):
            steps = [at.step for at in readings]
            label = name if seed == 0 else None
            for axis, value in zip(axes, panels.values(), strict=True):
                axis.plot(steps, [value(at) for at in readings], color=colour, label=label)
            entropies = [at.alignment.entropy_rank for at in readings]
            axes[2].plot(
                steps, entropies, "--", color=colour, label=label and f"{name}, entropy rank"
            )
    for axis, title in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main(seeds: int = 3) -> None:
    """Trains and segments from SEEDS first weights.

    Prints the table and writes it and the pictures to examples/results/.
    """
    console = Console()
    training, testing = train_and_test(TRAIN, TEST)
    with progress_bar(console) as bar:
        tick = ticking(bar, "segment, pretrained", TEST)
        pretrained = segmentations(pooled_features(testing).numpy(), testing, tick)
        step = ticking(bar, "train", seeds * TRAININGS * RECIPE.steps)
        segmented = ticking(bar, "segment", seeds * len(VARIANTS) * TEST)
        runs = [run(training, testing, seed, step, segmented) for seed in range(seeds)]
    rows: list[Sequence[str]] = [
        (name, spread([share]), "–", "–", "–") for name, share in baselines(testing).items()
    ]
    scores = (best_scale_for_each(pretrained), best_scale_for_all(pretrained))
    rows.append((PRETRAINED, *(spread([score]) for score in scores), "–", "–"))
    rows += [(name, *summary([outcomes[name] for outcomes in runs])) for name in VARIANTS]
    notes = NOTES.format(seeds=seeds, train=TRAIN, test=TEST, steps=RECIPE.steps)
    show(console, TITLE, HEADINGS, rows)
    console.print(Markdown(notes))
    write("ncuts_mosaics", TITLE, HEADINGS, rows, notes)

    shown = slice(0, PICTURED)
    columns = {PRETRAINED: pretrained}
    columns |= {name: runs[0][name].found for name in VARIANTS[:4]}
    titles = {title.replace(", ", "\n"): found[shown] for title, found in columns.items()}
    draw(testing[shown], titles, RESULTS / "ncuts_mosaics.png")
    objectives = {
        name[:2]: [outcomes[name].readings for outcomes in runs]
        for name in ("J1, end to end", "J2, end to end")
    }
    draw_monitor(objectives, RESULTS / "ncuts_ranks.png")
    console.print(f"written: {RESULTS}/ncuts_mosaics.md, .png, ncuts_ranks.png", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
