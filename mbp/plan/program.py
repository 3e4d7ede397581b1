"""Straight-line programs: what a layer computes forward, backward and along tangents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sympy as sp

from mbp.derive.derivation import Derivation
from mbp.derive.deriver import project
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr, Output, Var
from mbp.expr.nodes import topological as expressions_below
from mbp.invariants.infer import declared
from mbp.invariants.vocabulary import VOCABULARY
from mbp.plan.finishing.scaling import with_doubled_parts, with_sunken_factors
from mbp.plan.finishing.storage import with_narrow_products_turned, with_products_as_read
from mbp.plan.finishing.thin_sums import with_joined_factors
from mbp.plan.lowering.calls import is_svd
from mbp.plan.lowering.lower import Lowering
from mbp.plan.lowering.norms import norms_of
from mbp.plan.ranks import compared_ranges, decides_rank, factors_among, has_frame, ranked
from mbp.plan.saving import saved_values
from mbp.plan.sizes import representative_sizes
from mbp.plan.spelling.gaps import split
from mbp.plan.spelling.passes import spelled
from mbp.plan.values.graph import Graph
from mbp.plan.values.value import Form, Value, topological
from mbp.simplify import simplify


@dataclass(frozen=True)
class Program:
    """Assignments in order: each value is computed from earlier ones or from `inputs`.

    `inputs` are values that are given; `results` what the program returns, by name.
    """

    inputs: tuple[Value, ...]
    values: tuple[Value, ...]
    results: Mapping[str, Value]

    def restricted(self, names: Iterable[str]) -> Program:
        """The program for some of the results only."""
        results = {name: self.results[name] for name in names}
        outside = frozenset(self.inputs)
        needed = set(topological(results.values(), outside))
        kept = tuple(v for v in self.values if v in needed)
        return Program(self.inputs, kept, results)


@dataclass(frozen=True)
class Plan:
    """The programs of one layer over one graph.

    forward: the outputs. saved: what backward and variation take from the forward pass besides
    the layer's inputs. backward: the gradients from cotangents. variation: the variations of the
    outputs. second, second_variation: the same two of the backward pass as a layer of its own,
    in the layer's inputs and cotangents, if a second derivation was given. decomposed: the
    outputs of decompositions that are computed, each where its rule's assumptions hold.
    `vectors` names what the caller passes as the vector of a diagonal, `hints` what the proof
    calls some of the values. ranges: the matrices whose rank is decided at run time, or the two
    whose ranges the layer compares, if it does; `compared` are their expressions, and below
    `bound` the output proves that the ranks are equal;
    `factors` names those of which only a factor's range counts. wide: the
    programs for inputs of which one has more columns than rows, where they cost less; the second
    derivatives are then those that take nothing from the forward pass, `second_alone` and
    `second_variation_alone`.
    """

    derivation: Derivation
    second_derivation: Derivation | None
    decomposed: tuple[Output, ...]
    vectors: frozenset[str]
    saved: tuple[Value, ...]
    hints: Mapping[Value, str]
    forward: Program
    backward: Program
    variation: Program
    second: Program | None = None
    second_variation: Program | None = None
    second_alone: Program | None = None
    second_variation_alone: Program | None = None
    wide: Wide | None = None
    ranges: Program | None = None
    compared: Mapping[str, Expr] = field(default_factory=dict)
    bound: sp.Expr | None = None
    factors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wide:
    """The plan of the same layer where each of the shapes has fewer rows than columns."""

    plan: Plan
    shapes: tuple[tuple[Dim, Dim], ...]


def planned(
    derivation: Derivation,
    second: Derivation | None,
    sizes: Mapping[str, int] | None,
    has_lu: bool,
    forms_frames: bool = False,
) -> Plan:
    """The programs of a derivation as it stands, ordered for the given sizes or for m ≫ d.

    `second` is the derivation of the backward pass: inputs and cotangents ↦ gradients; `has_lu`
    says whether the target can keep an LU factorization. `forms_frames` lets the range of a factor
    be spanned by a frame from the start. Raises MbpError for an expression that no target computes.
    """
    layer = derivation.definition
    vectors = vector_names(derivation, second)
    others = {
        "backward": {name: split(gradient) for name, gradient in derivation.gradients.items()},
        "variation": _for_any_tangent(derivation),
    }
    variables = [*layer.inputs.values(), *derivation.cotangents.values()]
    if second is not None:
        others["second"] = second.gradients
        others["second_variation"] = _for_any_tangent(second)
        variables += [*second.definition.inputs.values(), *second.cotangents.values()]
    bound, compared = compared_ranges(tuple(layer.outputs.values())) or (None, {})
    if compared:
        others["ranges"] = compared
    passes = spelled(layer.outputs, others)
    forms_frames = forms_frames or bool(passes.complemented)
    graph = Graph(representative_sizes(derivation, sizes), has_lu)
    literal = expressions_below(*layer.outputs.values())
    lowering = Lowering(
        graph,
        passes,
        frozenset(x for x in variables if x.name in vectors),
        frozenset(A.args[0] for A in literal if is_svd(A)),
        forms_frames,
        norms_of(layer.outputs.values()),
    )
    lowered: dict[str, dict[str, Value]] = {}
    for kind, part in passes.expressions.items():
        if kind == "variation" and not forms_frames and has_frame(lowered.values()):
            return planned(derivation, second, sizes, has_lu, forms_frames=True)
        if kind not in _FIRST_ORDER:
            lowering.ranges.form_frames()
        lowered[kind] = {
            name: _returned(graph, lowering.value(expr), name in vectors)
            for name, expr in part.items()
        }
    hints = dict(lowering.hints)
    first = frozenset(topological(lowered["forward"].values()))
    for kind in lowered.keys() - {"forward"}:
        lowered[kind] = with_doubled_parts(graph, lowered[kind], first)
    for rewrite in (
        with_joined_factors,
        with_sunken_factors,
        with_narrow_products_turned,
        with_products_as_read,
    ):
        new = rewrite(graph, _programs(lowered))
        lowered = {
            kind: {name: new[v] for name, v in part.items()} for kind, part in lowered.items()
        }
        hints = {new.get(v, v): hint for v, hint in hints.items()}
    forward = set(topological(lowered["forward"].values()))
    everything = topological(value for part in lowered.values() for value in part.values())
    forward |= {v for v in everything if v.op == "item" and v.args[0] in forward}
    saved = saved_values(lowered["backward"].values(), frozenset(forward))
    deciding = [v for v in topological(lowered["forward"].values()) if decides_rank(v)]
    ranges = _program(lowered.get("ranges") or ranked(graph, deciding))

    def program(kind: str, known: Iterable[Value] = saved) -> Program | None:
        return _program(lowered[kind], frozenset(known)) if kind in lowered else None

    return Plan(
        derivation=derivation,
        second_derivation=second,
        decomposed=tuple(
            A
            for A in expressions_below(*passes.outputs)
            if isinstance(A, Output) and A.args[0] not in lowering.framed
        ),
        vectors=vectors,
        saved=tuple(v for v in saved if v.op != "input"),
        hints=hints,
        forward=_program(lowered["forward"], also=saved),
        backward=_program(lowered["backward"], frozenset(saved)),
        variation=_program(lowered["variation"], frozenset(saved)),
        second=program("second"),
        second_variation=program("second_variation"),
        second_alone=program("second", ()),
        second_variation_alone=program("second_variation", ()),
        ranges=ranges if ranges.results else None,
        compared=compared,
        bound=bound,
        factors=factors_among(ranges.results, deciding),
    )


_FIRST_ORDER = "forward", "backward", "variation"


def _programs(parts: Mapping[str, Mapping[str, Value]]) -> list[tuple[Value, ...]]:
    """What runs in one go: a pass with the forward pass that it takes from, or one by itself."""
    forward = tuple(parts["forward"].values())
    return [
        (*(forward if kind in _FIRST_ORDER else ()), *part.values())
        for kind, part in parts.items()
        if kind != "forward"
    ]


def _for_any_tangent(derivation: Derivation) -> Mapping[str, Expr]:
    """The variations, taking the admissible part of any tangent: the transpose of the gradients.

    Where that part is a matter of structure, reading a tangent takes it already.
    """
    admissible: dict[Expr, Expr] = {}
    for x in derivation.definition.inputs.values():
        if any(VOCABULARY[name].is_curved for name in declared(x)):
            admissible[build.variation(x)] = project(build.var(f"d{x.name}", *x.shape), x)
    if not admissible:
        return derivation.variations
    return {
        name: simplify(build.substitute(dY, admissible))
        for name, dY in derivation.variations.items()
    }


def vector_names(derivation: Derivation, second: Derivation | None) -> frozenset[str]:
    """The inputs, results and cotangents that are passed as the vector of a diagonal."""
    layer = derivation.definition
    names = {name for name, x in layer.inputs.items() if "diagonal" in x.properties}
    for name, Y in layer.outputs.items():
        if isinstance(Y, Output | Var) and "diagonal" in Y.properties:
            names |= {name, derivation.cotangents[name].name}
    for name in derivation.gradients:
        if second is not None and name in names:
            names |= {f"grad_{name}", second.cotangents[f"grad_{name}"].name}
    return frozenset(names)


def _program(
    results: Mapping[str, Value],
    known: frozenset[Value] = frozenset(),
    also: Iterable[Value] = (),
) -> Program:
    values = tuple(topological([*results.values(), *also], known))
    inputs = [v for v in values if v.op == "input"]
    used = {arg for v in values for arg in v.args} | set(results.values())
    given = [v for v in known if v in used]
    return Program(
        tuple(inputs + sorted(given, key=lambda v: v.serial)),
        tuple(v for v in values if v.op != "input"),
        dict(results),
    )


def _returned(graph: Graph, v: Value, as_vector: bool) -> Value:
    """v in the shape that the caller sees: vectors for columns and diagonals, bare scalars."""
    if as_vector:
        v = graph.column(v)
        if v.op == "as_column" and v.args[0].op == "column":
            return v.args[0].args[0]
    v = graph.dense(v)
    if (v.op == "zeros" and v.cols == ONE) or graph.is_number(v, 0):
        return graph.make("zeros", shape=v.shape, form=Form.RAW)
    if v.op == "column":
        return v.args[0]
    if v.is_scalar:
        return graph.make("scalar", v, shape=(ONE, ONE), form=Form.RAW)
    if v.cols == ONE:
        return graph.make("vector", v, shape=(v.rows, ONE), form=Form.RAW)
    return v
