"""Derives the variation of every output of a decomposition from its defining equations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

import sympy as sp

from mbp.decomposition import Decomposition
from mbp.derive.derivation import Step
from mbp.derive.implicit.cores import Cores
from mbp.derive.implicit.determined import check_determined, dimension_order, moves
from mbp.derive.implicit.frames import (
    FrameError,
    Frames,
    Setting,
    choices,
    types_of,
)
from mbp.derive.implicit.matrix_form import MatrixForm
from mbp.derive.implicit.operator import Row, solved
from mbp.derive.implicit.pairs import (
    FreeError,
    Pair,
    PairSystems,
    Place,
    UnsolvableError,
    VariedEquation,
)
from mbp.derive.implicit.polynomial import (
    Polynomial,
    add,
    is_inverse_of,
    letters,
    polynomial,
    properties,
    scaled,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.derive.implicit.proof import Condition, Equation, Gauge, OperatorReport, Report
from mbp.derive.variation import varied_in_letters
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.nodes import Expr, Part, Var, Variation, topological, variables
from mbp.invariants import infer
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Solution:
    """The variations of all outputs, by output name, with kernels, conditions, gauges, proof.

    The expressions are in the variables of the definition, inputs and outputs, and linear in
    the variations of the inputs.
    """

    definition: Decomposition
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


def solution(definition: Decomposition) -> Solution:
    """The variations of the outputs of `definition`.

    Raises RuleError, naming the entry and the reason, for a definition that does not determine
    its outputs, contradicts itself or restricts its inputs.
    """
    letters_ = {y: _letter(y, definition.equations) for y in definition.outputs}
    names: dict[Expr, Expr] = {y: back for y, (_, back) in letters_.items()}
    solved = _Solver(replace(
        definition,
        outputs=tuple(x for x, _ in letters_.values()),
        equations=tuple(
            pair for pair in _substituted(definition.equations, names)
            if not any(_is_unit_diagonal(pair, x) for x, _ in letters_.values())
        ),
    )).solve()
    # A letter is its output or the output's transpose, so that the same turn leads back.
    back: dict[Expr, Expr] = {x: build.substitute(there, {x: y})
                              for y, (x, there) in letters_.items()}

    def variation_of(y: Var) -> Expr:
        x, there = letters_[y]
        dy = build.substitute(solved.variations[x.name], back)
        return dy if there is x else build.transpose(dy)

    return replace(
        solved,
        definition=definition,
        variations={y.name: variation_of(y) for y in definition.outputs},
        kernels={name: build.substitute(K, back) for name, K in solved.kernels.items()},
        steps=tuple(
            replace(
                step,
                lhs=None if step.lhs is None else build.substitute(step.lhs, back),
                rhs=None if step.rhs is None else build.substitute(step.rhs, back),
            )
            for step in solved.steps
        ),
    )


Pairs = tuple[tuple[Expr, Expr], ...]

_TURNED = {"lower_triangular": "upper_triangular", "upper_triangular": "lower_triangular",
           "full_column_rank": "full_row_rank", "full_row_rank": "full_column_rank",
           "invertible": "invertible"}  # fmt: skip
"""The properties of a transpose, for outputs whose transposes are tried."""


def _letter(y: Var, equations: Pairs) -> tuple[Var, Expr]:
    """The unknown in whose terms an output is solved, and the output as an expression of it.

    It has the properties that the defining equations state in so many words. Orthonormal rows
    and a unit upper triangle are those of the transpose.
    """
    stated = _stated(y, equations)
    if set(y.properties) <= set(_TURNED) and not stated:
        turned = build.var(
            f"{y.name}t", y.cols, y.rows, tuple(_TURNED[name] for name in y.properties)
        )
        found = _stated(turned, _substituted(equations, {y: build.transpose(turned)}))
        if found:
            letter = build.var(turned.name, *turned.shape, (*turned.properties, *found))
            return letter, build.transpose(letter)
    letter = build.var(y.name, *y.shape, tuple(dict.fromkeys([*y.properties, *stated])))
    return letter, letter


def _substituted(equations: Pairs, names: dict[Expr, Expr]) -> Pairs:
    return tuple(
        (build.substitute(left, names), build.substitute(right, names))
        for left, right in equations
    )


def _stated(x: Var, equations: Pairs) -> list[str]:
    """The properties that the equations state of x, where they state all that these imply."""
    stated = {
        name for name in VOCABULARY.names
        if (x.is_square or not VOCABULARY[name].square)
        and (sides := VOCABULARY[name].equation_of(x)) is not None
        and any(sides in (pair, pair[::-1]) for pair in equations)
    }
    if any(_is_unit_diagonal(pair, x) for pair in equations):
        stated.add("unit_lower_triangular")
    known = stated | VOCABULARY.closure(x.properties)
    # XX = X alone makes no projector: what else the property says must be stated as well.
    return [
        name for name in sorted(stated)
        if all(
            VOCABULARY[other].equation is None or other in known
            for other in VOCABULARY.closure([name]) - {name}
        )
    ]


def _is_unit_diagonal(pair: tuple[Expr, Expr], x: Var) -> bool:
    """Whether the pair says what makes a lower triangular x unit lower triangular."""
    return "lower_triangular" in VOCABULARY.closure(x.properties) and any(
        (build.diagpart(side), build.eye(x.rows)) in (pair, pair[::-1])
        for side in (x, build.transpose(x))
    )


class _Solver:
    def __init__(self, definition: Decomposition) -> None:
        self.definition = definition
        self.order = dimension_order(definition)
        self.ranks: dict[Expr, sp.Symbol] = {
            x: sp.Symbol(f"rank({x.name})", integer=True, positive=True)
            for x in (*definition.inputs, *definition.outputs)
            if x.name in definition.constant_rank
        }
        self.found: set[Var] = set()
        unknown = frozenset(definition.outputs)
        try:
            self.defining, self.merged = (
                [_equation(*sides, "definition", unknown, merge) for sides in definition.equations]
                for merge in (False, True)
            )
        except MbpError as error:
            raise definition.refusal(str(error)) from None

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
            self.found.update(attempt.outputs)
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
        """The smallest set of outputs that its own equations determine, solved."""
        reasons: list[FrameError] = []
        gauged: list[_Attempt] = []
        for subset, chosen in self._subsets(waiting):
            try:
                attempt = self._attempt(subset, chosen)
            except FreeError as error:
                if len(subset) == len(waiting):
                    reasons.append(error)
            except FrameError as error:
                reasons.append(error)
            else:
                if not attempt.free or len(subset) == len(waiting):
                    return attempt
                gauged.append(attempt)
        for reason in reasons:
            if isinstance(reason, UnsolvableError | FreeError) and not gauged:
                raise self.definition.refusal(str(reason))
        for subset, chosen in self._subsets(waiting):
            try:
                return _Operator(self, subset, [self.defining[k] for k in chosen])
            except FrameError as error:
                reasons.append(error)
        if gauged:
            return gauged[0]
        raise self.definition.refusal(str(reasons[-1]))

    def _subsets(self, waiting: list[Var]) -> Iterator[tuple[tuple[Var, ...], list[int]]]:
        """Sets of outputs, smallest first, with the equations in them and in what is solved."""
        inside = [
            {x for letter in letters([e.p]) for x in (letter, *variables(letter))}
            for e in self.defining
        ]
        for size in range(1, len(waiting) + 1):
            for subset in combinations(waiting, size):
                outside = set(waiting) - set(subset)
                chosen = [
                    k for k, found in enumerate(inside)
                    if not outside & found and set(subset) & found
                ]
                if set(subset) <= {x for k in chosen for x in inside[k]}:
                    yield subset, chosen

    def _attempt(self, outputs: tuple[Var, ...], chosen: list[int]) -> _Attempt:
        """The first choice of words, invariants and frames that works.

        Redundant invariants of the outputs can force a worse frame, and so can known terms: then
        without them. A product of known factors may have a frame where its factors have none.
        """
        reasons: list[FrameError] = []
        invariants = [e for y in outputs for e in _invariants(y, frozenset(outputs))]
        imposed = any(y.properties for y in outputs)
        for impose, pool, loose in product(
            (True, False) if imposed else (True,), (self.defining, self.merged), (False, True)
        ):
            defining = [pool[k] for k in chosen]
            equations = [*defining, *invariants] if impose else defining
            for order in _orders(equations, outputs):
                try:
                    attempt = _Attempt(self, outputs, equations, order, impose, loose)
                    if imposed and not impose:
                        check_determined(self.definition, outputs, self.found)
                    for y in outputs if not attempt.free else ():
                        if build.is_zero(attempt.variations[y]) and moves(self.definition, y):
                            raise FrameError(f"the frames hold only where {y} is fixed")
                    return attempt
                except FrameError as error:
                    reasons.append(error)
        decisive = (r for r in reasons if isinstance(r, UnsolvableError | FreeError))
        raise next(decisive, reasons[0])


def _orders(equations: list[Equation], outputs: tuple[Var, ...]) -> Iterator[list[Expr]]:
    varied = [variation(e.p, lambda x: x in outputs) for e in equations]
    found = dict.fromkeys(f.letter for p in varied for word in p for f in word if not f.varied)
    yield from choices(list(found), frozenset(outputs))


class _Attempt:
    """One choice of outputs, equations and frames, carried through to matrices."""

    def __init__(
        self,
        solver: _Solver,
        outputs: tuple[Var, ...],
        equations: list[Equation],
        order: list[Expr],
        impose: bool,
        loose: bool,
    ) -> None:
        if any(e.diagonal for e in equations):
            raise FrameError("an equation between diagonals does not fall apart in frames")
        for letter in letters(e.p for e in equations):
            if is_inverse_of(letter, frozenset(outputs)):
                raise FrameError(f"{letter} has no frames")
        self.outputs = outputs
        self.equations = equations
        self.impose = impose
        self.loose = loose
        found = letters(self._typed(e) for e in equations)
        given = [
            e for x in found if x not in outputs for e in _invariants(x, frozenset(outputs))
        ]
        base = [(self._typed(e), e.rows, e.cols) for e in equations]
        base += [(e.p, e.rows, e.cols) for e in given]
        symmetries = [
            x for x in found
            if properties(x) & {"symmetric", "antisymmetric"} and (impose or x not in outputs)
        ]
        setting = Setting(
            base, found, frozenset(outputs), order, solver.ranks,
            [
                (x, y) for a, b in solver.definition.equal_rank
                for x in found for y in found if (str(x), str(y)) == (a, b)
            ],
            frozenset(k for k, e in enumerate(equations) if self._typed(e) != e.p),
            solver.order,
        )
        self.frames = Frames(setting, types_of(base, symmetries), order)
        Cores(self.frames).solve()
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

    def _typed(self, e: Equation) -> Polynomial:
        """The words that get frames: with `loose` only those that hold an output."""
        return e.p if not self.loose else {
            word: c for word, c in e.p.items() if any(f.letter in self.outputs for f in word)
        }

    def _varied(self, number: int, e: Equation, given: bool) -> VariedEquation:
        p = variation(e.p, varies)
        unknown: Polynomial = {}
        known: Polynomial = {}
        lumped: Polynomial = {}
        for word, c in p.items():
            k = varied_factor(word)
            if k is not None and word[k].letter in self.outputs:
                unknown[word] = c
            elif k is not None and not (
                self.loose and all(f.letter not in self.outputs for f in word)
            ) and all(f.letter in self.frames.cores for n, f in enumerate(word) if n != k):
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
                raise FreeError(
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
        check_determined(solver.definition, outputs, solver.found)
        invariants = [e for y in outputs for e in _invariants(y, frozenset(outputs))]
        rows = [Row(e.p, e.rows, e.cols, e.diagonal) for e in (*chosen, *invariants)]
        self.coefficient, self.variations = solved(rows, outputs)
        self.report = OperatorReport(self.coefficient, chosen, outputs, self.variations)


def _expanded(e: Expr) -> Expr:
    """`e` with the variations of composite letters in those of their variables."""
    composite: dict[Expr, Expr] = {
        node: varied_in_letters(node.args[0]) for node in topological(e)
        if isinstance(node, Variation) and not isinstance(node.args[0], Var)
    }
    return build.substitute(e, composite)


def _equation(
    left: Expr, right: Expr, source: str, unknown: frozenset[Expr], merge: bool = False
) -> Equation:
    inside = [
        side.args[0] if isinstance(side, Part) and side.kind == "diag"
        and not unknown.isdisjoint(variables(side)) else side
        for side in (left, right)
    ]
    # A diagonal equated with what is diagonal says nothing about the other entries.
    diagonal = any(X is not side for X, side in zip(inside, (left, right), strict=True)) and all(
        X is not side or infer.has(side, "diagonal")
        for X, side in zip(inside, (left, right), strict=True)
    )
    first, second = (
        polynomial(X, unknown, merge) for X in (inside if diagonal else (left, right))
    )
    return Equation(add(first, scaled(sp.Integer(-1), second)), left, right, source, diagonal)


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
            e = _equation(*sides, f"{x} {name}", unknown | {x})
        except MbpError:
            continue
        if e.p and not e.diagonal:
            yield e
