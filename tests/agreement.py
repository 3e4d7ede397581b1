"""Whether an expression's derived gradients agree with autograd and with its own variation."""

from __future__ import annotations

import numpy as np
import torch

from mbp.definition import Definition
from mbp.derive.derivation import Derivation
from mbp.derive.deriver import derive
from mbp.expr.nodes import Expr, Variation, variables
from mbp.numeric.evaluate import Interpreter
from mbp.verify.differences import Instance, random_instance
from mbp.verify.plain import plain_forward

TOLERANCE = 1e-7
STEP = 1e-5
DIFFERENCE_TOLERANCE = 1e-5
"""A central difference is good to about STEP², and eps / STEP in rounding."""
NEARBY = 1e-9
JUMP = 1e-4
"""A relative change of the value this large over a step of size `NEARBY` is a jump."""


def jumps(Y: Expr, instance: Instance) -> bool:
    """Whether Y is discontinuous at the instance, where it has no derivative.

    An argument of `sign` that is zero but for rounding does that: its sign is noise.
    """
    at, ahead, behind = (Interpreter(instance.at(t)).value(Y) for t in (0.0, NEARBY, -NEARBY))
    size = max(1.0, float(np.abs(at).max()))
    return bool(max(np.abs(ahead - at).max(), np.abs(behind - at).max()) > JUMP * size)


def derived(Y: Expr) -> Derivation:
    """The derivation of a layer whose only output is Y."""
    return derive(Definition("random", {x.name: x for x in variables(Y)}, {"Out": Y}))


def disagreement(derivation: Derivation, seed: int) -> str | None:
    """What is wrong with the derivation of one output Y at a random admissible instance, or None.

    The directional derivative of ⟨G, Y⟩ is taken three ways: by the derived gradients, by the
    derived variation, and by autograd of the plain forward, or by a central difference where
    autograd gives no number. Where Y jumps there is no derivative.
    """
    inputs = derivation.definition.inputs
    Y = derivation.definition.outputs["Out"]
    rng = np.random.default_rng(seed)
    instance = random_instance([Y], rng)
    if jumps(Y, instance):
        return None
    point = instance.at(0.0)
    G = derivation.cotangents["Out"]
    cotangent = rng.normal(size=Interpreter(point).value(Y).shape)
    tangents = {Variation(x): dX for x, dX in instance.direction.items()}
    interpreter = Interpreter({**point, **tangents, G: cotangent})

    leaves = {x: torch.tensor(point[x], requires_grad=True) for x in inputs.values()}
    plain = plain_forward({"Out": Y}, leaves, instance.sizes)["Out"]
    if plain.requires_grad:
        (plain * torch.from_numpy(cotangent)).sum().backward()
    products: dict[str, list[float]] = {"autograd": [], "reverse mode": []}
    # Where every derivative vanishes autograd is left with the rounding of terms of this size.
    size = 1e-3 * float(np.linalg.norm(cotangent))
    for name, x in inputs.items():
        dX = instance.direction[x]
        gradient = leaves[x].grad
        theirs = np.zeros(dX.shape) if gradient is None else gradient.numpy()
        mine = interpreter.value(derivation.gradients[name])
        for way, M in (("autograd", theirs), ("reverse mode", mine)):
            products[way].append(float((M * dX).sum()))
            size = max(size, float(np.nan_to_num(np.abs(M * dX)).sum()))
    expected = sum(products["autograd"])
    tolerance, witness = TOLERANCE, "autograd"
    if not np.isfinite(expected):  # as torch's eigh gives where eigenvalues coincide
        ahead, behind = (Interpreter(instance.at(t)).value(Y) for t in (STEP, -STEP))
        expected = float((cotangent * (ahead - behind)).sum()) / (2 * STEP)
        tolerance, witness = DIFFERENCE_TOLERANCE, "a central difference"
    found = {
        "reverse mode": sum(products["reverse mode"]),
        "forward mode": float((cotangent * interpreter.value(derivation.variations["Out"])).sum()),
    }
    for way, value in found.items():
        if not abs(value - expected) <= tolerance * size:
            return f"{way} gives {value!r}, {witness} {expected!r} for {Y} (seed {seed})"
    return None
