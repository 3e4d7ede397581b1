"""Whether an expression's derived gradients agree with autograd and with its own variation."""

from __future__ import annotations

import numpy as np
import torch

from mbp.definition import Definition
from mbp.derive.deriver import derive
from mbp.expr.nodes import Expr, Variation, variables
from mbp.verify.differences import random_instance
from mbp.verify.evaluate import Interpreter
from mbp.verify.plain import plain_forward

TOLERANCE = 1e-7


def disagreement(Y: Expr, seed: int) -> str | None:
    """What is wrong with the derivation of Y at a random admissible instance, or None.

    The directional derivative of ⟨G, Y⟩ is taken three ways: by the derived gradients, by the
    derived variation, and by autograd of the plain forward.
    """
    inputs = {x.name: x for x in variables(Y)}
    rng = np.random.default_rng(seed)
    derivation = derive(Definition("random", inputs, {"Y": Y}))
    instance = random_instance([Y], rng)
    point = instance.at(0.0)
    G = derivation.cotangents["Y"]
    cotangent = rng.normal(size=Interpreter(point).value(Y).shape)
    tangents = {Variation(x): dX for x, dX in instance.direction.items()}
    interpreter = Interpreter({**point, **tangents, G: cotangent})

    leaves = {x: torch.tensor(point[x], requires_grad=True) for x in inputs.values()}
    plain = plain_forward({"Y": Y}, leaves, instance.sizes)["Y"]
    if plain.requires_grad:
        (plain * torch.from_numpy(cotangent)).sum().backward()
    products: dict[str, list[float]] = {"autograd": [], "reverse mode": []}
    size = 1e-6 * float(np.linalg.norm(cotangent))  # where every derivative vanishes
    for name, x in inputs.items():
        dX = instance.direction[x]
        gradient = leaves[x].grad
        theirs = np.zeros(dX.shape) if gradient is None else gradient.numpy()
        mine = interpreter.value(derivation.gradients[name])
        for way, M in (("autograd", theirs), ("reverse mode", mine)):
            products[way].append(float((M * dX).sum()))
            size = max(size, float(np.abs(M * dX).sum()))
    expected = sum(products["autograd"])
    found = {
        "reverse mode": sum(products["reverse mode"]),
        "forward mode": float((cotangent * interpreter.value(derivation.variations["Y"])).sum()),
    }
    for way, value in found.items():
        if not abs(value - expected) <= TOLERANCE * size:
            return f"{way} gives {value!r}, autograd {expected!r} for {Y} (seed {seed})"
    return None
