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
    index_symbol,
)
from mbp.derive.implicit.polynomial import (
    Polynomial,
    add,
    letters,
    matrix,
    polynomial,
    properties,
    scaled,
    transpose,
    variation,
    varied_factor,
)
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Var, Variation, topological, variables
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Condition:
    """What must hold for the variation to exist: `text` in the vocabulary of conditions.

    `detail` is the denominator or reason, `when` restricts it ("m > n"), or is empty.
    """

    text: str
    detail: str
    when: str = ""


@dataclass(frozen=True)
class Gauge:
    """A freedom that the equations leave in `output`: which entries, and how they are fixed."""

    output: str
    entries: str
    fixed: str

    def __str__(self) -> str:
        return f"{self.output}: {self.entries} are free; {self.fixed}"


@dataclass(frozen=True)
class Step:
    """A line of the proof: an equation between expressions or a text, and what justifies it."""

    by: str
    note: str
    lhs: Expr | None = None
    rhs: Expr | None = None


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


@dataclass(frozen=True)
class _Equation:
    """An undifferentiated equation p = 0 with where it comes from."""

    p: Polynomial
    left: Expr
    right: Expr
    source: str
    rows: Dim
    cols: Dim


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
            tuple(dict.fromkeys(c for part in parts for c in part.conditions())),
            tuple(dict.fromkeys(g for part in parts for g in part.gauges())),
            tuple(step for part in parts for step in part.steps()),
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

    def _subsets(self, waiting: list[Var]) -> Iterator[tuple[tuple[Var, ...], list[_Equation]]]:
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

    def _attempt(self, outputs: tuple[Var, ...], chosen: list[_Equation]) -> _Attempt:
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

    def _orders(self, equations: list[_Equation], outputs: tuple[Var, ...]) -> Iterator[list[Expr]]:
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
        equations: list[_Equation],
        given: list[_Equation],
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

    def _varied(self, number: int, e: _Equation, given: bool) -> VariedEquation:
        p = variation(e.p, lambda x: "constant" not in properties(x))
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

    # --- what is reported -------------------------------------------------------------------

    def conditions(self) -> Iterator[Condition]:
        """The conditions under which the variations hold."""
        for text in self.frames.conditions:
            yield Condition(text, f"{text.split()[0]} was inverted")
        for letter in self.solver.ranks:
            if letter in self.frames.cores:
                yield Condition(f"rank({letter}) constant", "the range keeps its dimension")
        for pair in self.pairs:
            for line in pair.solution.values():
                for k in line.values():
                    yield from self._denominator_conditions(pair, k)

    def _denominator_conditions(self, pair: Pair, k: sp.Expr) -> Iterator[Condition]:
        null = next((label for label in (pair.row, pair.col) if label.null), None)
        when = "" if null is None else f"{_larger(null.size)}"
        for factor, _ in sp.factor_list(sp.fraction(sp.cancel(k))[1])[1]:
            spectra = [
                s for s in self.frames.spectra
                if factor.free_symbols & {index_symbol(s, "i"), index_symbol(s, "j")}
            ]
            if self._never_zero(factor):
                continue
            names = {index_symbol(s, i): sp.Symbol(f"{s.name}[{i}]") for s in spectra for i in "ij"}
            shown = factor.xreplace(names)
            if len(spectra) == 1:
                s = spectra[0]
                i, j = index_symbol(s, "i"), index_symbol(s, "j")
                if sp.expand(factor - (i - j)) == 0 or sp.expand(factor + (i - j)) == 0:
                    yield Condition(f"distinct({s.name})", f"{shown} != 0", when)
                    continue
                if factor in (i, j):
                    yield Condition(f"nonzero({s.name})", f"{shown} != 0", when)
                    continue
            yield Condition(f"nonzero({shown})", f"{shown} != 0", when)

    def _never_zero(self, factor: sp.Expr) -> bool:
        frames = self.frames
        positive = {index_symbol(s, i) for s in frames.positive for i in "ij"}
        nonnegative = positive | {index_symbol(s, i) for s in frames.nonnegative for i in "ij"}
        ranked = {index_symbol(s, i) for s in frames.ranked for i in "ij"}
        if factor in ranked:
            return True
        terms = sp.Add.make_args(sp.expand(factor))
        same_sign = all(t.as_coeff_Mul()[0] > 0 for t in terms)
        # Distinct and not negative already means that a sum of two is not zero.
        pool = positive if len(terms) == 1 else nonnegative
        return same_sign and factor.free_symbols <= pool

    def gauges(self) -> Iterator[Gauge]:
        """The freedoms that were fixed."""
        for pair, place in self.free:
            y = place.letter
            assert isinstance(y, Expr)
            where = f"entries {pair.case} of {pair.row.name}"
            if pair.row != pair.col:
                where = f"entries between {pair.row.name} and {pair.col.name}"
            yield Gauge(str(y), where, self._fixed(y, pair))

    def _fixed(self, y: Expr, pair: Pair) -> str:
        left = self.form.readable(self.frames.dual(y, 0, pair.row))
        return f"the part of {left}ᵀ d{y} that the equations leave free is zero"

    def steps(self) -> Iterator[Step]:
        """The proof, from the defining equations to the variations."""
        yield from _opening(self.equations, self.outputs)
        for y in self.outputs:
            yield Step("frames", self._frame_text(y))
        for pair in self.pairs:
            if pair.equations:
                lines = "; ".join(f"{line} = 0" for line in pair.equations)
                where = f"{pair.row.name} and {pair.col.name}, {pair.case}"
                yield Step("transformed equations", f"between {where}: {lines}")
                yield Step("solution", self._solution_text(pair))
        for name, kernel in self.form.kernels.items():
            yield Step("kernel", name, rhs=kernel)
        for output, change in self.variations.items():
            yield Step("back in matrix form", f"d{output}", Variation(output), change)

    def _frame_text(self, y: Expr) -> str:
        parts = []
        for which in (0, 1):
            labels = self.frames.labels(y, which)
            columns = [self.form.readable(self.frames.basis(y, which, k)) for k in labels]
            parts.append(columns[0] if len(columns) == 1 else f"({' | '.join(columns)})")
        names = "".join(part for part in (parts[0],) if part != "I")
        right = "" if parts[1] == "I" else f" {parts[1]}ᵀ"
        return f"d{y} = {names + ' ' if names else ''}δ{y}{right}"

    def _solution_text(self, pair: Pair) -> str:
        texts = []
        for place, line in pair.solution.items():
            value = sp.Add(*(k * self.systems.symbol(p) for p, k in line.items()))
            texts.append(f"{self.systems.symbol(place)} = {sp.factor(value) if line else 0}")
        return "; ".join(texts)


class _Operator:
    """The outputs as the solution operator of the stacked equations, where frames do not help."""

    def __init__(self, solver: _Solver, outputs: tuple[Var, ...], chosen: list[_Equation]) -> None:
        self.outputs = outputs
        self.equations = chosen
        self.free: list[tuple[Pair, Place]] = []
        self.kernels: dict[str, Expr] = {}
        check_numerically(solver.definition, outputs, chosen)
        invariants = [e for y in outputs for e in _invariants(y, frozenset(outputs))]
        rows = [(e.p, e.rows, e.cols) for e in (*chosen, *invariants)]
        self.coefficient, self.variations = solved(rows, outputs)

    def conditions(self) -> Iterator[Condition]:
        """The system must be regular."""
        names = ", ".join(f"d{y}" for y in self.outputs)
        known = "invertible" if self.coefficient.is_square else "full_column_rank"
        yield Condition(f"{self.coefficient} {known}", f"the coefficient of vec({names})")

    def gauges(self) -> Iterator[Gauge]:
        """None: what is not determined is refused."""
        yield from ()

    def steps(self) -> Iterator[Step]:
        """The proof: equations, their variation, the stacked system solved."""
        yield from _opening(self.equations, self.outputs)
        for y, dy in self.variations.items():
            yield Step("stacked system", "vec(L dY R) = kron(R.T, L) vec(dY)", Variation(y), dy)


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


def _opening(equations: list[_Equation], outputs: tuple[Var, ...]) -> Iterator[Step]:
    for e in equations:
        yield Step(e.source, "what defines the outputs", e.left, e.right)
    for e in equations:
        p = variation(e.p, lambda x: "constant" not in properties(x))
        unknown = {
            w: c for w, c in p.items()
            if (k := varied_factor(w)) is not None and w[k].letter in outputs
        }
        known = add(unknown, scaled(sp.Integer(-1), p))
        yield Step(
            "variation", f"of {e.left} = {e.right}",
            matrix(known, e.rows, e.cols), matrix(unknown, e.rows, e.cols),
        )


def check_numerically(
    definition: Definition, outputs: tuple[Var, ...], equations: list[_Equation]
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


def _equation(left: Expr, right: Expr, source: str, unknown: frozenset[Expr]) -> _Equation:
    p = add(polynomial(left, unknown), scaled(sp.Integer(-1), polynomial(right, unknown)))
    return _Equation(p, left, right, source, *left.shape)


def _invariants(x: Expr, unknown: frozenset[Expr]) -> Iterator[_Equation]:
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
            yield _equation(*sides, name, unknown | {x})
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


def _larger(size: sp.Expr) -> str:
    above = [t for t in sp.Add.make_args(size) if not t.could_extract_minus_sign()]
    return f"{sp.Add(*above)} > {sp.Add(*above) - size}"
