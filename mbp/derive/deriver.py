"""The recipe of §4.2: vary a layer, move the variation across the inner product, project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mbp.definition import Definition
from mbp.derive.adjoint import holds_variation, move
from mbp.derive.conditions import Conditions
from mbp.derive.derivation import Derivation, Step
from mbp.derive.implicit import variation_of
from mbp.derive.proofs.stages import decomposition_proof, matrix_function_proof
from mbp.derive.variation import Varied, check_arguments, is_constant, varied_down_to
from mbp.expr import build
from mbp.expr.dims import dim_names
from mbp.expr.nodes import (
    Expr,
    Frechet,
    Inverse,
    Kernel,
    Map,
    Named,
    Output,
    Var,
    Variation,
    topological,
)
from mbp.invariants.infer import declared, is_
from mbp.invariants.vocabulary import VOCABULARY
from mbp.rulebook import RULEBOOK
from mbp.simplify import collapse, normal, simplify

_NONLINEAR = (Frechet, Output, Kernel, Inverse, Map)


def cotangent_names(outputs: Mapping[str, Expr], letter: str = "G") -> dict[str, str]:
    """The cotangent's name of each output: G alone, G_Y among several."""
    if len(outputs) == 1:
        return dict.fromkeys(outputs, letter)
    return {name: f"{letter}_{name}" for name in outputs}


def derive(
    definition: Definition, cotangents: Mapping[str, Expr] | None = None, letter: str = "G"
) -> Derivation:
    """The variation of every output and the projected gradient in every input, with the proof.

    `cotangents` gives other expressions than the variables G, G_Y, such as 1 for a scalar;
    `letter` is the cotangents' letter. Raises MbpError for an operation that has no rule.
    """
    return _Deriver(definition, cotangents, letter).derivation()


def second(first: Derivation) -> Derivation:
    """The derivation of the backward pass itself, for double backward.

    Its inputs are the layer's and the cotangents, its outputs the gradients, named `grad_X`;
    its own cotangents are H or H_grad_X, or HH… where the layer uses that letter.
    """
    layer = first.definition
    dims = dim_names(*(n for x in layer.inputs.values() for n in x.shape))
    names = {*layer.inputs, *layer.outputs, *dims}
    letter = "H"
    while any(name == letter or name.startswith(f"{letter}_") for name in names):
        letter += "H"
    inputs = {**layer.inputs, **{G.name: G for G in first.cotangents.values()}}
    outputs = {f"grad_{name}": gradient for name, gradient in first.gradients.items()}
    name = f"{layer.name}_backward"
    return derive(Definition(name, inputs, outputs, layer.defaults), letter=letter)


@dataclass
class _Deriver:
    definition: Definition
    given: Mapping[str, Expr] | None = None
    letter: str = "G"
    steps: list[Step] = field(default_factory=list)
    proven: set[tuple[Any, ...]] = field(default_factory=set)

    def derivation(self) -> Derivation:
        outputs = {name: collapse(Y) for name, Y in self.definition.outputs.items()}
        self.outputs = outputs
        for Y in outputs.values():
            check_arguments(Y)
        self.stages = _stages(tuple(outputs.values()))
        self._open()
        levels = {stage: self._vary(stage) for stage in self.stages}
        variations = {name: self._as_computed(dY) for name, dY in self._compose(levels).items()}
        cotangents: dict[str, Var] = {}
        seeds: dict[str, Expr] = {}
        for name, letter in cotangent_names(outputs, self.letter).items():
            cotangents[name] = build.var(letter, *outputs[name].shape)
            seeds[name] = cotangents[name] if self.given is None else self.given[name]
        functionals = self._adjoint(levels, seeds)
        gradients = self._project(functionals)
        conditions = self._conditions()
        return Derivation(
            definition=self.definition,
            cotangents=cotangents,
            variations=variations,
            functionals=functionals,
            gradients=gradients,
            conditions=tuple(conditions.texts),
            spectra=conditions.spectra,
            gauges=self._gauges(),
            steps=tuple(self.steps),
        )

    # --- step 1 ---------------------------------------------------------------------------

    def _open(self) -> None:
        self.steps.append(Step(None, None, heading="The layer"))
        for name, Y in self.definition.outputs.items():
            letter = build.var(name, *Y.shape)
            self.steps.append(Step(letter, Y, ("definition",)))
            if self.outputs[name] is not Y:
                for call in topological(Y):
                    if isinstance(call, Output) and call is not Y:
                        self._line(call, collapse(call), ("simplification",))
                self.steps.append(Step(letter, self.outputs[name], ("simplification",)))
        self.steps.append(Step(None, None, heading="Step 1: the variation"))

    def _vary(self, stage: Expr) -> Varied:
        if isinstance(stage, Var):
            return Varied(build.variation(stage), ())
        varied = varied_down_to(stage, set(self.stages) - {stage})
        self._prove(stage)
        result = simplify(varied.variation)
        self.steps.append(Step(build.variation(stage), result, varied.by))
        return Varied(result, varied.by)

    def _prove(self, stage: Expr) -> None:
        """Where the rule of a spectral or implicit stage comes from, once for each."""
        match stage:
            case Output(rule=rule):
                key: tuple[Any, ...] = (rule,)
            case Frechet(order=0):
                key = (stage.g,)
            case _:
                return
        if key in self.proven:
            return
        self.proven.add(key)
        if isinstance(stage, Output):
            self.steps += decomposition_proof(stage)
        else:
            self.steps += matrix_function_proof(stage)
        self.steps.append(Step(None, None, heading="Step 1, continued"))

    def _compose(self, levels: Mapping[Expr, Varied]) -> dict[str, Expr]:
        whole: dict[Expr, Expr] = {}
        for stage in self.stages:
            known = {build.variation(s): v for s, v in whole.items() if not isinstance(s, Var)}
            total = build.substitute(levels[stage].variation, known)
            whole[stage] = _kept_whole(total, "d", stage)
        return {
            name: simplify(whole[Y]) if Y in whole else build.zeros(*Y.shape)
            for name, Y in self.outputs.items()
        }

    # --- step 2 ---------------------------------------------------------------------------

    def _adjoint(self, levels: Mapping[Expr, Varied], seeds: Mapping[str, Expr]) -> dict[str, Expr]:
        self.steps.append(Step(None, None, heading="Step 2: the adjoint"))
        summands: dict[Expr, list[Expr]] = {}
        for name, Y in self.outputs.items():
            summands.setdefault(Y, []).append(seeds[name])
        for stage in reversed(self.stages):
            if isinstance(stage, Var) or stage not in summands:
                continue
            cotangent = self._gathered(build.variation(stage), summands.pop(stage))
            cotangent = _kept_whole(cotangent, f"{self.letter}_", stage)
            for operand, moved in self._move(stage, levels[stage].variation, cotangent).items():
                summands.setdefault(operand, []).append(moved)
        functionals: dict[str, Expr] = {}
        for name in self.definition.differentiable:
            x = self.definition.inputs[name]
            total = summands.get(x)
            functionals[name] = simplify(build.add(*total)) if total else build.zeros(*x.shape)
        self._conclude(seeds, functionals)
        return functionals

    def _gathered(self, operand: Expr, cotangents: list[Expr]) -> Expr:
        """The sum of the cotangents of one operand, in normal form, with the line that says so."""
        total = simplify(build.add(*cotangents))
        self._line(
            build.add(*(build.inner(M, operand) for M in cotangents)),
            build.inner(total, operand),
            ("linearity" if len(cotangents) > 1 else "simplification",),
        )
        return total

    def _conclude(self, seeds: Mapping[str, Expr], functionals: Mapping[str, Expr]) -> None:
        """The variation of the loss in the inputs' alone, unless the last line says it already."""
        loss = [build.inner(seeds[name], build.variation(Y)) for name, Y in self.outputs.items()]
        inputs = [(M, self.definition.inputs[name]) for name, M in functionals.items()]
        if not inputs:
            return
        whole = build.add(*(build.inner(M, build.variation(x)) for M, x in inputs))
        if len(loss) > 1 or self.steps[-1].rhs is not whole:
            self._line(build.add(*loss), whole, ("chain rule",))

    def _move(self, stage: Expr, variation: Expr, cotangent: Expr) -> dict[Expr, Expr]:
        """The coefficients of the d(·) in cotangent : d(stage)."""
        known: dict[Expr, bool] = {}
        if build.is_zero(variation) or not holds_variation(variation, known):
            return {}
        pending: dict[Expr, list[Expr]] = {variation: [cotangent]}
        found: dict[Expr, list[Expr]] = {}
        self._line(
            build.inner(cotangent, build.variation(stage)),
            build.inner(cotangent, variation),
            ("step 1",),
        )
        for node in reversed(list(topological(variation))):
            if node not in pending:
                continue
            total = self._gathered(node, pending.pop(node))
            if isinstance(node, Variation):
                found.setdefault(node.args[0], []).append(total)
                continue
            active = tuple(k for k, arg in enumerate(node.args) if known[arg])
            by: list[str] = []
            moved = list(move(node, total, active))
            for summand in moved:
                pending.setdefault(summand.operand, []).append(summand.cotangent)
                if summand.by not in by:
                    by.append(summand.by)
            self._line(
                build.inner(total, node),
                build.add(*(build.inner(m.cotangent, m.operand) for m in moved)),
                tuple(by),
            )
        return {x: build.add(*terms) for x, terms in found.items()}

    def _line(self, lhs: Expr, rhs: Expr, by: tuple[str, ...]) -> None:
        if lhs is not rhs:  # a factor moved across prints the same on both sides
            self.steps.append(Step(lhs, rhs, by))

    def _project(self, functionals: Mapping[str, Expr]) -> dict[str, Expr]:
        gradients: dict[str, Expr] = {}
        self.steps.append(Step(None, None, heading="The gradients"))
        for name, M in functionals.items():
            x = self.definition.inputs[name]
            dx = build.variation(x)
            gradient = self._as_computed(project(M, x))
            gradients[name] = gradient
            self._line(build.inner(M, dx), build.inner(gradient, dx), ("tangent projection",))
        return gradients

    def _as_computed(self, e: Expr) -> Expr:
        """`e` with what its functions are taken of written as the outputs have it.

        A sum multiplied out may cancel, and would be decomposed a second time.
        """
        other: dict[Expr, Expr] = {
            A: self._computed[form] for A in self._arguments(e)
            if (form := normal(A)) in self._computed and self._computed[form] is not A
        }
        return build.substitute(e, other)

    @cached_property
    def _computed(self) -> dict[Expr, Expr]:
        """What the outputs take functions of, by its normal form."""
        return {normal(A): A for A in self._arguments(*self.outputs.values())}

    def _arguments(self, *roots: Expr) -> Iterator[Expr]:
        for root in roots:
            for node in topological(root):
                if isinstance(node, _NONLINEAR):
                    yield from (A for A in node.args if A.args)

    def _conditions(self) -> Conditions:
        inputs, outputs = self.definition.inputs, self.definition.outputs
        dims = (dim_names(*x.shape) for x in inputs.values())
        found = Conditions(frozenset({*inputs, *outputs}.union(*dims)))
        found.read(outputs.values(), self.outputs.values())
        return found

    def _gauges(self) -> tuple[str, ...]:
        gauges: list[str] = []
        for stage in self.stages:
            if isinstance(stage, Output):
                gauges += variation_of(RULEBOOK.decompositions[stage.rule]).gauges
        return tuple(dict.fromkeys(gauges))


def project(M: Expr, x: Var) -> Expr:
    """The projected gradient: M carried onto the admissible variations of x (§4.2)."""
    for name in VOCABULARY.minimal(declared(x)):
        M = simplify(VOCABULARY[name].project(M, x))
    return M


def _kept_whole(total: Expr, front: str, stage: Expr) -> Expr:
    """The variation or the cotangent of a stage, under a name of its own if the stage has one."""
    if not isinstance(stage, Named) or not total.args or isinstance(total, Variation):
        return total
    linear = tuple(name for name in _LINEAR if front == "d" and is_(stage, name))
    return build.named(f"{front}{stage.name}", simplify(total), linear)


_LINEAR = "symmetric", "antisymmetric", "diagonal"
"""The properties of a matrix that its variation has."""


def _stages(outputs: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The expressions whose variation is worth a line: operands first.

    They are the outputs, the arguments of nonlinear maps, the outputs of decompositions, what has
    a name, and whatever is used more than once, so that nothing is varied twice.
    """
    uses = Counter(arg for node in topological(*outputs) for arg in node.args)
    chosen: set[Expr] = set(outputs)
    for node in topological(*outputs):
        if isinstance(node, _NONLINEAR):
            chosen.update(arg for arg in node.args if arg.args)
        if isinstance(node, Output | Named) or (uses[node] > 1 and node.args):
            chosen.add(node)
    return tuple(node for node in topological(*outputs) if node in chosen and not is_constant(node))
