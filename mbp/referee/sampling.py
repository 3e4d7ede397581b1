"""Random admissible instances for a claim: sizes, points of every rank that matters, directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Output, Var, topological
from mbp.invariants.infer import is_
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import Arithmetic, Array
from mbp.numeric.instances import (
    Curve,
    curve,
    is_fixed,
    random_point,
    random_variation,
    shape_of,
    size_test,
)
from mbp.referee.conditions import Sizes, Trial
from mbp.referee.statement import Claim, Measure
from mbp.rulebook import RULEBOOK
from mbp.verify.differences import Instance

_SMALLEST = 2
_FULL_RANK = {
    "full_column_rank", "full_row_rank", "projector", "partition", "diagonal", "lower_triangular",
    "upper_triangular",
}  # fmt: skip


def sample(claim: Claim, trial: Trial, seed: int, at: Arithmetic) -> Instance:
    """The instance of a claim that belongs to `seed`: the same in either arithmetic.

    Even seeds have matrices of full rank; odd ones also deficient matrices below projectors,
    pseudoinverses and ranks, whose directions keep the rank. Raises MbpError when the conditions
    of the trial admit no matrices.
    """
    rng = np.random.default_rng(seed)
    choices = _fitting(claim, trial)
    sizes = choices[int(rng.integers(len(choices)))]
    deficient = _rank_dependent(claim, trial) if seed % 2 else frozenset()
    point: dict[Var, Array] = {}
    direction: dict[Var, Array] = {}
    curves: dict[Var, Curve] = {}
    for x in claim.setting.inputs.values():
        rank = _deficient_rank(x, sizes, rng) if x in deficient else None
        point[x], direction[x], curves[x] = _placed(x, trial, sizes, rank, rng, at)
    for G in claim.setting.cotangents.values():
        if isinstance(G, Var):
            point[G] = at.matrix(rng.normal(size=shape_of(G, sizes)))
            direction[G] = at.zeros(*point[G].shape)
            curves[G] = _constant(point[G])
    return Instance(at, sizes, point, direction, curves)


def moving_only(instance: Instance, x: Var, dX: Array, along: Curve) -> Instance:
    """The same point with a direction in x alone."""
    at = instance.arithmetic
    still = {y: at.zeros(*Y.shape) for y, Y in instance.point.items()}
    curves = {y: _constant(Y) for y, Y in instance.point.items()}
    return Instance(
        at, instance.sizes, instance.point, {**still, x: dX}, {**curves, x: along}
    )


def directions(
    x: Var, X: Array, trial: Trial, rng: np.random.Generator, at: Arithmetic, count: int
) -> list[tuple[Array, Curve]]:
    """Random admissible directions of x at X, of the rank of X where that is deficient."""
    return [_moved(x, X, trial, rng, at) for _ in range(count)]


def _constant(X: Array) -> Curve:
    return lambda t: X


# --- sizes ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _fitting(claim: Claim, trial: Trial) -> Sequence[Mapping[str, int]]:
    """Sizes that the claim and the trial admit, different for different names where they can be."""
    declared = [trial.declared(x) for x in claim.setting.inputs.values()]
    names, fits = size_test([*claim.expressions, *declared])
    same = {one: other for one, other in trial.equal().items() if one in names}
    free = [name for name in names if name not in same]
    top = _SMALLEST + len(free) + 2

    def admissible(choice: Mapping[str, int]) -> bool:
        return fits(choice) and trial.admits(choice) and _respects(claim.setting.assumed, choice)

    for kinds in (permutations(range(_SMALLEST, top), len(free)),
                  product(range(1, top), repeat=len(free))):  # fmt: skip
        found = []
        for numbers in kinds:
            choice = dict(zip(free, numbers, strict=True))
            choice |= {one: choice[other] for one, other in same.items()}
            if admissible(choice):
                found.append(choice)
        if found:
            found.sort(key=lambda choice: sum(choice.values()))
            return found[: max(6, len(found) // 2)]
    raise MbpError(f"no small sizes of {', '.join(names)} fit together")


def may_exceed(claim: Claim, m: sp.Symbol, n: sp.Symbol) -> bool:
    """Whether the declarations admit more m than n."""
    try:
        choices = _fitting(claim, Trial((Sizes(m, ">=", n),)))
    except MbpError:
        return False
    return any(choice[m.name] > choice[n.name] for choice in choices)


def _respects(assumed: Sequence[tuple[Dim, Dim]], sizes: Mapping[str, int]) -> bool:
    def at(n: Dim) -> int:
        return int(n.xreplace({s: sizes[s.name] for s in n.free_symbols}))

    return all(at(big) >= at(small) for big, small in assumed)


# --- points ---------------------------------------------------------------------------------------


def _placed(
    x: Var, trial: Trial, sizes: Mapping[str, int], rank: int | None,
    rng: np.random.Generator, at: Arithmetic,
) -> tuple[Array, Array, Curve]:  # fmt: skip
    declared = trial.declared(x)
    if rank is None:
        X = random_point(declared, sizes, rng, at)
    elif VOCABULARY.closure(declared.properties) & {"positive", "nonnegative"}:
        X = _low_rank_positive(declared, sizes, rank, rng, at)
    else:
        X = random_point(declared, sizes, rng, at, rank)
    dX, along = _moved(x, X, trial, rng, at)
    return X, dX, along


def _moved(
    x: Var, X: Array, trial: Trial, rng: np.random.Generator, at: Arithmetic
) -> tuple[Array, Curve]:
    varied = trial.varied(x)
    if X.shape != (1, 1) and at.rank_split(X)[3] < min(X.shape):
        if varied is not None:
            raise MbpError(f"no variation of {x} is known that also keeps its rank")
        x = _signless(x)  # such a curve keeps the rank, and signs for small t
    if varied is not None:
        dX = random_variation(varied, X, rng, at)
        return dX, lambda t: X + t * dX
    dX = random_variation(x, X, rng, at)
    return dX, curve(x, X, dX, at)


def _signless(x: Var) -> Var:
    kept = tuple(name for name in x.properties if name not in ("positive", "nonnegative"))
    return build.var(x.name, x.rows, x.cols, kept)


def _low_rank_positive(
    x: Var, sizes: Mapping[str, int], rank: int, rng: np.random.Generator, at: Arithmetic
) -> Array:
    rows, cols = shape_of(x, sizes)
    B = at.matrix(rng.uniform(0.3, 1.8, size=(rows, rank)))
    if "symmetric" in VOCABULARY.closure(x.properties):
        return B @ B.T
    return B @ at.matrix(rng.uniform(0.3, 1.8, size=(rank, cols)))


# --- ranks ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _rank_dependent(claim: Claim, trial: Trial) -> frozenset[Var]:
    """The variables below maps of constant rank, and below ranks, that may be deficient."""
    found: set[Var] = set()
    for node in topological(*claim.expressions):
        if isinstance(node, Output):
            rule = RULEBOOK.decompositions[node.rule]
            for x, A in zip(rule.inputs, node.args, strict=True):
                if x.name in rule.constant_rank and not is_(A, "invertible"):
                    found.update(_variables(A))
        elif isinstance(node, Measure):
            found.update(_variables(node.args[0]))
    found.update(x for x in claim.setting.inputs.values() if trial.allows_singular(x))
    return frozenset(x for x in found if may_be_deficient(trial.declared(x)))


def may_be_deficient(x: Var) -> bool:
    """Whether a matrix with the declared properties of x may have less than full rank."""
    known = VOCABULARY.closure(x.properties)
    return not (known & _FULL_RANK or x.is_scalar)


def may_be_symmetric(x: Var) -> bool:
    """Whether x may be symmetric and need not."""
    properties = (*x.properties, "symmetric")
    known = VOCABULARY.closure(x.properties)
    square = x.is_square and not x.is_scalar and "symmetric" not in known
    return square and not VOCABULARY.contradiction(properties)


def _variables(A: Expr) -> set[Var]:
    return {node for node in topological(A) if isinstance(node, Var)}


def _deficient_rank(x: Var, sizes: Mapping[str, int], rng: np.random.Generator) -> int | None:
    most = min(shape_of(x, sizes))
    rank = 1 if rng.random() < 0.5 else int(rng.integers(1, max(most, 2)))
    return rank if most > 1 and rng.random() < 0.7 else None


def is_varied(x: Var) -> bool:
    """Whether x has a variation."""
    return not is_fixed(x)
