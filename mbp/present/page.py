"""What every rendering of a derivation shows, lowered to the grammar and with names given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

import sympy as sp

from mbp.definition import Definition
from mbp.derive.derivation import Derivation, Side, Step
from mbp.expr import build
from mbp.expr.latex import latex
from mbp.expr.nodes import Expr, Kernel, Named, Output, Var, topological
from mbp.expr.text import text
from mbp.invariants.declare import declaration_text
from mbp.invariants.infer import is_
from mbp.invariants.vocabulary import VOCABULARY
from mbp.present.entries import Entries, entries
from mbp.present.lower import lowered, masked
from mbp.present.naming import abbreviated, named, names_in

Printer = Callable[[Expr, Mapping[Expr, str]], str]

_LETTER = re.compile(r"\b([dδ]?)([A-Za-z]\w*?)(?=_(?:ij|ji|ii)\b|\b)")

CONVENTION = (
    "The gradient with respect to a structured variable is the projected gradient: the coefficient "
    "of the variation, projected orthogonally onto the variations that the structure admits."
)


@dataclass(frozen=True)
class Projection:
    """How the coefficient M of d(X) becomes the gradient of a structured input X."""

    name: str
    prop: str
    onto: Expr


@dataclass(frozen=True)
class Call:
    """Outputs of one decomposition, named: (U, Q) = eig(A)."""

    names: tuple[str, ...]
    outputs: tuple[Output, ...]
    total: int


@dataclass(frozen=True)
class Page:
    """A derivation ready to print.

    where: the kernels, outputs of decompositions and named intermediates by name, operands first.
    letters: the intermediate expressions whose variation the proof takes, by letter.
    names: the names of both, of their variations and of those of the outputs, by node.
    """

    definition: Definition
    cotangents: Mapping[str, Var]
    variations: Mapping[str, Expr]
    gradients: Mapping[str, Expr]
    where: Mapping[str, Expr]
    letters: Mapping[str, Expr]
    names: Mapping[Expr, str]
    conditions: tuple[str, ...]
    spectra: Mapping[str, Expr]
    gauges: tuple[str, ...]
    steps: tuple[Step, ...]

    def text(self, node: Expr) -> str:
        """`node` in the grammar, with the names of this page."""
        return text(node, self.names)

    def latex(self, node: Expr) -> str:
        """`node` in the paper's notation, with the letters of this page."""
        return latex(node, self.names)

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs' declarations."""
        return {name: declaration_text(x) for name, x in self.definition.inputs.items()}

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs' declarations, with the properties that are inferred."""
        return {name: declared(Y) for name, Y in self.definition.outputs.items()}

    @property
    def starts_at_definition(self) -> bool:
        """Whether the proof itself begins with what the outputs are."""
        return any(self.defines(step) for step in self.steps)

    def defines(self, step: Step) -> bool:
        """Whether the step says what an output is."""
        return isinstance(step.lhs, Var) and step.lhs.name in self.definition.outputs

    def sides(self, step: Step, printed: Printer) -> tuple[str, str]:
        """Both sides of a step; what is being defined does not stand for itself."""
        assert step.lhs is not None and step.rhs is not None
        names = self.names
        if isinstance(step.lhs, Var) and names.get(step.rhs) == step.lhs.name:
            names = {node: name for node, name in names.items() if node is not step.rhs}
        return printed(step.lhs, self.names), printed(step.rhs, names)

    def entries(self, step: Step) -> Iterator[tuple[Side, Side]]:
        """The equations of a step between entries, in this page's letters, new ones explained."""
        assert step.entries is not None
        letters: dict[str, str] = {}
        for own, A in step.entries.letters.items():
            letters[own] = self.text(A)
            if not letters[own].isidentifier():
                letters[own] = next(x for x in _primed(own) if x not in self.names.values())
                if any(isinstance(lhs, str) for lhs, _ in step.entries.equations):
                    yield letters[own], A

        def word(side: str) -> str:
            return _LETTER.sub(lambda m: m[1] + letters.get(m[2], m[2]), side)

        def renamed(side: Side) -> Side:
            match side:
                case str():
                    return word(side)
                case tuple():
                    return tuple(word(w) if isinstance(w, str) else w for w in side)
                case sp.Expr():
                    return side.xreplace({s: sp.Symbol(word(s.name)) for s in side.free_symbols})
            return side

        for lhs, rhs in step.entries.equations:
            yield renamed(lhs), renamed(rhs)

    def meaning(self, condition: str) -> str:
        """What the small letters of a condition stand for."""
        used = {s: v for s, v in self.spectra.items() if re.search(rf"\b{s}\b", condition)}
        return ", ".join(f"{s} = {self.text(v)}" for s, v in used.items())

    @property
    def projections(self) -> tuple[Projection, ...]:
        """The projection of each input that has a gradient and a structure."""
        found = []
        for name in self.gradients:
            x = self.definition.inputs[name]
            for prop in VOCABULARY.minimal(x.properties):
                if VOCABULARY[prop].tangent is not None:
                    M = build.var("M", *x.shape)
                    found.append(Projection(name, prop, VOCABULARY[prop].project(M, x)))
        return tuple(found)

    @property
    def definitions(self) -> Iterator[tuple[str, Expr]]:
        """Each output with what defines it, decompositions spelled out elsewhere."""
        for name, Y in self.definition.outputs.items():
            if Y not in self.names:
                yield name, Y

    def spelled(self, node: Expr, printed: Printer) -> str:
        """What a letter of this page stands for."""
        if isinstance(node, Named):
            return printed(node.args[0], self.names)
        return printed(node, {A: name for A, name in self.names.items() if A is not node})

    @property
    def abbreviations(self) -> dict[str, Expr]:
        """The letters of the proof and the named intermediates, with what each stands for."""
        named = {name: node for name, node in self.where.items() if isinstance(node, Named)}
        return {**self.letters, **named}

    @property
    def calls(self) -> tuple[Call, ...]:
        """The decompositions whose outputs are named, each once."""
        groups: dict[tuple[str, tuple[Expr, ...]], list[tuple[str, Output]]] = {}
        for name, node in self.where.items():
            if isinstance(node, Output):
                groups.setdefault((node.rule, node.args), []).append((name, node))
        calls = []
        for members in groups.values():
            members.sort(key=lambda member: member[1].index)
            names, outputs = zip(*members, strict=True)
            calls.append(Call(names, outputs, int(outputs[0].data[-1])))
        return tuple(calls)

    @property
    def kernels(self) -> Iterator[tuple[str, Kernel, Entries]]:
        """The kernels by name, with their entries."""
        for name, node in self.where.items():
            if isinstance(node, Kernel):
                yield name, node, entries(node, self.names)

    def call_text(self, call: Call) -> str:
        """A decomposition's call in the grammar."""
        node = call.outputs[0]
        return f"{node.rule}({', '.join(map(self.text, node.args))})"

    def call_latex(self, call: Call) -> str:
        """A decomposition's call in the paper's notation."""
        node = call.outputs[0]
        bare = {A: name for A, name in self.names.items() if A not in call.outputs}
        if call.total == 1:
            return latex(node, bare)
        operands = ", ".join(map(self.latex, node.args))
        return rf"\operatorname{{{node.rule.replace('_', chr(92) + '_')}}}\left({operands}\right)"


def page(derivation: Derivation, *, masks: bool = False) -> Page:
    """The page of `derivation` for a reader, to whom each intermediate variation has a letter.

    With `masks` it is for a program: triangles become products with a named mask, and nothing has
    a name but kernels, outputs of decompositions and what the layer names itself.
    """
    lower: Callable[[Expr], Expr] = (lambda A: masked(lowered(A))) if masks else lowered
    outputs = derivation.definition.outputs
    variations = {name: lower(A) for name, A in derivation.variations.items()}
    gradients = {name: lower(A) for name, A in derivation.gradients.items()}
    steps = tuple(_lowered_steps(derivation.steps, lower))
    sides = [side for step in steps for side in (step.lhs, step.rhs) if side is not None]
    where = named(
        [*gradients.values(), *variations.values(), *sides, *_decompositions(outputs)],
        derivation.definition.inputs,
        outputs,
        derivation.cotangents,
        {name: lower(A) for name, A in derivation.where.items()},
    )
    names: dict[Expr, str] = {node: name for name, node in where.items()}
    for name, Y in (*outputs.items(), *_definitions(derivation)):
        if isinstance(Y, Var):  # an input that is passed on keeps its name
            continue
        names.setdefault(build.variation(Y), f"d({name})")
        names.setdefault(build.variation(lower(Y)), f"d({name})")
    letters: dict[str, Expr] = {}
    if not masks:
        taken = {*outputs, *where, *names_in(*sides, *derivation.definition.inputs.values())}
        varied_outputs = [build.variation(node) for node in where.values()]
        letters = abbreviated(sides, [*names, *varied_outputs], taken)
        steps = tuple(_with_letters(steps, letters))
        names |= {build.variation(node): f"d({letter})" for letter, node in letters.items()}
        names |= {node: letter for letter, node in letters.items()}
    return Page(
        derivation.definition,
        derivation.cotangents,
        variations,
        gradients,
        where,
        letters,
        names,
        derivation.conditions,
        derivation.spectra,
        derivation.gauges,
        steps,
    )


def _primed(letter: str) -> Iterator[str]:
    return (f"{letter}{k or ''}" for k in count())


def declared(node: Expr) -> str:
    """The declaration of `node`: its shape and the least properties that imply all known ones.

    Of a scalar only its sign is told: as a 1×1 matrix it is symmetric anyway.
    """
    if isinstance(node, Var):
        return declaration_text(node)
    candidates = ("positive", "nonnegative") if node.is_scalar else VOCABULARY.names
    known = [p for p in candidates if p != "constant" and is_(node, p)]
    return declaration_text(node, tuple(p for p in VOCABULARY.minimal(known) if p in candidates))


def _definitions(derivation: Derivation) -> Iterator[tuple[str, Expr]]:
    # A proof may start by bringing an output into another form, whose variation it then takes.
    for step in derivation.steps:
        if isinstance(step.lhs, Var) and step.lhs.name in derivation.definition.outputs:
            assert step.rhs is not None
            yield step.lhs.name, step.rhs


def _with_letters(steps: tuple[Step, ...], letters: Mapping[str, Expr]) -> Iterator[Step]:
    # A letter is introduced by a line of its own, right before its expression first occurs.
    waiting = {node: letter for letter, node in letters.items()}
    for step in steps:
        sides = [side for side in (step.lhs, step.rhs) if side is not None]
        here = [node for node in topological(*sides) if node in waiting]
        if step.heading and here:
            yield Step(None, None, heading=step.heading)
            step = replace(step, heading="")
        for node in here:
            yield Step(build.var(waiting.pop(node), *node.shape), node, note="named")
        yield step


def _decompositions(outputs: Mapping[str, Expr]) -> list[Expr]:
    return [Y for Y in outputs.values() if isinstance(Y, Output)]


def _lowered_steps(steps: tuple[Step, ...], lower: Callable[[Expr], Expr]) -> Iterator[Step]:
    """The steps with lowered sides, without those that lowering has made empty or a repetition."""
    said: tuple[Expr, Expr] | None = None
    for step in steps:
        if step.lhs is None or step.rhs is None:
            yield step.rewritten(lower)
            continue
        sides = lower(step.lhs), lower(step.rhs)
        if sides != said and (sides[0] is not sides[1] or step.lhs is step.rhs):
            yield replace(step, lhs=sides[0], rhs=sides[1])
            said = sides
