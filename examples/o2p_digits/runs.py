"""Training the heads on the digits: end to end, on a frozen trunk, and where autograd fails."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from examples.o2p_digits.data import Digits
from examples.o2p_digits.networks import (
    EPS,
    AutogradLogarithm,
    averaged,
    flattened,
    pooled,
    trunk,
)
from examples.training import Recipe, Step, fit
from mbp.generated.o2p import O2P
from mbp.generated.power_pool import PowerPool

BATCH, CLIP, EPOCHS, HELD_OUT = 50, 5.0, 25, 200
RATES = (1e-3, 3e-3)
FAILURE_RATE, FAILURE_STEPS = 1e-3, 200
Tick = Callable[[], None]


@dataclass(frozen=True)
class Contender:
    """A head, how many epochs it is given, and what becomes of the trunk below it."""

    head: Callable[[], nn.Sequential]
    epochs: int = EPOCHS
    trunk: Literal["trained", "random", "pretrained"] = "trained"

    def recipe(self, rate: float, digits: Digits) -> Recipe:
        """The epochs as steps."""
        return Recipe(len(digits.labels) // BATCH * self.epochs, BATCH, rate, CLIP)


def logarithm() -> nn.Sequential:
    """Scores from log(FᵀF/49 + εI) by the emitted layer."""
    return pooled(O2P(EPS))


def square_root() -> nn.Sequential:
    """Scores from (FᵀF/49 + εI)^½ by the emitted layer."""
    return pooled(PowerPool(EPS, 0.5))


AVERAGE = "global average pooling + linear"
CONTENDERS = {
    AVERAGE: Contender(averaged, epochs=60),
    "flatten + 128 hidden units": Contender(flattened),
    "log, trunk frozen at random": Contender(logarithm, trunk="random"),
    "log, trunk pretrained, then frozen": Contender(logarithm, trunk="pretrained"),
    "square root, end to end": Contender(square_root),
    "log, end to end": Contender(logarithm),
}
LOGARITHMS: Mapping[str, Callable[[], nn.Module]] = {
    "mbp": lambda: O2P(EPS),
    "autograd through eigh": lambda: AutogradLogarithm("eigh"),
    "autograd through svd": lambda: AutogradLogarithm("svd"),
}


def steps(digits: Digits) -> int:
    """How many steps one race takes."""
    return sum(contender.recipe(1.0, digits).steps for contender in CONTENDERS.values())


def race(
    rates: Mapping[str, float], train: Digits, test: Digits, seed: int, tick: Tick
) -> dict[str, float]:
    """The test error of every contender, all from one first trunk; `tick` follows each step.

    The pretrained trunk is the one that learned under average pooling.
    """
    errors = {}
    pretrained = trunk()
    for name, contender in CONTENDERS.items():
        torch.manual_seed(seed)
        fresh, head = trunk(), contender.head()
        base = pretrained if contender.trunk == "pretrained" else fresh
        recipe = contender.recipe(rates[name], train)
        net = nn.Sequential(*base, *head)
        if contender.trunk == "trained":
            classify(net, train, recipe, seed, tick)
        else:  # all but the classifier stays as it is
            descriptors = in_batches(net[:-1], train.images)
            classify(net[-1], Digits(descriptors, train.labels), recipe, seed, tick)
        errors[name] = error(net, test)
        if name == AVERAGE:
            pretrained = base
    return errors


def classify(
    net: nn.Module, digits: Digits, recipe: Recipe, seed: int, tick: Tick
) -> list[Step]:
    """Trains the net by cross-entropy."""

    def loss(batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(digits.images[batch]), digits.labels[batch])

    return fit(net, loss, len(digits.labels), recipe, seed, lambda step: tick())


def chosen_rates(train: Digits, tick: Tick) -> dict[str, float]:
    """For each contender the rate with the smaller error on HELD_OUT training digits."""
    kept, held_out = train.part(slice(HELD_OUT, None)), train.part(slice(HELD_OUT))
    found = {
        rate: race(dict.fromkeys(CONTENDERS, rate), kept, held_out, 0, tick) for rate in RATES
    }
    return {name: min(RATES, key=lambda rate: found[rate][name]) for name in CONTENDERS}


def failures(train: Digits, dtype: torch.dtype, tick: Tick) -> dict[str, list[Step]]:
    """The steps of one network trained through each of the LOGARITHMS, from the same weights."""
    digits = Digits(train.images.to(dtype), train.labels)
    recipe = Recipe(FAILURE_STEPS, BATCH, FAILURE_RATE, CLIP)
    histories = {}
    for name, logarithm in LOGARITHMS.items():
        torch.manual_seed(0)
        net = nn.Sequential(*trunk(), *pooled(logarithm())).to(dtype)
        histories[name] = classify(net, digits, recipe, 0, tick)
    return histories


def in_batches(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The function's values on many images, without gradients."""
    with torch.no_grad():
        return torch.cat([function(part) for part in images.split(500)])


def error(net: nn.Module, digits: Digits) -> float:
    """The share of the digits that the net takes for another."""
    found = in_batches(net, digits.images).argmax(1)
    return (found != digits.labels).double().mean().item()
