"""Fills the template of an emitted module: signatures, classes, bodies, docstring."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sympy as sp

from mbp.derive.derivation import Derivation
from mbp.emit.dialect import Dialect
from mbp.emit.divisors import divisors
from mbp.emit.printer import Body, Names
from mbp.errors import MbpError
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr, Named, Output, Var, topological, variables
from mbp.expr.text import text
from mbp.plan.cost import plan_cost
from mbp.plan.program import Plan, Program
from mbp.plan.ranks import decides_rank
from mbp.plan.values.value import Form, Value
from mbp.present.page import Page, page
from mbp.rulebook import RULEBOOK

OPTIONS: dict[str, tuple[str, str, str]] = {
    "rtol": (
        "float | None", "None",
        "singular values below rtol times the largest count as zero (None: max(m, n) eps, or √eps "
        "where only the range of a factor matters)",
    ),
    "gram": (
        "bool", "False",
        "takes the range of a factor F from FᵀF: quicker, and as accurate while the singular "
        "values that count stay above 1e-5 of the largest (float64; 1e-2 in float32)",
    ),
    "on_tie": (
        'Literal["nan", "raise"]', '"nan"',
        "at equal eigenvalues or singular values the gradient is nan, or (eager only) an error",
    ),
    "compute_dtype": (
        "{dtype} | None", "None",
        "the precision inside; by default the inputs', float32 for half precision",
    ),
}  # fmt: skip
"""Run-time options: type, default, meaning."""

_MODULE_NAMES = (
    "torch", "np", "jax", "jnp", "Array", "vjp", "jvp", "nn", "Tensor", "Any", "Function",
    "Literal", "Callable", "forward_ad", "rank_report", "RankReport", "AbstractContextManager",
    "NamedTuple", "NoReturn", "nullcontext", "suppress", "partial",
    "any", "isinstance", "len", "min", "staticmethod", "super", "tuple", "zip",
)  # fmt: skip

RESERVED = (
    *_MODULE_NAMES, *OPTIONS, "ctx", "self", "given", "dtype", "layer", "inside", "inputs",
    "output", "results", "saved", "ranges", "powers", "gap", "backward", "gradients", "variation",
    "varied", "cotangents",
)  # fmt: skip
"""Names that an emitted module uses itself."""

_WIDTH = 94
"""Of a line, without its indentation."""

_LONGEST_COMMENT = 4

_WORDS = {"ncuts": "NCuts"}


def class_name(name: str) -> str:
    """The module class of a layer: o2p → O2P, ncuts_j2 → NCutsJ2."""
    return "".join(_WORDS.get(word, word.title()) for word in name.split("_"))


@dataclass(frozen=True)
class _Function:
    """An emitted function: its parameters, in the order of every call, and its lines."""

    name: str
    tensors: tuple[str, ...]
    constants: tuple[str, ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]
    array: str

    @property
    def parameters(self) -> tuple[str, ...]:
        return self.tensors + self.constants

    @property
    def declared(self) -> list[str]:
        types = {"rtol": "float | None", "gram": "bool", "on_tie": "str"}
        return [f"{t}: {self.array}" for t in self.tensors] + [
            f"{c}: {types.get(c, 'float')}" for c in self.constants
        ]


class ModuleText:
    """The parts of one emitted module, printed from its plan in a target's dialect."""

    def __init__(self, plan: Plan, dialect: Dialect) -> None:
        self.plan = plan
        self.dialect = dialect
        self.layer = plan.derivation.definition
        self.page = page(plan.derivation)
        self.inputs = self.layer.inputs
        self._check_names()
        self.tensors = tuple(n for n, x in self.inputs.items() if not _is_number(x))
        self.numbers = tuple(n for n, x in self.inputs.items() if _is_number(x))
        if not self.tensors:
            raise MbpError(f"{self.layer.name} has no input that is a tensor")
        self.differentiable = tuple(plan.derivation.gradients)
        self.cotangents = tuple(G.name for G in plan.derivation.cotangents.values())
        self.options = tuple(
            o for o in dialect.options if o == "compute_dtype" or self._uses_option(o)
        )
        self.constants = self.numbers + tuple(o for o in self.options if o != "compute_dtype")
        self.names = self._module_names(plan)
        self.saved = tuple(self.names.name(v) for v in plan.saved)
        self.others: list[_Function] = []
        if plan.wide is not None:
            self._name_wide(plan.wide.plan)

    def _name_wide(self, wide: Plan) -> None:
        """Gives what the wide plan saves the first's names, its own where they are the same."""
        own = self._module_names(wide)
        left = {own.name(v): v for v in wide.saved}
        returned = {name: left.pop(name) for name in self.layer.outputs if name in left}
        slots = [name for name in self.saved if name not in self.layer.outputs]
        ordered = [left.pop(name, None) for name in slots]
        ordered = [v or (left.pop(next(iter(left))) if left else None) for v in ordered]
        found = [v for v in ordered if v is not None] + list(left.values())
        self.wide_saved = (*found, *returned.values())
        self.wide_names = self._module_names(wide, found, slots)
        extra = [self.wide_names.name(v) for v in found[len(slots) :]]
        for name in extra:
            self.names.reserve(name)
        self.saved += (*extra, *(name for name in returned if name not in self.saved))

    def _check_names(self) -> None:
        if class_name(self.layer.name) == self.layer.name:
            raise MbpError(
                f"{self.layer.name!r} would name both the function and the class of the generated "
                "module; write it in small letters"
            )
        derived = {f"{prefix}{name}": name for name in self.inputs for prefix in ("d", "grad_")}
        for name in (*self.inputs, *self.layer.outputs):
            if name in derived:
                raise MbpError(
                    f"{self.layer.name}: the generated code calls {name!r} what belongs to "
                    f"{derived[name]!r}; choose another name"
                )
        own = self.layer.name, class_name(self.layer.name)
        taken = [name for name in own if name in _MODULE_NAMES]
        taken += [n for n in (*self.inputs, *self.layer.outputs) if n in (*RESERVED, *own)]
        if taken:
            raise MbpError(
                f"{self.layer.name}: {taken[0]!r} would collide with a name in the generated code; "
                "choose another"
            )

    def _programs(self) -> list[Program]:
        plan = self.plan
        found = [plan.forward, plan.backward, plan.variation, plan.second, plan.second_variation]
        if plan.wide is not None:
            other = plan.wide.plan
            found += [other.forward, other.backward, other.variation]
        return [program for program in found if program is not None]

    def _uses_option(self, option: str) -> bool:
        values = [v for program in self._programs() for v in program.values]
        if option == "on_tie":
            return any(v.op in ("with_diagonal", "gap_kernel", "over_gaps") for v in values)
        if option == "gram":
            return any(v.op == "right_frame" for v in values)
        return any(map(decides_rank, values))

    def _has_own_derivative(self) -> bool:
        """Whether autograd of the forward pass would differ: at ties, or by the projection."""
        values = self.plan.forward.values
        structured = (self.inputs[name].properties for name in self.differentiable)
        return any(v.form is Form.CALL for v in values) or any(structured)

    def _module_names(
        self, plan: Plan, alike: Sequence[Value] = (), slots: Sequence[str] = ()
    ) -> Names:
        """The names of what every function shares; `alike` are called as `slots` are."""
        names = Names(hints=plan.hints)
        tensors = [*self.inputs, *self.cotangents, *self.layer.outputs, *RESERVED, self.layer.name]
        if self.plan.second_derivation is not None:
            tensors += [H.name for H in self.plan.second_derivation.cotangents.values()]
        for name in tensors:
            names.reserve(name)
        for name in (*self.inputs, *self.cotangents):
            names.reserve(f"d{name}")
            names.reserve(f"grad_{name}")
        for symbol in self._dims:
            names.reserve(symbol.name)
        # What a saved value is called in the forward pass it is called everywhere.
        known = dict(zip(alike, slots))
        for value in dict.fromkeys((*alike, *plan.saved)):
            output = next(
                (name for name, v in plan.forward.results.items() if v is value), known.get(value)
            )
            if output is None:
                names.name(value)
            else:
                names.give(value, output)
        return names

    @cached_property
    def _dims(self) -> dict[sp.Symbol, str]:
        """The text that reads each dimension; from a product such as m*n after its factors."""
        sizes: dict[str, Dim] = {}
        for name in self.tensors:
            x = self.inputs[name]
            if not x.is_scalar:
                vector = self._is_vector(name)
                sides = [(x.rows, -1)] if vector else [(x.rows, -2), (x.cols, -1)]
                sizes |= {f"{name}.shape[{axis}]": n for n, axis in sides}
        found: dict[sp.Symbol, str] = {}
        for size, n in sizes.items():
            if n.is_Symbol:
                found.setdefault(n, size)
        while fresh := dict(_factor(size, n, found) for size, n in sizes.items()
                            if len(n.free_symbols - found.keys()) == 1):
            found |= fresh
        return found

    def _size(self, n: Dim) -> str:
        """The text that reads a dimension off the inputs."""
        return str(n.xreplace({symbol: sp.Symbol(text) for symbol, text in self._dims.items()}))

    def _is_vector(self, name: str) -> bool:
        x = self.inputs[name]
        return name in self.plan.vectors or (x.cols == ONE and not x.is_scalar)

    # --- functions --------------------------------------------------------------------------

    def function(
        self, name: str, program: Program, tensors: Iterable[str], wishes: Mapping[str, str],
        keep: Sequence[Value] | None = None, known: Sequence[Value] | None = None,
        comments: Iterable[str] = (), like: Mapping[str, str] | None = None,
        wide: Program | None = None,
    ) -> _Function:  # fmt: skip
        """The function that runs `program`; it takes those of `tensors` that it uses.

        `keep` are values of the forward pass that it returns too, `known` such that it is given.
        `like` names, for a result, the tensor to whose shape it is summed: the gradient of what
        was broadcast. `wide` is the program for wide inputs, which the function leaves to another.
        """
        tensors = tuple(tensors)
        first = self._printed(
            self.names, name, program, tensors, wishes, keep, known, comments, like
        )
        if wide is None or self.plan.wide is None:
            return first
        saved = self.wide_saved
        other = self._printed(
            self.wide_names, f"{name}_wide", wide, tensors, wishes,
            None if keep is None else saved, None if known is None else saved, (), like,
        )  # fmt: skip
        self.others.append(other)
        sides = ((self._size(rows), self._size(cols)) for rows, cols in self.plan.wide.shapes)
        condition = " and ".join(f"{rows} < {cols}" for rows, cols in sides)
        call = f"return {other.name}({', '.join(other.parameters)})"
        branch = (f"if {condition}:", f"    {call}")
        used = {*first.parameters, *other.parameters, *re.findall(r"\w+", condition)}
        return replace(
            first,
            tensors=tuple(t for t in dict.fromkeys(tensors) if t in used),
            constants=tuple(c for c in self.constants if c in used),
            lines=(*branch, *first.lines),
        )

    def _printed(
        self, names: Names, name: str, program: Program, tensors: Iterable[str],
        wishes: Mapping[str, str], keep: Sequence[Value] | None, known: Sequence[Value] | None,
        comments: Iterable[str], like: Mapping[str, str] | None,
    ) -> _Function:  # fmt: skip
        order = len(self._shape(self.tensors[0]).split())
        body = Body(names.copy(), known or (), self.tensors[0], order, self._dims, self.dialect)
        texts = body.print(program, wishes, keep or (), like)
        kept = [names.name(v) for v in keep or () if v not in program.results.values()]
        returned = []
        for (result, value), printed in zip(program.results.items(), texts, strict=True):
            original = (like or {}).get(result)
            if original is not None and value.op != "zeros" and len(self.tensors) > 1:
                word = self.dialect.word("sum_to")
                printed = word.format(a=printed, like_array=original)
            returned.append(printed)
        if keep is not None:
            slots = [name for name in self.saved if name not in self.layer.outputs]
            missing = len(slots) - len(kept)
            kept += [self.dialect.word("nothing").format(x=self.tensors[0])] * missing
        results = (*returned, *kept)
        tail = f"return {', '.join(results)}{',' if len(results) == 1 else ''}"
        notes = []
        for comment in comments:
            wrapped = textwrap.wrap(comment, 92, subsequent_indent="    ")
            if len(wrapped) <= _LONGEST_COMMENT:  # a longer formula is in the docstring
                notes += [f"# {line}" for line in wrapped]
        lines = [*notes, *body.lines(tail)]
        if len(tail) > _WIDTH:
            lines[-1:] = ["return (", *(f"    {result}," for result in results), ")"]
        whole = "\n".join(line for line in lines if not line.startswith("#"))
        used = set(re.findall(r"\w+", whole))
        return _Function(
            name,
            tuple(t for t in dict.fromkeys(tensors) if t in used),
            tuple(c for c in self.constants if c in used),
            tuple(lines),
            results,
            self.dialect.array,
        )

    def context(self) -> dict[str, Any]:
        """What the template is filled with."""
        plan, layer = self.plan, self.layer
        derivation = plan.derivation
        wide = plan.wide.plan if plan.wide is not None else None
        forward = self.function(
            "_forward", plan.forward, self.tensors, {name: name for name in layer.outputs},
            keep=plan.saved, comments=_defining_lines(self.page),
            wide=wide.forward if wide else None,
        )  # fmt: skip
        gradients = self.function(
            "_gradients", plan.backward, (*self.tensors, *self.cotangents, *self.saved),
            {name: f"grad_{name}" for name in derivation.gradients}, known=plan.saved,
            comments=_lines(self.page, self.page.gradients, "dL/d{}"),
            like={name: name for name in derivation.gradients},
            wide=wide.backward if wide else None,
        )  # fmt: skip
        tangents = tuple(f"d{name}" for name in self.differentiable)
        variations = self.function(
            "_variations", plan.variation, (*self.tensors, *tangents, *self.saved),
            {name: f"d{name}" for name in layer.outputs}, known=plan.saved,
            comments=_lines(self.page, self.page.variations, "d({})"),
            wide=wide.variation if wide else None,
        )  # fmt: skip
        outputs = tuple(layer.outputs)
        extra = tuple(s for s in self.saved if s not in outputs)
        # The backward pass is a function of these inputs, for whoever differentiates it again.
        linked = {x.name for x in variables(*derivation.gradients.values())}
        primal = tuple(t for t in self.tensors if t in linked or t in gradients.tensors)
        kept = (*primal, *self.saved)
        context: dict[str, Any] = {
            "name": layer.name,
            "cls": class_name(layer.name),
            "tensors": list(self.tensors),
            "numbers": list(self.numbers),
            "constants": list(self.constants),
            "options": list(self.options),
            "differentiable": list(self.differentiable),
            "outputs": list(outputs),
            "cotangents": list(self.cotangents),
            "extra": list(extra),
            "saved": list(self.saved),
            "own_derivative": self._has_own_derivative(),
            "first": forward,
            "gradients": gradients,
            "variations": variations,
            "kept": list(kept),
            "gradient_names": [f"grad_{x}" for x in self.differentiable],
            "backward_tensors": [*primal, *self.cotangents, *self.saved],
            "backward_returned": [
                f"grad_{x}" if x in self.differentiable else "None"
                for x in (*self.tensors, *self.constants)
            ],
            "tangents_all": [f"d{x}" for x in self.tensors],
            "variation_names": [f"d{Y}" for Y in outputs],
            "variation_tensors": list(variations.tensors),
            "layer_returned": [
                f"grad_{x}" if x in self.differentiable else "None"
                for x in (*self.tensors, *self.numbers)
            ],
            "second": None,
        }
        if plan.second is not None and plan.second_variation is not None:
            context |= self._second(plan.second, plan.second_variation, primal, variations)
        used = (*kept, *self.differentiable, *context["variation_tensors"])
        context["kept_forward"] = [t for t in dict.fromkeys(used) if t not in tangents]
        context |= {"ranges": None, "compared": bool(plan.compared), "bound": plan.bound}
        if plan.ranges is not None:
            names = plan.ranges.results
            context["rank_powers"] = [0.5 if name in plan.factors else 1.0 for name in names]
            context["ranges"] = self.function(
                "_ranges", plan.ranges, self.tensors, {name: name for name in plan.ranges.results},
                comments=(f"{name} = {text(A)}" for name, A in plan.compared.items()),
            )  # fmt: skip
        context["others"] = self.others
        return context | self._interface(list(extra))

    def _second(
        self, program: Program, variation: Program, primal: tuple[str, ...], variations: _Function
    ) -> dict[str, Any]:
        derivation = self.plan.second_derivation
        assert derivation is not None
        over = tuple(H.name for H in derivation.cotangents.values())
        given = (*self.tensors, *self.cotangents)
        backward = (*primal, *self.cotangents, *self.saved)
        varied = [name for name in derivation.gradients if name in backward]
        second = self.function(
            "_second_gradients", program.restricted(varied), (*given, *over, *self.saved),
            {name: f"grad_{name}" for name in varied}, known=self.plan.saved,
            like={name: name for name in varied},
            wide=self.plan.second_alone and self.plan.second_alone.restricted(varied),
        )  # fmt: skip
        tangents = tuple(f"d{name}" for name in derivation.gradients)
        second_variations = self.function(
            "_gradient_variations", variation, (*given, *tangents, *self.saved),
            {name: f"d{name}" for name in derivation.variations}, known=self.plan.saved,
            like={f"grad_{name}": name for name in self.differentiable},
            wide=self.plan.second_variation_alone,
        )  # fmt: skip
        kept = tuple(t for t in second.tensors if t not in over)
        used = (*varied, *(t for t in second_variations.tensors if t not in tangents))
        return {
            "over": list(over),
            "second": second,
            "second_variations": second_variations,
            "second_results": varied,
            "second_names": [f"grad_{x}" for x in varied],
            "second_kept": list(kept),
            "second_kept_forward": list(dict.fromkeys((*kept, *used))),
            "second_tensors": list(second.tensors),
            "second_primal": varied,
            "second_inputs": [*second.tensors, *self.constants],
            "backward_returned_again": [
                f"grad_{x}" if x in varied else "None" for x in (*backward, *self.numbers)
            ],
            "second_returned": [
                f"grad_{x}" if x in varied else "None" for x in (*backward, *self.constants)
            ],
            "second_tangents_all": [f"d{x}" for x in (*primal, *self.cotangents)],
            "second_variation_tensors": list(second_variations.tensors),
            **self._along(backward, second, over, varied, variations),
        }

    def _along(
        self, backward: tuple[str, ...], second: _Function, over: tuple[str, ...],
        varied: Sequence[str], variations: _Function,
    ) -> dict[str, Any]:  # fmt: skip
        """The variation as a function to differentiate again, by the programs of reverse mode."""
        tangents = tuple(f"d{x}" for x in self.differentiable)
        given = dict.fromkeys((*backward, *second.tensors, *variations.tensors, *tangents))
        passed = [t for t in given if t not in (*self.cotangents, *over)]
        along = dict(zip(over, tangents))
        second_along = [along.get(t, t) for t in second.tensors]
        returned = {**{x: f"grad_{x}" for x in varied}, **{t: f"grad_{t}" for t in tangents}}
        return {
            "variation_tensors": passed,
            "along_kept": [t for t in passed if t in (*backward, *second_along)],
            "along_gradients": [f"grad_{t}" for t in tangents],
            "second_along": second_along,
            "along_returned": [returned.get(t, "None") for t in (*passed, *self.constants)],
        }

    # --- what the caller sees -----------------------------------------------------------------

    def _interface(self, extra: list[str]) -> dict[str, Any]:
        outputs = list(self.layer.outputs)
        array = self.dialect.array
        signature = [
            f"{name}: float{self._default(name)}" if name in self.numbers else f"{name}: {array}"
            for name in self.inputs
        ]
        tangents = [f"d{name}" for name in self.differentiable]
        gradients = ", ".join([array] * len(self.differentiable))
        received = [*outputs, *(["*_"] if extra else [])]
        cast = [f"{Y}.to(dtype)" for Y in outputs]
        several, tensors = len(outputs) > 1, ", ".join([array] * len(outputs))
        summary = self.layer.doc.strip().split("\n\n")[0].replace("\n", " ")
        shapes = [f"{name} {self._shape_doc(name)}" for name in self.tensors]
        results = [f"{name} {self._output_shape_doc(name)}" for name in outputs]
        return {
            "docstring": f"{docstring(self.page)}\n\n{self._cost()}",
            "summary": summary or f"The layer {self.layer.name}.",
            "signature": signature,
            "cotangent_signature": [f"{G}: {array}" for G in self.cotangents],
            "tangent_signature": [f"{dX}: {array}" for dX in tangents],
            "tangents": tangents,
            "gradient_type": f"tuple[{gradients}]" if len(tangents) > 1 else array,
            "cotangent_pairs": [
                f'("{G}", {G}, "{Y}", {Y})' for G, Y in zip(self.cotangents, outputs, strict=True)
            ],
            "tangent_pairs": [
                f'("{dX}", {dX}, "{X}", {X})'
                for dX, X in zip(tangents, self.differentiable, strict=True)
            ],
            "static": [o for o in self.options if o in self.constants],
            "tensor_signature": [f"{name}: {array}" for name in self.tensors],
            "number_signature": [f"{name}: float{self._default(name)}" for name in self.numbers],
            "option_signature": [self._option(o) for o in self.options],
            "option_lines": [f"{o}: {OPTIONS[o][2]}." for o in self.options],
            "shape_lines": [f"{', '.join(shapes)} ↦ {', '.join(results)}; batches * broadcast."],
            "class_doc": f"{', '.join(results)} for {', '.join(shapes)}.",
            "first_summary": f"{', '.join(outputs)}"
            + (f", and what the backward pass takes: {', '.join(extra)}." if extra else "."),
            "result_type": f"tuple[{tensors}]" if several else array,
            "shapes": [f'("{name}", {name}, "{self._shape(name)}")' for name in self.tensors],
            "requirements": self._requirements(),
            "received": f"{received[0]}," if len(received) == 1 else ", ".join(received),
            "applied": [f"{name}.to(inside)" for name in self.tensors] + list(self.constants),
            "returned": ", ".join(cast),
            "forwarded_by_name": [f"{name}={name}" for name in self.inputs],
            "forwarded": [f"self.{name}" if name in self.numbers else name for name in self.inputs]
            + [f"{o}=self.{o}" for o in self.options],
        }

    def _option(self, name: str) -> str:
        kind, default, _ = OPTIONS[name]
        return f"{name}: {kind.format(dtype=self.dialect.dtype)} = {default}"

    def _cost(self) -> str:
        """What the passes cost and what is kept between them, of one sample in float64."""
        cost = plan_cost(self.plan)
        lines = [
            "Cost of one sample in float64, factorizations by their time:",
            f"    forward {cost.forward.flops} flops,",
            f"    backward {cost.backward.flops} flops,",
            f"    saved {cost.saved} bytes.",
        ]
        if self.plan.wide is not None:
            wide = plan_cost(self.plan.wide.plan)
            lines[0] = lines[0].replace(":", ", and where it is wide:")
            lines[1] = f"    forward {cost.forward.flops} and {wide.forward.flops} flops,"
            lines[2] = f"    backward {cost.backward.flops} and {wide.backward.flops} flops,"
            lines[3] = f"    saved {cost.saved} and {wide.saved} bytes."
        return "\n".join(_wrapped(line) for line in lines)

    def _default(self, name: str) -> str:
        if name not in self.layer.defaults:
            return ""
        return f" = {self.layer.defaults[name]!r}"

    def _shape(self, name: str) -> str:
        x = self.inputs[name]
        if x.is_scalar:
            return ""
        return str(x.rows) if self._is_vector(name) else f"{x.rows} {x.cols}"

    def _shape_doc(self, name: str) -> str:
        return f"(*{', ' if self._shape(name) else ''}{self._shape(name).replace(' ', ', ')})"

    def _output_shape_doc(self, name: str) -> str:
        Y = self.layer.outputs[name]
        if Y.is_scalar:
            return "(*)"
        if name in self.plan.vectors or Y.cols == ONE:
            return f"(*, {Y.rows})"
        return f"(*, {Y.rows}, {Y.cols})"

    def _requirements(self) -> list[dict[str, str]]:
        """The conditions on dimensions under which the decompositions exist."""
        dims = {symbol.name: size for symbol, size in self._dims.items()}
        found: dict[str, dict[str, str]] = {}
        for node in self.plan.decomposed:
            for left, relation, right in _dimension_conditions(node):
                if left in dims and right in dims:
                    text = f"{left} {relation} {right}"
                    actual = f"{left} = {{{dims[left]}}}, {right} = {{{dims[right]}}}"
                    test = f"{dims[left]} {relation} {dims[right]}"
                    found[text] = {"text": text, "test": test, "actual": actual}
        for size in divisors(self.layer):
            if not size.free_symbols <= self._dims.keys():
                continue
            read = {symbol: self._dims[symbol] for symbol in sorted(size.free_symbols, key=str)}
            actual = ", ".join(f"{symbol} = {{{text}}}" for symbol, text in read.items())
            test = size.xreplace({symbol: sp.Symbol(text) for symbol, text in read.items()})
            found[f"{size}"] = {"text": f"{size} != 0", "test": f"{test} != 0", "actual": actual}
        return list(found.values())


def _dimension_conditions(node: Output) -> list[tuple[str, str, str]]:
    """What the rule of `node` assumes of its dimensions, in the layer's: such as (m, >=, n)."""
    rule = RULEBOOK.decompositions[node.rule]
    dims: dict[str, str] = {}
    for x, A in zip(rule.inputs, node.args, strict=True):
        for pattern, actual in zip(x.shape, A.shape, strict=True):
            if pattern.is_Symbol:
                dims[pattern.name] = str(actual)
    found = []
    for assumption in rule.assumes:
        match = re.fullmatch(r"(\w+) (>=|==) (\w+)", str(assumption))
        if match and match[1] in dims and match[3] in dims and dims[match[1]] != dims[match[3]]:
            found.append((dims[match[1]], match[2], dims[match[3]]))
    return found


def _is_number(x: Var) -> bool:
    return x.is_scalar and "constant" in x.properties


def docstring(shown: Page) -> str:
    """The mathematics: the layer, its variation and gradients, conditions and rules."""
    layer = shown.definition
    lines = [layer.doc.strip() or f"The layer {layer.name}.", "", "The layer"]
    lines += [f"    {line}" for line in _defining_lines(shown)]
    lines += [
        "its variation",
        *(f"    {line}" for line in _lines(shown, shown.variations, "d({})")),
    ]
    if shown.gradients:
        cotangents = ", ".join(f"{G.name} = dL/d{Y}" for Y, G in shown.cotangents.items())
        lines += [f"and its gradient, with {cotangents},"]
        lines += [f"    {line}" for line in _lines(shown, shown.gradients, "dL/d{}")]
    where = _where(shown, "\n".join(lines))
    if where:
        lines += ["where", *(f"    {line}" for line in where)]
    projected = dict.fromkeys(
        f"{p.name} is {p.prop.replace('_', ' ')}: {p.onto}" for p in shown.projections
    )
    if projected:
        lines += ["", "The gradient M is projected onto the admissible variations:"]
        lines += [f"    {line}" for line in projected]
    if shown.conditions:
        lines += ["", f"Conditions: {'; '.join(shown.conditions)}."]
    if shown.gauges:
        lines += ["", f"Gauges, on which a loss must not depend: {'; '.join(shown.gauges)}."]
    rules = list(dict.fromkeys(rule for step in shown.steps for rule in step.by))
    if rules:
        lines += ["", f"Rules used: {', '.join(rules)}."]
    return "\n".join(_wrapped(line) for line in lines)


def _defining_lines(shown: Page) -> list[str]:
    outputs = shown.definition.outputs
    lines = [f"{name} = {shown.text(Y)}" for name, Y in shown.definitions]
    for call in shown.calls:
        if any(name in outputs for name in call.names):
            lines.append(f"{', '.join(call.names)} = {shown.call_text(call)}")
    return lines


def _lines(shown: Page, formulas: Mapping[str, Expr], pattern: str) -> list[str]:
    return [f"{pattern.format(name)} = {shown.text(A)}" for name, A in formulas.items()]


def _where(shown: Page, said: str) -> list[str]:
    """What the names that occur in `said`, or in each other, stand for."""
    outputs = shown.definition.outputs
    entries: list[tuple[tuple[str, ...], str]] = []
    for letter, node in shown.abbreviations.items():
        entries.append(((letter,), f"{letter} = {shown.spelled(node, text)}"))
    for call in shown.calls:
        if not any(name in outputs for name in call.names):
            entries.append((call.names, f"{', '.join(call.names)} = {shown.call_text(call)}"))
    for name, _, kernel in shown.kernels:
        off, on = kernel.text
        tail = "" if kernel.is_uniform else f", and {on} at i = j"
        entries.append(((name,), f"{name}[i, j] = {off}{tail}"))
    wanted: list[str] = []
    fresh = True
    while fresh:
        words = set(re.findall(r"\w+", said + " ".join(wanted)))
        fresh = False
        for names, line in entries:
            if line not in wanted and words & set(names):
                wanted.append(line)
                fresh = True
    return [line for _, line in entries if line in wanted]


def _wrapped(line: str, width: int = 98) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    whole = textwrap.fill(
        line.strip(), width, initial_indent=indent, break_long_words=False,
        subsequent_indent=indent + "    " * bool(indent), break_on_hyphens=False,
    )  # fmt: skip
    return whole.replace("\\", "\\\\").replace('"""', "'''")


def source_texts(derivation: Derivation) -> list[str]:
    """What the layer itself says, for the digest of a module's source."""
    layer = derivation.definition
    named = (A for A in topological(*layer.outputs.values()) if isinstance(A, Named))
    return [
        layer.name,
        layer.doc,
        *(f"{name}: {x.rows} {x.cols} {x.properties}" for name, x in layer.inputs.items()),
        *(f"{A} = {text(A.args[0])}" for A in named),
        *(f"{name} = {text(Y)}" for name, Y in layer.outputs.items()),
        repr(sorted(layer.defaults.items())),
    ]


def _factor(size: str, product: Dim, known: Mapping[sp.Symbol, str]) -> tuple[sp.Symbol, str]:
    """The one unknown factor of a product of dimensions, and the text that computes it."""
    (unknown,) = product.free_symbols - known.keys()
    power = sp.degree(product, unknown)
    rest = product / unknown**power
    if rest != 1:
        factor = str(rest.subs({s: sp.Symbol(text) for s, text in known.items()}))
        size = f"{size} // {factor if rest.is_Atom else f'({factor})'}"
    return unknown, size if power == 1 else f"round(({size}) ** (1 / {power}))"
