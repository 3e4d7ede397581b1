"""Derives the variation of every output of a decomposition from its defining equations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import sympy as sp

from mbp.derive.implicit.definition import Definition
from mbp.derive.implicit.frames import (
    ContradictionError,
    FrameError,
    Frames,
    Setting,
    choices,
    types_of,
)
from mbp.derive.implicit.matrix_form import MatrixForm
from mbp.derive.implicit.operator import solved
from mbp.derive.implicit.pairs import (
    Pair,
    PairSystems,
    Place,
    UnsolvableError,
    VariedEquation,
)
from mbp.derive.implicit.polynomial import (
    Polynomial,
    add,
    letters,
    polynomial,
    properties,
    scaled,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.derive.implicit.proof import Condition, Equation, Gauge, OperatorReport, Report, Step
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Var, Variation, topological, variables
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Solution:
    """The variations of all outputs, by output name, with kernels, conditions, gauges, proof.

    The expressions are in the variables of the definition, inputs and outputs, and linear in
    the variations of the inputs.
    """

    definition: Definition
    variations: dict[str, Expr]
    kernels: dict[str, Expr]
    denominators: tuple[Condition, ...]
    freedoms: tuple[Gauge, ...]
    steps: tuple[Step, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions as texts of the vocabulary, each once."""
        return tuple(dict.fromkeys(c.text for c in self.denominators))

    @property
    def gauges(self) -> tuple[str, ...]:
        """The freedoms as texts, each once."""
        return tuple(dict.fromkeys(str(g) for g in self.freedoms))


def solution(definition: Definition) -> Solution:
    """The variations of the outputs of `definition`.

    Raises RuleError, naming the entry and the reason, for a definition that does not determine
    its outputs, contradicts itself or restricts its inputs.
    """
    return _Solver(definition).solve()


class _Solver:
    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.order = _dimension_order(definition)
        self.ranks: dict[Expr, sp.Symbol] = {
            x: sp.Symbol(f"rank({x.name})", integer=True, positive=True)
            for x in (*definition.inputs, *definition.outputs)
            if x.name in definition.constant_rank
        }
        unknown = frozenset(definition.outputs)
        try:
            self.defining = [
                _equation(*sides, "definition", unknown) for sides in definition.equations
            ]
        except MbpError as error:
            raise definition.refusal(str(error)) from None
        mentioned = {x for e in self.defining for x in letters([e.p])}
        for y in definition.outputs:
            if y not in mentioned:
                raise definition.refusal(f"no equation determines the output {y.name}")
        for e in self.defining:
            if unknown.isdisjoint(letters([e.p])):
                raise definition.refusal(f"the equation {e.left} = {e.right} holds no output")

    # --- which outputs together -------------------------------------------------------------

    def solve(self) -> Solution:
        """Solves the smallest sets of outputs that determine themselves, one after another."""
        found: dict[Expr, Expr] = {}
        parts: list[_Attempt | _Operator] = []
        waiting = list(self.definition.outputs)
        while waiting:
            attempt = self._next(waiting)
            parts.append(attempt)
            for y, dy in attempt.variations.items():
                known: dict[Expr, Expr] = {Variation(x): v for x, v in found.items()}
                found[y] = build.substitute(_expanded(dy), known)
                if build.is_zero(found[y]):
                    raise self.definition.refusal(
                        f"{y} does not depend on the inputs where these have full rank; "
                        "is a rank to be declared?"
                    )
            waiting = [y for y in waiting if y not in found]
        ordered = {y.name: found[y] for y in self.definition.outputs}
        kernels: dict[str, Expr] = {}
        for attempt in parts:
            for node in attempt.kernels.values():
                kernels["K" if not kernels else f"K{len(kernels) + 1}"] = node
        return Solution(
            self.definition,
            ordered,
            kernels,
            tuple(dict.fromkeys(c for part in parts for c in part.report.conditions())),
            tuple(dict.fromkeys(g for part in parts for g in part.report.gauges())),
            tuple(step for part in parts for step in part.report.steps()),
        )

    def _next(self, waiting: list[Var]) -> _Attempt | _Operator:
        reasons: list[FrameError] = []
        gauged: list[_Attempt] = []
        for subset, chosen in self._subsets(waiting):
            try:
                attempt = self._attempt(subset, chosen)
            except FrameError as error:
                reasons.append(error)
                continue
            if not attempt.free or len(subset) == len(waiting):
                return attempt
            gauged.append(attempt)
        if gauged:
            return gauged[0]
        for reason in reasons:
            if isinstance(reason, UnsolvableError):
                raise self.definition.refusal(str(reason))
        for subset, chosen in self._subsets(waiting):
            try:
                return _Operator(self, subset, chosen)
            except FrameError as error:
                reasons.append(error)
        names = ", ".join(y.name for y in waiting)
        raise self.definition.refusal(
            str(reasons[-1]) if reasons else f"no equations determine {names}"
        )

    def _subsets(self, waiting: list[Var]) -> Iterator[tuple[tuple[Var, ...], list[Equation]]]:
        """Sets of outputs, smallest first, with the equations in them and in what is solved."""
        for size in range(1, len(waiting) + 1):
            for subset in combinations(waiting, size):
                outside = set(waiting) - set(subset)
                chosen = [
                    e for e in self.defining
                    if outside.isdisjoint(found := letters([e.p]))
                    and not set(subset).isdisjoint(found)
                ]
                if set(subset) <= set(letters(e.p for e in chosen)):
                    yield subset, chosen

    def _attempt(self, outputs: tuple[Var, ...], chosen: list[Equation]) -> _Attempt:
        reasons: list[FrameError] = []
        invariant = any(y.properties for y in outputs)
        invariants = [e for y in outputs for e in _invariants(y, frozenset(outputs))]
        found = dict.fromkeys([*letters(e.p for e in chosen), *outputs])
        given = [
            e for x in found if x not in outputs for e in _invariants(x, frozenset(outputs))
        ]
        # Redundant invariants of the outputs can force a worse frame: then without them.
        for impose in (True, False) if invariant else (True,):
            equations = [*chosen, *invariants] if impose else chosen
            for order in self._orders(equations, outputs):
                try:
                    attempt = _Attempt(self, outputs, equations, given, order, impose)
                    if not impose and invariant:
                        check_numerically(self.definition, outputs, chosen)
                    return attempt
                except ContradictionError as error:
                    raise self.definition.refusal(str(error)) from None
                except FrameError as error:
                    reasons.append(error)
        raise next((r for r in reasons if isinstance(r, UnsolvableError)), reasons[0])

    def _orders(self, equations: list[Equation], outputs: tuple[Var, ...]) -> Iterator[list[Expr]]:
        varied = [variation(e.p, lambda x: x in outputs) for e in equations]
        multipliers = list(dict.fromkeys(
            f.letter for p in varied for word in p for f in word if not f.varied
        ))
        yield from choices(multipliers, frozenset(outputs))


class _Attempt:
    """One choice of outputs, equations and frames, carried through to matrices."""

    def __init__(
        self,
        solver: _Solver,
        outputs: tuple[Var, ...],
        equations: list[Equation],
        given: list[Equation],
        order: list[Expr],
        impose: bool,
    ) -> None:
        self.solver = solver
        self.outputs = outputs
        self.equations = equations
        self.impose = impose
        base = [(e.p, e.rows, e.cols) for e in (*equations, *given)]
        found = letters(p for p, _, _ in base)
        symmetries = [
            x for x in found
            if properties(x) & {"symmetric", "antisymmetric"}
            and (impose or x not in outputs)
        ]
        setting = Setting(
            base, found, frozenset(outputs), order, solver.ranks,
            [
                (x, y) for a, b in solver.definition.equal_rank
                for x in found for y in found if (str(x), str(y)) == (a, b)
            ],
            solver.order,
        )
        self.frames = Frames(setting, types_of(base, symmetries), order)
        varied = [
            self._varied(number, e, given=number >= len(equations))
            for number, e in enumerate((*equations, *given))
        ]
        self.systems = PairSystems(self.frames, varied, list(outputs))
        self.pairs: list[Pair] = list(self.systems.solve())
        self.free = [(pair, place) for pair in self.pairs for place in pair.free]
        self._check_free()
        self.form = MatrixForm(self.systems, self.pairs)
        self.kernels = self.form.kernels
        self.variations: dict[Expr, Expr] = {y: self.form.variation(y) for y in outputs}
        self.report = Report(self.form, equations, outputs, self.variations)

    def _varied(self, number: int, e: Equation, given: bool) -> VariedEquation:
        p = variation(e.p, varies)
        unknown: Polynomial = {}
        known: Polynomial = {}
        lumped: Polynomial = {}
        for word, c in p.items():
            k = varied_factor(word)
            if k is not None and word[k].letter in self.outputs:
                unknown[word] = c
            elif k is not None and all(
                f.letter in self.frames.cores for n, f in enumerate(word) if n != k
            ):
                known[word] = c
            else:
                lumped[word] = c
        if lumped:
            lumped, known = add(known, lumped), {}
        symmetry = 0
        if lumped and e.rows == e.cols:
            for sign in (1, -1):
                if not add(lumped, scaled(sp.Integer(-sign), transpose(lumped))):
                    symmetry = sign
        if given and lumped:
            unknown = known = lumped = {}
        return VariedEquation(number, unknown, known, lumped, symmetry, given, e.rows, e.cols)

    def _check_free(self) -> None:
        """Raises FrameError where a core was taken as diagonal without being determined."""
        for _, place in self.free:
            if place.letter in self.frames.uncertain or not self.impose:
                raise FrameError(f"the equations leave {place.letter} free")
        for y in dict.fromkeys(place.letter for _, place in self.free):
            assert isinstance(y, Expr)
            if not self._bounded(y):
                raise UnsolvableError(
                    f"the equations leave {y} free along an unbounded set: under-determined"
                )

    def _bounded(self, y: Expr) -> bool:
        """Whether an equation fixes y yᵀ or yᵀ y, so that its gauge is a rotation."""
        for e in self.equations:
            unknown = [
                word for word in e.p if any(f.letter in self.outputs for f in word)
            ]
            if len(unknown) == 1:
                word = unknown[0]
                ends = len(word) >= 2 and word[0].letter is word[-1].letter is y
                middle = all("positive_definite" in properties(f.letter) for f in word[1:-1])
                if ends and middle and word[0] == word[-1].T and len(word) <= 3:
                    return True
        return False


class _Operator:
    """The outputs as the solution operator of the stacked equations, where frames do not help."""

    def __init__(self, solver: _Solver, outputs: tuple[Var, ...], chosen: list[Equation]) -> None:
        self.outputs = outputs
        self.equations = chosen
        self.free: list[tuple[Pair, Place]] = []
        self.kernels: dict[str, Expr] = {}
        check_numerically(solver.definition, outputs, chosen)
        invariants = [e for y in outputs for e in _invariants(y, frozenset(outputs))]
        rows = [(e.p, e.rows, e.cols) for e in (*chosen, *invariants)]
        self.coefficient, self.variations = solved(rows, outputs)
        self.report = OperatorReport(self.coefficient, chosen, outputs, self.variations)


def _expanded(e: Expr) -> Expr:
    """`e` with the variations of composite letters in those of their variables."""
    from mbp.derive.variation import vary

    def d(node: Expr) -> Expr:
        if isinstance(node, Var):
            return build.variation(node)
        return vary(node, d).variation if node.args else build.zeros(*node.shape)

    composite: dict[Expr, Expr] = {
        node: d(node.args[0]) for node in topological(e)
        if isinstance(node, Variation) and not isinstance(node.args[0], Var)
    }
    return build.substitute(e, composite)


def check_numerically(
    definition: Definition, outputs: tuple[Var, ...], equations: list[Equation]
) -> None:
    """Raises FrameError unless the equations determine `outputs` at random points."""
    from mbp.verify.oracle import Variety  # numbers count what no frame could show

    inputs = dict.fromkeys(
        x for e in equations for x in (*variables(e.left), *variables(e.right)) if x not in outputs
    )
    sides = tuple((e.left, e.right) for e in equations)
    part = replace(definition, inputs=tuple(inputs), outputs=outputs, equations=sides)
    names = ", ".join(y.name for y in outputs)
    for sizes in small_sizes(part):
        variety = Variety(part, sizes)
        try:
            values = variety.point(np.random.default_rng(0))
        except MbpError as error:
            raise FrameError(str(error)) from None
        if len(variety.gauge(values)):
            raise FrameError(f"the equations leave {names} free: under-determined")
        if variety.restricted(values):
            raise FrameError(f"the equations for {names} restrict the inputs: inconsistent")


def small_sizes(definition: Definition) -> list[dict[str, int]]:
    """Small numbers for the dimension names, unrelated names in either order."""
    letters_ = (*definition.inputs, *definition.outputs)
    names = sorted({s for x in letters_ for n in x.shape for s in n.free_symbols}, key=str)
    at_least = _dimension_order(definition)
    found = []
    for order in (names, names[::-1]):
        sizes: dict[str, int] = {}
        for n in sorted(order, key=lambda n: sum(at_least(n, other) for other in names)):
            sizes[n.name] = 2 + len(sizes)
        found.append(sizes)
    return found


def _equation(left: Expr, right: Expr, source: str, unknown: frozenset[Expr]) -> Equation:
    p = add(polynomial(left, unknown), scaled(sp.Integer(-1), polynomial(right, unknown)))
    return Equation(p, left, right, source)


def _invariants(x: Expr, unknown: frozenset[Expr]) -> Iterator[Equation]:
    """The polynomial equations that the properties of x state; patterns of zeros are not."""
    seen = set()
    for name in sorted(properties(x)):
        if name in ("symmetric", "antisymmetric"):
            continue
        sides = VOCABULARY[name].equation_of(x)
        if sides is None or sides in seen:
            continue
        seen.add(sides)
        try:
            yield _equation(*sides, f"{x} {name}", unknown | {x})
        except MbpError:
            continue


def _dimension_order(definition: Definition) -> Callable[[Dim, Dim], bool]:
    """`at_least(a, b)`: whether dimensions are known to satisfy a >= b."""
    known = set(definition.at_least)
    for x in (*definition.inputs, *definition.outputs):
        if {"orthonormal_columns", "full_column_rank"} & properties(x):
            known.add(x.shape)
        if "full_row_rank" in properties(x):
            known.add(x.shape[::-1])

    def at_least(a: Dim, b: Dim) -> bool:
        if a == b or sp.sympify(a - b).is_nonnegative:
            return True
        reached = {a}
        while fresh := {q for p, q in known if p in reached} - reached:
            reached |= fresh
        return b in reached

    return at_least
