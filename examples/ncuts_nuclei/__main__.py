"""Finds cell nuclei by normalized cuts of features trained through J2 on half of one image.

Run as `python -m examples.ncuts_nuclei [--seeds N]`; about a minute on two cores, no download.
Writes examples/results/ncuts_nuclei.md and ncuts_nuclei.png.
"""

import numpy as np
import torch
import typer
from rich.console import Console
from rich.markdown import Markdown
from skimage.filters import threshold_otsu
from skimage.measure import label

from examples.cuts.network import Segmenter, inferred, learn, segmenter
from examples.cuts.pictures import draw
from examples.cuts.scenes import Scene, enlarged, on_grid
from examples.cuts.segmentation import (
    Segmentation,
    best_scale_for_each,
    covering,
    segmentations,
)
from examples.ncuts_nuclei.data import LEFT, RIGHT, crops
from examples.reporting import RESULTS, progress_bar, show, spread, ticking, write
from examples.training import Recipe

TRAIN, TEST, PICTURED = 40, 10, 4
RECIPE = Recipe(steps=200, batch=4, rate=2e-3, clip=1.0)
TITLE = "Normalized cuts of nuclei: covering in %, best k for each image"
HEADINGS = ("segmentation", "covering")
NOTES = """Mean ± standard deviation over {seeds} seeds; `python -m examples.ncuts_nuclei`. {train}
crops of 96² pixels from the left half of one 512² image for training, {test} from its right half
for testing, {steps} steps: an illustration. The features learn background against nuclei; a
segmentation is judged by the background and the single nuclei."""


def otsu(scene: Scene) -> Segmentation:
    """Otsu's threshold, split into connected components."""
    light = scene.image[0].numpy()
    segments = label(light > threshold_otsu(light), background=-1, connectivity=1)
    return Segmentation([segments], [covering(scene.segments, segments)])


def ceiling(scene: Scene) -> float:
    """The covering of the truth by itself on the features' grid."""
    return covering(scene.segments, enlarged(on_grid(scene.segments)))


def models(seed: int) -> dict[str, Segmenter]:
    """The competitors, all of the same first weights."""
    made = {}
    for name in ("untrained", "J2, trunk frozen", "J2, end to end"):
        torch.manual_seed(seed)
        made[name] = segmenter("J2")
    made["J2, trunk frozen"].net.trunk.requires_grad_(False)
    return made


def main(seeds: int = 3) -> None:
    """Trains and segments from SEEDS first weights.

    Prints the table and writes it and the picture to examples/results/.
    """
    console = Console()
    rng = np.random.default_rng(0)
    training, testing = crops(TRAIN, LEFT, rng), crops(TEST, RIGHT, rng)
    runs: list[dict[str, list[Segmentation]]] = []
    with progress_bar(console) as bar:
        step = ticking(bar, "train", seeds * 2 * RECIPE.steps)
        segmented = ticking(bar, "segment", seeds * 3 * TEST)
        for seed in range(seeds):
            found = {}
            for name, model in models(seed).items():
                if name != "untrained":
                    learn(model, training, RECIPE, seed, lambda number: step())
                features = inferred(model, testing).numpy()
                found[name] = segmentations(features, testing, segmented)
            runs.append(found)
    thresholds = [otsu(scene) for scene in testing]
    rows = [
        ("Otsu's threshold", spread([best_scale_for_each(thresholds)])),
        ("the truth on the features' grid", spread([float(np.mean([*map(ceiling, testing)]))])),
        *(
            (name, spread([best_scale_for_each(found[name]) for found in runs]))
            for name in runs[0]
        ),
    ]
    notes = NOTES.format(seeds=seeds, train=TRAIN, test=TEST, steps=RECIPE.steps)
    show(console, TITLE, HEADINGS, rows)
    console.print(Markdown(notes))
    write("ncuts_nuclei", TITLE, HEADINGS, rows, notes)
    columns = {"Otsu's threshold": thresholds, **runs[0]}
    shown = slice(0, PICTURED)
    titles = {title.replace(", ", "\n"): found[shown] for title, found in columns.items()}
    draw(testing[shown], titles, RESULTS / "ncuts_nuclei.png")
    console.print(f"written: {RESULTS}/ncuts_nuclei.md, .png", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
