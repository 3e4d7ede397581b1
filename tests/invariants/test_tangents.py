"""Properties mean what they say: equations, implications and tangent projections, by numbers."""

import numpy as np
import pytest

from mbp.derive.deriver import project
from mbp.errors import PropertyError
from mbp.expr import build
from mbp.expr.nodes import Expr, Var
from mbp.invariants.declare import declare
from mbp.invariants.vocabulary import VOCABULARY, Vocabulary
from mbp.numeric.arithmetic import Array
from mbp.numeric.evaluate import evaluate
from mbp.numeric.instances import is_fixed, random_point, random_sizes, random_variation
from mbp.numeric.meanings import holds

DECLARATIONS = [
    "m n",
    "n n symmetric",
    "n n antisymmetric",
    "n n diagonal",
    "n n orthogonal",
    "m n orthonormal_columns",
    "n n lower_triangular",
    "n n strictly_lower_triangular",
    "n n unit_lower_triangular",
    "n n upper_triangular",
    "n n positive_definite",
    "n n positive_semidefinite",
    "n n projector",
    "n n invertible",
    "m n full_column_rank",
    "m n full_row_rank",
    "m n positive",
    "m n nonnegative",
    "m n partition",
    "n n diagonal positive_definite",
    "n n diagonal nonnegative",
    "n n lower_triangular invertible",
    "n n upper_triangular invertible",
    "n n symmetric invertible",
    "n n symmetric positive",
    "n n symmetric lower_triangular",
    "n n lower_triangular upper_triangular",
    "n n positive_semidefinite invertible",
    "n n antisymmetric invertible",
    "n n symmetric orthogonal",
    "n n antisymmetric orthogonal",
    "n n diagonal orthogonal",
    "n n diagonal projector",
    "n n symmetric nonnegative",
    "n",
    "n positive",
    "scalar",
    "scalar positive",
    "scalar positive constant",
]


class Instance:
    """A variable with a declaration, a point and two admissible variations of it."""

    def __init__(self, declaration: str) -> None:
        rng = np.random.default_rng(sum(map(ord, declaration)))
        self.x: Var = declare("X", declaration)
        sizes = random_sizes([self.x], rng, smallest=3)
        self.X = random_point(self.x, sizes, rng)
        self.M: Array = rng.normal(size=self.X.shape)
        self.N: Array = rng.normal(size=self.X.shape)
        self.dX = random_variation(self.x, self.X, rng)

    def projected(self, M: Array) -> Array:
        """The derived projection of M onto the variations that X admits."""
        G = build.var("G", *self.x.shape)
        return evaluate(project(G, self.x), {self.x: self.X, G: M})


@pytest.fixture(params=DECLARATIONS)
def instance(request: pytest.FixtureRequest) -> Instance:
    return Instance(request.param)


def test_an_instance_has_everything_its_declaration_implies(instance: Instance) -> None:
    for prop in VOCABULARY.closure(instance.x.properties):
        assert holds(prop, instance.X), prop


def test_equations_of_properties_hold_and_so_do_their_variations(instance: Instance) -> None:
    x = instance.x
    env = {x: instance.X, build.variation(x): instance.dX}
    for prop in VOCABULARY.closure(x.properties):
        for sides in (VOCABULARY[prop].equation_of(x), VOCABULARY[prop].varied_equation(x)):
            if sides is not None:
                left, right = (evaluate(side, env) for side in sides)
                assert np.allclose(left, right, atol=1e-12), f"{sides[0]} = {sides[1]}"


def test_the_projection_is_an_orthogonal_projection(instance: Instance) -> None:
    if is_fixed(instance.x):
        return
    PM, PN = instance.projected(instance.M), instance.projected(instance.N)
    assert np.allclose(instance.projected(PM), PM, atol=1e-12)
    assert np.isclose((PM * instance.N).sum(), (instance.M * PN).sum())


def test_the_projection_keeps_admissible_variations_and_only_them(instance: Instance) -> None:
    if is_fixed(instance.x):
        return
    assert np.allclose(instance.projected(instance.dX), instance.dX, atol=1e-12)
    tangent = instance.projected(instance.M)
    env = {instance.x: instance.X, build.variation(instance.x): tangent}
    for prop in VOCABULARY.closure(instance.x.properties):
        sides = VOCABULARY[prop].varied_equation(instance.x)
        if sides is not None:
            left, right = (evaluate(side, env) for side in sides)
            assert np.allclose(left, right, atol=1e-12), prop


def test_the_projection_of_each_property_is_idempotent_and_self_adjoint() -> None:
    for prop in VOCABULARY.names:
        square = VOCABULARY[prop].square
        instance = Instance(f"{'n n' if square else 'm n'} {prop}")
        G = build.var("G", *instance.x.shape)
        P: Expr = VOCABULARY[prop].project(G, instance.x)

        def at(M: Array, P: Expr = P, G: Expr = G, instance: Instance = instance) -> Array:
            return evaluate(P, {instance.x: instance.X, G: M})

        PM, PN = at(instance.M), at(instance.N)
        assert np.allclose(at(PM), PM, atol=1e-12), prop
        assert np.isclose((PM * instance.N).sum(), (instance.M * PN).sum()), prop


def test_a_vocabulary_refuses_circles_and_unknown_names() -> None:
    with pytest.raises(PropertyError, match="circle"):
        Vocabulary({"a": {"implies": ["b"]}, "b": {"implies": ["a"]}})
    with pytest.raises(PropertyError, match="unknown"):
        Vocabulary({"a": {"implies": ["b"]}})
    with pytest.raises(PropertyError, match="twice"):
        Vocabulary({"a": {}}).extend({"a": {}})


def test_what_follows_from_two_properties_together() -> None:
    assert "diagonal" in VOCABULARY.closure(["symmetric", "lower_triangular"])
    assert "diagonal" in VOCABULARY.closure(["lower_triangular", "upper_triangular"])
    assert "positive_definite" in VOCABULARY.closure(["positive_semidefinite", "invertible"])
    assert "orthogonal" in VOCABULARY.closure(["orthonormal_columns", "full_row_rank"])
    assert "orthogonal" not in VOCABULARY.closure(["orthonormal_columns"])
    assert VOCABULARY.minimal(["symmetric", "positive_definite"]) == ("positive_definite",)
