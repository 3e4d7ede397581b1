"""Derives the variation of every output of a decomposition from its defining equations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import ClassVar

import sympy as sp

from mbp.decomposition import Decomposition
from mbp.derive.determinacy.determined import dimension_order, flaw, moves, residual
from mbp.derive.implicit.conditions import Condition, Gauge, conditions, gauges
from mbp.derive.implicit.cores import Cores
from mbp.derive.implicit.equations import Equation, equation, invariants
from mbp.derive.implicit.frames import (
    FrameError,
    Frames,
    Setting,
    choices,
    types_of,
)
from mbp.derive.implicit.matrix_form import MatrixForm
from mbp.derive.implicit.operator import solved
from mbp.derive.implicit.pairs import (
    FreeError,
    Pair,
    PairSystems,
    UnsolvableError,
    VariedEquation,
)
from mbp.derive.implicit.polynomial import (
    Polynomial,
    add,
    letters,
    properties,
    scaled,
    transpose,
    variation,
    varied_factor,
    varies,
)
from mbp.derive.implicit.unknowns import Restated, restated
from mbp.derive.variation import varied_in_letters
from mbp.expr import build
from mbp.expr.nodes import Expr, Var, Variation, topological, variables

_LONGEST = 72
_SOLVED = 1e-6
"""A condition on a matrix of more characters than this is said in words."""


@dataclass(frozen=True)
class Solution:
    """The variations of all outputs, by output name, with kernels, conditions and gauges.

    The expressions are in the variables of the definition, inputs and outputs, and linear in
    the variations of the inputs. `parts` are the sets of outputs that were solved together, in
    the unknowns of `restated`.
    """

    definition: Decomposition
    variations: dict[str, Expr]
    kernels: dict[str, Expr]
    parts: tuple[Framed | Explicit | Stacked, ...]
    restated: Restated

    @cached_property
    def denominators(self) -> tuple[Condition, ...]:
        """What must hold for the variations to exist, each once."""
        return tuple(dict.fromkeys(c for part in self.parts for c in part.conditions()))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions as texts of the vocabulary, each once."""
        return tuple(dict.fromkeys(c.text for c in self.denominators))

    @property
    def gauges(self) -> tuple[str, ...]:
        """The freedoms as texts, each once."""
        return tuple(dict.fromkeys(str(g) for part in self.parts for g in part.gauges()))


def solution(definition: Decomposition) -> Solution:
    """The variations of the outputs of `definition`.

    Raises RuleError, naming the entry and the reason, for a definition that does not determine
    its outputs, contradicts itself or restricts its inputs.
    """
    whole = restated(definition)
    parts, variations = _Solver(whole.definition).solve()
    kernels: dict[str, Expr] = {}
    for part in parts:
        for node in part.kernels.values():
            kernels["K" if not kernels else f"K{len(kernels) + 1}"] = whole.back(node)
    found = {y.name: whole.variation(y, variations) for y in definition.outputs}
    stacked = any(isinstance(part, Stacked) for part in parts)
    if stacked and not residual(definition, found) < _SOLVED:
        raise definition.refusal("no variation was found that solves the varied equations")
    return Solution(
        definition,
        found,
        kernels,
        parts,
        whole,
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
        self.defining, self.merged = (
            [e for sides in definition.equations
             if (e := equation(*sides, "definition", unknown, merge)).p or e.obstacle]
            for merge in (False, True)
        )

    # --- which outputs together -------------------------------------------------------------

    def solve(self) -> tuple[tuple[Framed | Explicit | Stacked, ...], dict[str, Expr]]:
        """Solves the smallest sets of outputs that determine themselves, one after another."""
        found: dict[Expr, Expr] = {}
        parts: list[Framed | Explicit | Stacked] = []
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
        return tuple(parts), {y.name: found[y] for y in self.definition.outputs}

    def _next(self, waiting: list[Var]) -> Framed | Explicit | Stacked:
        """The smallest set of outputs that its own equations determine, solved."""
        reasons: list[FrameError] = []
        gauged: list[Framed] = []
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
        decisive = [r for r in reasons if isinstance(r, UnsolvableError | FreeError)]
        if decisive and not gauged and flaw(self.definition, tuple(waiting), self.found):
            raise self.definition.refusal(str(decisive[0]))
        for subset, chosen in self._subsets(waiting):
            explicit = Explicit.of(subset, [self.defining[k] for k in chosen])
            if explicit and not flaw(self.definition, subset, self.found):
                return explicit
        for subset, chosen in self._subsets(waiting):
            try:
                return Stacked(self, subset, [self.defining[k] for k in chosen])
            except FrameError as error:
                reasons.append(error)
        if gauged:
            return gauged[0]
        raise self.definition.refusal(str(reasons[-1]))

    def _subsets(self, waiting: list[Var]) -> Iterator[tuple[tuple[Var, ...], list[int]]]:
        """Sets of outputs, smallest first, with the equations in them and in what is solved."""
        inside = [set(variables(e.left, e.right)) for e in self.defining]
        for size in range(1, len(waiting) + 1):
            for subset in combinations(waiting, size):
                outside = set(waiting) - set(subset)
                chosen = [
                    k for k, found in enumerate(inside)
                    if not outside & found and set(subset) & found
                ]
                if set(subset) <= {x for k in chosen for x in inside[k]}:
                    yield subset, chosen

    def _attempt(self, outputs: tuple[Var, ...], chosen: list[int]) -> Framed:
        """The first choice of words, invariants and frames that works.

        Redundant invariants of the outputs can force a worse frame, and so can known terms: then
        without them. A product of known factors may have a frame where its factors have none.
        """
        reasons: list[FrameError] = []
        stated = [e for y in outputs for e in invariants(y, frozenset(outputs))]
        imposed = any(y.properties for y in outputs)
        for impose, pool, loose in product(
            (True, False) if imposed else (True,), (self.defining, self.merged), (False, True)
        ):
            defining = [pool[k] for k in chosen]
            equations = [*defining, *stated] if impose else defining
            for order in _orders(equations, outputs):
                try:
                    attempt = Framed(self, outputs, equations, order, impose, loose)
                    if not impose and (reason := flaw(self.definition, outputs, self.found)):
                        raise FrameError(reason)
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


class Framed:
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
        for e in equations:
            if e.obstacle:
                raise FrameError(e.obstacle)
        self.outputs = outputs
        self.equations = equations
        self.impose = impose
        self.loose = loose
        found = letters(self._typed(e) for e in equations)
        given = [
            e for x in found if x not in outputs for e in invariants(x, frozenset(outputs))
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

    def conditions(self) -> Iterator[Condition]:
        """The conditions under which the variations hold."""
        return conditions(self.form)

    def gauges(self) -> Iterator[Gauge]:
        """The freedoms that were fixed."""
        return gauges(self.form)

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


@dataclass(frozen=True)
class Explicit:
    """An output that an equation gives in terms of what is known."""

    outputs: tuple[Var]
    equations: list[Equation]
    variations: dict[Expr, Expr]

    free = ()
    kernels: ClassVar[dict[str, Expr]] = {}

    @staticmethod
    def of(outputs: tuple[Var, ...], equations: list[Equation]) -> Explicit | None:
        """The output given by the first equation that does, if there is but one output."""
        for e in equations:
            for y, known in ((e.left, e.right), (e.right, e.left)):
                if (y,) == outputs and y not in variables(known):
                    return Explicit((outputs[0],), [e], {y: varied_in_letters(known)})
        return None

    def conditions(self) -> Iterator[Condition]:
        """None: nothing is solved."""
        yield from ()

    def gauges(self) -> Iterator[Gauge]:
        """None: nothing is free."""
        yield from ()


class Stacked:
    """The outputs as the solution operator of the stacked equations, where frames do not help."""

    def __init__(self, solver: _Solver, outputs: tuple[Var, ...], chosen: list[Equation]) -> None:
        self.outputs = outputs
        self.equations = chosen
        self.free = ()
        self.kernels: dict[str, Expr] = {}
        if reason := flaw(solver.definition, outputs, solver.found):
            raise FrameError(reason)
        stated = [e for y in outputs for e in invariants(y, frozenset(outputs))]
        self.coefficient, self.variations = solved([*chosen, *stated], outputs)

    def conditions(self) -> Iterator[Condition]:
        """The system must be regular."""
        names = ", ".join(f"d({y})" for y in self.outputs)
        known = "invertible" if self.coefficient.is_square else "full_column_rank"
        scalar = self.coefficient.is_scalar
        text = f"nonzero({self.coefficient})" if scalar else f"{self.coefficient} {known}"
        if len(text) > _LONGEST:
            yield Condition(f"the varied equations determine {names}", "their matrix is regular")
            return
        yield Condition(text, f"the coefficient of vec({names})", of=self.coefficient)

    def gauges(self) -> Iterator[Gauge]:
        """None: what the equations do not determine is refused."""
        yield from ()


def _expanded(e: Expr) -> Expr:
    """`e` with the variations of composite letters in those of their variables."""
    composite: dict[Expr, Expr] = {
        node: varied_in_letters(node.args[0]) for node in topological(e)
        if isinstance(node, Variation) and not isinstance(node.args[0], Var)
    }
    return build.substitute(e, composite)
