"""The Python face: layers from functions or text, gradients in one line, rules of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sympy as sp

from mbp.definition import Definition
from mbp.derive.derivation import Derivation
from mbp.derive.deriver import derive
from mbp.derive.hessian import hessian as hessian_of
from mbp.errors import MbpError, ShapeError
from mbp.expr import build
from mbp.expr.dims import Dim, dim_names, shape_text
from mbp.expr.nodes import Expr, Var, Variation, variables
from mbp.expr.parser import parse as parse_expression
from mbp.expr.parser import parse_outputs
from mbp.invariants import infer
from mbp.invariants.declare import check_name, declare
from mbp.rulebook import RULEBOOK, bind_dims

if TYPE_CHECKING:
    from mbp.verify.check import Report

Outputs = Expr | tuple[Expr, ...] | dict[str, Expr]


class Layer:
    """What a layer computes, and everything that follows from it.

    Called with expressions it composes; called with tensors it runs the generated module.
    """

    def __init__(self, definition: Definition) -> None:
        _check(definition)
        self.definition = definition
        self.__doc__ = definition.doc
        self.__name__ = definition.name

    @classmethod
    def from_text(cls, text: str, /, name: str = "layer", **declarations: str) -> Layer:
        """A layer from an expression text; a tuple gives several outputs.

        Raises MbpError, with the place, for a text or declaration that is not right.
        """
        return one_off_layer(text, declarations, name)

    @classmethod
    def from_function(
        cls, function: Callable[..., Outputs], declarations: Mapping[str, str]
    ) -> Layer:
        """A layer from a function of expressions; scalar constants may have default values."""
        parameters = inspect.signature(function).parameters
        for name in declarations:
            if name not in parameters:
                raise MbpError(f"{function.__name__} has no argument {name!r} to declare")
        inputs: dict[str, Var] = {}
        defaults: dict[str, float] = {}
        for name, parameter in parameters.items():
            if name not in declarations:
                raise MbpError(
                    f"{function.__name__}: declare {name}, as in @mbp.layer({name}='m d')"
                )
            inputs[name] = declare(name, declarations[name])
            if parameter.default is not inspect.Parameter.empty:
                if not inputs[name].is_scalar:
                    raise MbpError(
                        f"{function.__name__}: only a scalar may have a default, not {name}"
                    )
                defaults[name] = float(parameter.default)
        outputs = function(**inputs)
        doc = inspect.cleandoc(function.__doc__ or "")
        return cls(Definition(function.__name__, inputs, _named(outputs, inputs), defaults, doc,
                              isinstance(outputs, dict)))  # fmt: skip

    @property
    def name(self) -> str:
        """The layer's name, which its module and functions carry."""
        return self.definition.name

    @cached_property
    def _derivation(self) -> Derivation:
        return derive(self.definition)

    def derive(self, wrt: str | None = None) -> Derivation:
        """The two-step derivation; `wrt` keeps the gradient in one input only."""
        return self._derivation if wrt is None else derive(fixing_all_but(self.definition, wrt))

    def emit_text(self, target: str = "torch") -> str:
        """The generated module's text."""
        from mbp.emit import emit_text

        return emit_text(self._derivation, target)

    def emit(self, directory: str | Path = "generated", target: str = "torch",
             force: bool = False) -> Path:  # fmt: skip
        """Writes the generated module into `directory` and returns its path.

        Raises MbpError rather than overwrite a file that was not generated or was edited since.
        """
        from mbp.emit import write

        return write(self.emit_text(target), Path(directory) / f"{self.name}.py", force)

    @cached_property
    def _modules(self) -> dict[str, ModuleType]:
        return {}

    def compile(self, target: str = "torch") -> ModuleType:
        """The module generated for a target, loaded. Raises MbpError for an unknown target."""
        from mbp.emit import load

        if target not in self._modules:
            self._modules[target] = load(self.emit_text(target), self.name)
        return self._modules[target]

    def check(
        self, progress: Callable[[str], None] | None = None, target: str = "torch"
    ) -> Report:
        """Verifies a generated module against independent witnesses; see `mbp.verify.check`."""
        from mbp.verify.check import check

        return check(self, progress, target)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """With expressions, the outputs at them; with tensors, the generated code's result."""
        try:
            bound = inspect.Signature(
                [
                    inspect.Parameter(
                        name,
                        inspect.Parameter.POSITIONAL_OR_KEYWORD,
                        default=self.definition.defaults.get(name, inspect.Parameter.empty),
                    )
                    for name in self.definition.inputs
                ]
            ).bind(*args, **kwargs)
        except TypeError as error:
            if any(isinstance(value, Expr) for value in (*args, *kwargs.values())):
                raise MbpError(f"{self.name}: {error}") from None
            return getattr(self.compile(), self.name)(*args, **kwargs)
        if any(isinstance(value, Expr) for value in bound.arguments.values()):
            bound.apply_defaults()
            return self._compose({k: build.as_expr(v) for k, v in bound.arguments.items()})
        for name, value in bound.arguments.items():
            if not self.definition.inputs[name].is_scalar and not hasattr(value, "requires_grad"):
                raise MbpError(
                    f"{self.name}: {name} is neither a tensor nor an expression, "
                    f"but of type {type(value).__name__}"
                )
        result = getattr(self.compile(), self.name)(*args, **kwargs)
        if self.definition.as_dict:
            return dict(
                zip(self.definition.outputs, result if isinstance(result, tuple) else (result,))
            )
        return result

    def _compose(self, arguments: Mapping[str, Expr]) -> Outputs:
        dims: dict[sp.Symbol, Dim] = {}
        replacement: dict[Expr, Expr] = {}
        for name, x in self.definition.inputs.items():
            bind_dims(x, arguments[name], dims)
            replacement[x] = arguments[name]
        for name, x in self.definition.inputs.items():
            expected = tuple(sp.expand(n.xreplace(dims)) for n in x.shape)
            if expected != arguments[name].shape:
                raise ShapeError(
                    f"{self.name}: {name} needs shape {shape_text(*expected)}, "
                    f"but {arguments[name]} is {shape_text(*arguments[name].shape)}"
                )
            for prop in x.properties:
                if prop != "constant" and infer.has(arguments[name], prop) is False:
                    raise MbpError(
                        f"{self.name} needs a {prop} {name}, which {arguments[name]} is not"
                    )
        outputs = {
            name: build.instantiate(Y, replacement, dims)
            for name, Y in self.definition.outputs.items()
        }
        if self.definition.as_dict:
            return outputs
        values = tuple(outputs.values())
        return values[0] if len(values) == 1 else values

    def __repr__(self) -> str:
        inputs = ", ".join(self.definition.inputs)
        outputs = ", ".join(f"{name} = {Y}" for name, Y in self.definition.outputs.items())
        return f"<layer {self.name}({inputs}): {outputs}>"


def layer(
    undeclared: object = None, /, **declarations: str
) -> Callable[[Callable[..., Outputs]], Layer]:
    """Decorator: a function of expressions becomes a layer, its arguments declared by keywords.

    Raises MbpError where it is given anything but declarations.
    """
    if undeclared is not None:
        raise MbpError("declare the arguments by keywords, as in @mbp.layer(F='m d')")
    return lambda function: Layer.from_function(function, declarations)


def parse(text: str, /, **declarations: str) -> Expr:
    """The expression written in `text` over the declared names."""
    names = {name: declare(name, declaration) for name, declaration in declarations.items()}
    return parse_expression(text, names, RULEBOOK.functions)


def from_sympy(e: sp.Basic, /, **declarations: str) -> Expr:
    """The expression that a SymPy matrix expression or scalar stands for.

    `declarations` say what is known of its symbols; others are general. Raises MbpError for what
    has no counterpart; see `mbp.expr.interchange`.
    """
    from mbp.expr.interchange import from_sympy as read

    return read(e, {name: declare(name, text) for name, text in declarations.items()})


def one_off_layer(text: str, declarations: Mapping[str, str], name: str) -> Layer:
    """The layer of an expression whose variables may have any name, `name` and `text` included."""
    inputs = {x: declare(x, declaration) for x, declaration in declarations.items()}
    outputs = parse_outputs(text, inputs, RULEBOOK.functions)
    return Layer(Definition(name, inputs, _named(outputs, inputs), doc=text))


def derive_expression(definition: Definition) -> Derivation:
    """Like `derive`, with cotangent 1 where the only output is a scalar, as in a textbook.

    The derivation then has no cotangents: nothing in it is a variable G.
    """
    outputs = definition.outputs
    if len(outputs) == 1 and all(Y.is_scalar for Y in outputs.values()):
        ones = {name: build.number(1) for name in outputs}
        return replace(derive(definition, ones), cotangents={})
    return derive(definition)


def grad(text: str | Expr, /, wrt: str, **declarations: str) -> Expr:
    """The projected gradient of an expression in one of its variables.

    For a scalar expression the cotangent is 1; otherwise it is the variable G. Raises MbpError
    when `wrt` is not a variable of the expression or is constant.
    """
    definition = Definition("expression", *_expression(text, wrt, declarations))
    return derive_expression(fixing_all_but(definition, wrt)).gradients[wrt]


def hessian(text: str | Expr, /, wrt: str, **declarations: str) -> Expr:
    """The second derivative of a scalar expression in one of its variables.

    For a column or scalar it is the Hessian matrix; for a matrix variable the Hessian–vector
    product, an expression linear in d(X). Raises MbpError when the expression is no scalar.
    """
    definition = Definition("expression", *_expression(text, wrt, declarations))
    return hessian_of(fixing_all_but(definition, wrt), wrt)


def _expression(
    text: str | Expr, wrt: str, declarations: Mapping[str, str]
) -> tuple[dict[str, Var], dict[str, Expr]]:
    if isinstance(text, Expr):
        inputs = {x.name: x for x in variables(text)}
        Y = text
    else:
        inputs = {name: declare(name, declaration) for name, declaration in declarations.items()}
        Y = parse_expression(text, inputs, RULEBOOK.functions)
    if wrt not in inputs:
        raise MbpError(f"wrt={wrt!r} is not declared; declared are: {', '.join(inputs) or 'none'}")
    return inputs, {"Y": Y}


def fixing_all_but(definition: Definition, wrt: str) -> Definition:
    """`definition` with every other input constant.

    Raises MbpError when there is no input `wrt`, or no gradient in it.
    """
    if wrt not in definition.inputs:
        raise MbpError(f"there is no input {wrt!r}; there are {', '.join(definition.inputs)}")
    if wrt not in definition.differentiable:
        raise MbpError(f"{wrt} is constant, so there is no gradient in it")
    inputs = {}
    replacement: dict[Expr, Expr] = {}
    for name, x in definition.inputs.items():
        properties = x.properties
        if name != wrt and "constant" not in properties:
            properties = (*properties, "constant")
        inputs[name] = build.var(name, x.rows, x.cols, properties)
        replacement[x] = inputs[name]
    outputs = {k: build.substitute(Y, replacement) for k, Y in definition.outputs.items()}
    return Definition(definition.name, inputs, outputs, definition.defaults, definition.doc,
                      definition.as_dict)  # fmt: skip


def load_rules(directory: str | Path) -> None:
    """Adds the rules of a directory; raises RuleError naming file, entry and reason."""
    RULEBOOK.load(directory)


def rule(name: str) -> Callable[..., Expr | tuple[Expr, ...]]:
    """The decomposition `name` as a function of expressions; several outputs give a tuple."""
    if name not in RULEBOOK.decompositions:
        raise MbpError(
            f"unknown decomposition {name!r}; known are {', '.join(RULEBOOK.decompositions)}"
        )
    return RULEBOOK.functions[name]


def projector(A: Expr) -> Expr:
    """A A⁺, the orthogonal projector onto the range of A."""
    return RULEBOOK.call("projector", A)[0]


def pinv(A: Expr) -> Expr:
    """A⁺, the Moore–Penrose inverse."""
    return RULEBOOK.call("pinv", A)[0]


_OUTPUT_LETTERS = "YZCFHMPRTUVWXABDEJKLNOQS"


def _named(outputs: Outputs, inputs: Mapping[str, Var]) -> dict[str, Expr]:
    """Outputs by name: those without are Y, or Y1, Y2, …; Z where an input or a dimension is Y."""
    if isinstance(outputs, dict):
        return dict(outputs)
    if not isinstance(outputs, Expr | tuple):
        raise MbpError(f"a layer returns an expression, a tuple or a dict of them, not {outputs!r}")
    values = (outputs,) if isinstance(outputs, Expr) else outputs
    taken = {*inputs, *dim_names(*(n for x in inputs.values() for n in x.shape))}
    for letter in (*_OUTPUT_LETTERS, *(f"Y_{letter}" for letter in _OUTPUT_LETTERS)):
        ends = [""] if len(values) == 1 else range(1, len(values) + 1)
        names = [f"{letter}{end}" for end in ends]
        if not taken & set(names):
            break
    return dict(zip(names, values))


def _check(definition: Definition) -> None:
    name = definition.name
    try:
        check_name(name)
    except ShapeError:
        if name not in RULEBOOK.decompositions:  # `inv` is a rule, and so a layer, of its own
            raise
    known = set(definition.inputs.values())
    dims = {d for x in definition.inputs.values() for d in dim_names(*x.shape)}
    for letter in definition.inputs:
        if letter in dims:
            raise MbpError(f"{name}: {letter} names both a variable and a dimension; rename one")
    for output, Y in definition.outputs.items():
        if not isinstance(Y, Expr):
            raise MbpError(f"{name}: the output {output} is {Y!r}, which is no matrix expression")
        if output in definition.inputs:
            raise MbpError(f"{name}: {output} names both an input and an output; rename one")
        check_name(output)
        for x in variables(Y):
            if x not in known:
                raise MbpError(f"{name}: the output {output} uses {x}, which is not an input")
        unknown = set(dim_names(*_all_dims(Y))) - dims
        if unknown:
            raise MbpError(f"{name}: no input has the dimension {', '.join(sorted(unknown))}")


def _all_dims(Y: Expr) -> list[Dim]:
    from mbp.expr.nodes import topological

    found: list[Dim] = []
    for node in topological(Y):
        if isinstance(node, Variation):
            raise MbpError("d(…) is reserved for variations and cannot be part of a layer")
        found.extend(node.shape)
    return found
