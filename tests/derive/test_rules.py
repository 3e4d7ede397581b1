"""Every rule of step 1 and identity of step 2 holds on random instances."""

from __future__ import annotations

import numpy as np
import pytest

from mbp.errors import RuleError
from mbp.expr import build
from mbp.expr.nodes import Stack, Variation, variables
from mbp.numeric.arithmetic import multiprecision
from mbp.numeric.evaluate import Interpreter
from mbp.numeric.instances import random_point, random_sizes
from mbp.rulebook import RULEBOOK, Identity, VariationRule
from mbp.verify.differences import directional_derivatives, random_instance
from mbp.verify.proof import relative_error

TOLERANCE = 1e-20  # in 50 digits, where a central difference is good to about 30


@pytest.mark.parametrize("rule", RULEBOOK.variations.values(), ids=lambda rule: rule.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_variation_is_the_derivative_along_admissible_curves(
    rule: VariationRule, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    instance = random_instance([rule.expr, *rule.operands], rng, multiprecision(50))
    stated = rule.variation
    if stated is None:
        varied = tuple(build.variation(operand) for operand in rule.expr.args)
        stated = build.rebuild(rule.expr, varied)
    (expected,) = directional_derivatives([rule.expr], instance)
    tangents = {Variation(x): dX for x, dX in instance.direction.items()}
    claimed = Variation(rule.expr)
    interpreter = Interpreter(
        {**instance.at(0.0), **tangents, claimed: expected}, instance.arithmetic
    )
    assert relative_error(claimed, stated, interpreter) < TOLERANCE


@pytest.mark.parametrize("identity", RULEBOOK.identities.values(), ids=lambda i: i.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_identity_moves_its_map_across_the_inner_product(identity: Identity, seed: int) -> None:
    rng = np.random.default_rng(seed)
    letters = [*identity.operands, identity.cotangent]
    sizes = random_sizes([identity.map, *letters], rng)
    point = {x: random_point(x, sizes, rng, multiprecision(50)) for x in letters}
    interpreter = Interpreter({**sizes, **point}, multiprecision(50))
    left = build.inner(identity.cotangent, identity.map)
    assert set(identity.adjoint) == set(variables(identity.map))
    summands = [build.inner(moved, x) for x, moved in identity.adjoint.items()]
    if isinstance(identity.map, Stack):  # linear in its blocks together, not in each
        summands = [build.add(*summands)]
    for right in summands:
        assert relative_error(left, right, interpreter) < TOLERANCE


@pytest.mark.parametrize(
    "forward",
    ["torch.os.system", "torch.load", "torch.save", "torch.linalg.__builtins__.eval", "os.system",
     "torch.hub.load", "torch", 3],
)  # fmt: skip
def test_a_forward_that_is_no_function_on_tensors_is_refused(forward: object) -> None:
    entry = {
        "input": {"A": "n n positive_definite"},
        "output": {"L": "n n lower_triangular"},
        "defines": ["A = L @ L.T"],
        "forward": {"torch": forward},
    }
    with pytest.raises(RuleError, match=r"hostile.*no function on tensors"):
        RULEBOOK.add({"hostile": entry})
    assert "hostile" not in RULEBOOK.decompositions
