"""One seed of the experiment: every variant trained, segmented and watched."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from examples.cuts.monitor import Alignment, Reading, mean_alignment, reading
from examples.cuts.mosaics import LEFT, RIGHT, TEXTURES, mosaics
from examples.cuts.network import Segmenter, inferred, learn, segmenter
from examples.cuts.scenes import Scene
from examples.cuts.segmentation import Segmentation, segmentations
from examples.training import Recipe

RECIPE = Recipe(steps=200, batch=4, rate=2e-3, clip=1.0)
WATCHED, EVERY = 12, 20  # test scenes that the monitor reads, and after how many steps
Tick = Callable[[], None]


class Outcome(NamedTuple):
    """What a model's features give on the test scenes, and what the monitor read meanwhile."""

    found: list[Segmentation]
    alignment: Alignment
    readings: list[Reading]


VARIANTS = (
    "untrained",
    "J2, trunk frozen",
    "J1, end to end",
    "J2, end to end",
    "a texture unseen: untrained",
    "a texture unseen: J2, end to end",
)
TRAININGS = 4  # of the variants


def model_of(objective: str, seed: int, frozen: bool = False) -> Segmenter:
    """A segmenter whose first weights depend on the seed alone."""
    torch.manual_seed(seed)
    model = segmenter(objective)
    model.net.trunk.requires_grad_(not frozen)
    return model


def train(
    model: Segmenter, scenes: Sequence[Scene], watched: Sequence[Scene], seed: int, tick: Tick
) -> list[Reading]:
    """Trains by RECIPE; the monitor's readings of the watched scenes along the way, if any."""
    readings = [reading(model, watched, 0)] if watched else []

    def after(step: int) -> None:
        if watched and step % EVERY == 0:
            readings.append(reading(model, watched, step))
        tick()

    learn(model, scenes, RECIPE, seed, after)
    return readings


def examined(
    model: Segmenter, scenes: Sequence[Scene], readings: list[Reading], tick: Tick
) -> Outcome:
    """The model's outcome on the scenes; a tick for each."""
    found = segmentations(inferred(model, scenes).numpy(), scenes, tick)
    return Outcome(found, mean_alignment(model, scenes), readings)


def run(
    training: Sequence[Scene], testing: Sequence[Scene], seed: int, step: Tick, segmented: Tick
) -> dict[str, Outcome]:
    """The outcomes of all VARIANTS; `step` follows each training step.

    The texture left unseen is another for each seed; it is tested beside one of the others.
    """
    outcomes = {}
    trained = {
        "untrained": model_of("J2", seed),
        "J2, trunk frozen": model_of("J2", seed, frozen=True),
        "J1, end to end": model_of("J1", seed),
        "J2, end to end": model_of("J2", seed),
    }
    for name, model in trained.items():
        watched = testing[:WATCHED] if "end to end" in name else ()
        readings = [] if name == "untrained" else train(model, training, watched, seed, step)
        outcomes[name] = examined(model, testing, readings, segmented)

    rng = np.random.default_rng(seed)
    unseen = TEXTURES[seed % len(TEXTURES)]
    seen = [texture for texture in TEXTURES if texture != unseen]
    known = mosaics(len(training), LEFT, rng, seen)
    foreign = mosaics(len(testing), RIGHT, rng, (unseen, seen[0]))
    model = model_of("J2", seed)
    outcomes["a texture unseen: untrained"] = examined(model, foreign, [], segmented)
    train(model, known, (), seed, step)
    outcomes["a texture unseen: J2, end to end"] = examined(model, foreign, [], segmented)
    return outcomes
