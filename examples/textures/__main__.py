"""Trains O2P, J1 and J2 on texture mosaics and reports what the layers and the losses did.

Run as `python -m examples.textures`; takes about a minute on two cores and downloads nothing.
The picture is written to examples/results/textures.png. The exit status is 1 when a gradient
check fails or a loss does not fall.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import nn

from examples.textures.mosaics import STRIDE, Mosaic, train_and_test
from examples.textures.network import FLOOR, RegionClassifier, Segmenter
from examples.textures.segmentation import Labels, covering, normalized_cut
from mbp import layers
from mbp.generated.ncuts_j1 import NCutsJ1
from mbp.generated.ncuts_j2 import NCutsJ2

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TRAIN, TEST, BATCH, STEPS, RATE, CLIP = 60, 12, 4, 150, 1e-3, 1.0
CLUSTERS = range(2, 9)
PICTURED = 4
PICTURE = Path(__file__).parents[1] / "results" / "textures.png"


@dataclass(frozen=True)
class Run:
    """One layer's training: its loss on the test mosaics before and after, and the seconds."""

    model: nn.Module
    before: float
    after: float
    seconds: float


def test_loss(model: nn.Module, mosaics: Sequence[Mosaic]) -> float:
    """The model's loss on the mosaics, without dropout."""
    model.eval()
    with torch.no_grad():
        value: float = model(mosaics).item()
    model.train()
    return value


def train(
    model: nn.Module, train: Sequence[Mosaic], test: Sequence[Mosaic], tick: Callable[[], None]
) -> Run:
    """STEPS steps of Adam with a cosine schedule; `tick` is called after each."""
    started = time.perf_counter()
    before = test_loss(model, test)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    order = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randperm(len(train), generator=order)[:BATCH]
        optimizer.zero_grad()
        model([train[index] for index in chosen]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
        tick()
    return Run(model, before, test_loss(model, test), time.perf_counter() - started)


def accuracy(model: RegionClassifier, mosaics: Sequence[Mosaic]) -> float:
    """The share of the mosaics' regions whose texture is recognised."""
    model.eval()
    with torch.no_grad():
        found = model.scores(mosaics).argmax(1)
    return (found == torch.cat([mosaic.textures for mosaic in mosaics])).double().mean().item()


def segmentations(
    model: Segmenter, mosaics: Sequence[Mosaic], tick: Callable[[], None]
) -> list[Labels]:
    """The normalized cut of each mosaic, of those with 2 to 8 clusters the best covering.

    `tick` is called after each mosaic.
    """
    rng = np.random.default_rng(0)
    model.eval()
    with torch.no_grad():
        features = model.features(mosaics).numpy()
    cuts = []
    for F, mosaic in zip(features, mosaics, strict=True):
        grown = [enlarged(normalized_cut(F, k, rng)) for k in CLUSTERS]
        best = np.argmax([covering(mosaic.regions, cut) for cut in grown])
        cuts.append(grown[best])
        tick()
    return cuts


def alignment_deficit(model: Segmenter, mosaics: Sequence[Mosaic]) -> float:
    """The mean of J − (r − k)/2 = k − ‖QᵀÊ‖²: 0 where the features span the partition.

    J itself also falls when the rank r of the features does; the deficit does not.
    """
    model.eval()
    with torch.no_grad():
        ranks: list[int] = torch.linalg.matrix_rank(model.features(mosaics)).tolist()
    regions = [len(mosaic.textures) for mosaic in mosaics]
    return test_loss(model, mosaics) - (sum(ranks) - sum(regions)) / (2 * len(mosaics))


def enlarged(segments: Labels) -> Labels:
    """Labels on the grid as labels of the image's pixels."""
    return segments.repeat(STRIDE, 0).repeat(STRIDE, 1)


def mean_covering(mosaics: Sequence[Mosaic], cuts: Sequence[Labels]) -> float:
    """Covering of the true regions, averaged over the mosaics."""
    pairs = zip(mosaics, cuts, strict=True)
    return float(np.mean([covering(mosaic.regions, cut) for mosaic, cut in pairs]))


def draw(mosaics: Sequence[Mosaic], columns: dict[str, list[Labels]], path: Path) -> None:
    """A row for each mosaic: image, true partition, and one column for each segmentation."""
    width = 2 + len(columns)
    figure, axes = plt.subplots(
        len(mosaics), width, figsize=(2.0 * width, 2.1 * len(mosaics)), squeeze=False
    )
    for row, mosaic in enumerate(mosaics):
        axes[row, 0].imshow(mosaic.image[0].numpy(), cmap="gray")
        axes[row, 1].imshow(mosaic.regions, cmap="tab10", interpolation="nearest")
        for column, cuts in enumerate(columns.values(), start=2):
            axes[row, column].imshow(cuts[row] % 20, cmap="tab20", interpolation="nearest")
            axes[row, column].set_xlabel(f"covering {covering(mosaic.regions, cuts[row]):.0%}")
    for column, title in enumerate(("image", "true partition", *columns)):
        axes[0, column].set_title(title)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(runs: dict[str, Run], console: Console) -> bool:
    """Prints the table of layers; true when every gradient check passed and every loss fell."""
    errors: dict[str, dict[str, float]] = {}
    passed = True
    for name in runs:
        errors[name] = {}
        for row in getattr(layers, name).check():
            errors[name][row.witness] = max(row.error, errors[name].get(row.witness, 0.0))
            passed &= row.passed
    witnesses = list(dict.fromkeys(witness for found in errors.values() for witness in found))

    title = "Relative error of the gradient against each witness, and test loss"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("layer", overflow="fold")
    for heading in (*witnesses, "loss before", "after", "seconds"):
        table.add_column(heading, justify="right", overflow="fold")
    for name, run in runs.items():
        shown = [f"{errors[name][w]:.0e}" if w in errors[name] else "–" for w in witnesses]
        losses = (f"{run.before:.3f}", f"{run.after:.3f}", f"{run.seconds:.1f}")
        table.add_row(name, *shown, *losses)
    console.print(table)
    return passed and all(run.after < run.before for run in runs.values())


def main() -> int:
    """Trains, segments, prints the table and writes the picture; the process's exit status."""
    console = Console()
    training, testing = train_and_test(TRAIN, TEST)
    torch.manual_seed(0)
    classifier = RegionClassifier()
    segmenters = {
        "ncuts_j1": Segmenter(NCutsJ1(), floor=FLOOR),
        "ncuts_j2": Segmenter(NCutsJ2()),
    }
    with Progress(
        TextColumn("{task.description:>17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:

        def ticking(job: str, total: int) -> Callable[[], None]:
            task = progress.add_task(job, total=total)
            return lambda: progress.advance(task)

        recognised = accuracy(classifier, testing)
        runs = {"o2p": train(classifier, training, testing, ticking("train o2p", STEPS))}
        columns = {
            "before": segmentations(
                segmenters["ncuts_j2"], testing, ticking("segment, before", TEST)
            )
        }
        deficits = {}
        for name, model in segmenters.items():
            before = alignment_deficit(model, testing)
            runs[name] = train(model, training, testing, ticking(f"train {name}", STEPS))
            deficits[name] = f"{before:.2f} before, {alignment_deficit(model, testing):.2f} after"
            title = f"after {name.removeprefix('ncuts_').upper()}"
            columns[title] = segmentations(model, testing, ticking(f"segment, {title}", TEST))

    fine = report(runs, console)
    console.print(
        f"regions recognised from their O2P descriptor: {recognised:.0%} before, "
        f"{accuracy(classifier, testing):.0%} after"
    )
    for name, change in deficits.items():
        console.print(f"alignment deficit of {name}: {change}")
    scores = (f"{mean_covering(testing, cuts):.0%} {title}" for title, cuts in columns.items())
    console.print("true regions covered by normalized cuts: " + ", ".join(scores))
    shown = slice(0, PICTURED)
    draw(testing[shown], {title: cuts[shown] for title, cuts in columns.items()}, PICTURE)
    console.print(f"picture: {PICTURE}", soft_wrap=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
