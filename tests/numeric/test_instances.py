"""Instances, variations and curves are admissible, in both arithmetics."""

import numpy as np
import pytest

from mbp.errors import MbpError, PropertyError
from mbp.expr import build
from mbp.expr.dims import dim
from mbp.expr.nodes import Var
from mbp.expr.parser import parse
from mbp.invariants.declare import declare
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, multiprecision
from mbp.numeric.instances import (
    curve,
    deficient_ranks,
    random_point,
    random_sizes,
    random_variation,
    separated,
)
from mbp.numeric.meanings import holds
from mbp.rulebook import RULEBOOK
from tests.invariants.test_tangents import DECLARATIONS

RANKED = ["m n", "n n symmetric", "n n positive_semidefinite", "n n projector", "n n diagonal"]


def check_curve(x: Var, at: Arithmetic, rank: int | None, boundary: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = random_sizes([x], rng)
    X = random_point(x, sizes, rng, at, rank, boundary)
    dX = random_variation(x, X, rng, at)
    along = curve(x, X, dX, at)
    h = at.matrix(1e-5 if at is FLOAT64 else 1e-15)[0, 0]
    assert at.norm(along(0 * h) - X) <= 1e-12
    assert at.norm((along(h) - along(-h)) / (2 * h) - dX) <= (1e-8 if at is FLOAT64 else 1e-25)
    for t, tolerance in ((0 * h, 1e-9), (h, 1e-9)):
        for prop in VOCABULARY.closure(x.properties):
            assert holds(prop, along(t).astype(float), tolerance), prop
        if rank is not None:
            assert at.rank_split(along(t))[3] == rank


@pytest.mark.parametrize("declaration", DECLARATIONS)
@pytest.mark.parametrize("boundary", [False, True])
@pytest.mark.parametrize("at", [FLOAT64, multiprecision(50)], ids=["float64", "mpmath"])
def test_points_and_curves_have_the_declared_properties(
    declaration: str, boundary: bool, at: Arithmetic
) -> None:
    for seed in range(3):
        check_curve(declare("X", declaration), at, None, boundary, seed)


@pytest.mark.parametrize("declaration", RANKED)
@pytest.mark.parametrize("at", [FLOAT64, multiprecision(50)], ids=["float64", "mpmath"])
def test_curves_keep_a_deficient_rank(declaration: str, at: Arithmetic) -> None:
    rank = None if "diagonal" in declaration else 1
    check_curve(declare("X", declaration), at, rank, False, 0)


def test_the_same_seed_gives_the_same_point_in_both_arithmetics() -> None:
    x = declare("X", "n n positive_definite")
    rough = random_point(x, {"n": 3}, np.random.default_rng(1))
    precise = random_point(x, {"n": 3}, np.random.default_rng(1), multiprecision(50))
    assert np.allclose(rough, precise.astype(float), atol=1e-13)


def test_sizes_fit_ranks_partitions_and_decompositions() -> None:
    names = {"F": declare("F", "d m"), "E": declare("E", "m k partition")}
    F, E = names["F"], names["E"]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        svd = RULEBOOK.call("svd", F.T)[0]
        sizes = random_sizes([svd, E], rng)
        assert sizes["m"] >= sizes["d"] and sizes["m"] >= sizes["k"]
        assert len(set(sizes.values())) == len(sizes)
        tall = random_sizes([declare("A", "p q")], rng, tall=True)
        assert tall["p"] > tall["q"]
        J = declare("J", "n n antisymmetric invertible")
        assert random_sizes([J], rng)["n"] % 2 == 0


def test_impossible_sizes_and_properties_are_errors() -> None:
    wide = build.var("A", dim(2), dim(3), ("full_column_rank",))
    with pytest.raises(MbpError, match="fit together"):
        random_sizes([wide], np.random.default_rng(0))
    with pytest.raises(PropertyError, match="no instances"):
        random_point(wide, {}, np.random.default_rng(0))


def test_maps_of_constant_rank_get_a_deficient_rank() -> None:
    X = declare("X", "m n")
    Y = parse("projector(X)", {"X": X}, RULEBOOK.functions)
    assert deficient_ranks([Y], {"m": 4, "n": 3}) == {X: 2}
    assert deficient_ranks([X], {"m": 4, "n": 3}) == {}


def test_spectra_are_well_separated() -> None:
    for seed in range(50):
        values = np.sort(separated(6, np.random.default_rng(seed)))
        assert values[0] >= 0.3 and np.diff(values).min() >= 0.3


def test_constants_and_partitions_do_not_vary() -> None:
    rng = np.random.default_rng(0)
    for declaration in ("m k partition", "scalar positive constant", "n n symmetric constant"):
        x = declare("X", declaration)
        X = random_point(x, {"m": 4, "k": 2, "n": 3}, rng)
        assert not random_variation(x, X, rng).any()
    assert not build.is_zero(declare("X", "m n"))
