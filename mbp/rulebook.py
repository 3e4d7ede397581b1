"""Reads rules/*.toml into typed, shape-checked rules, and holds those in force."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import sympy as sp

from mbp.derive.implicit.definition import Definition as Decomposition
from mbp.derive.implicit.definition import definition as read_decomposition
from mbp.errors import MbpError, RuleError, ShapeError
from mbp.expr import build
from mbp.expr.dims import Dim, shape_text
from mbp.expr.nodes import Expr, Output, Var
from mbp.expr.parser import parse
from mbp.invariants import infer
from mbp.invariants.declare import check_name, variable
from mbp.invariants.vocabulary import VOCABULARY
from mbp.resources import rules_table

_TORCH_NAME = re.compile(r"torch\.((linalg|special|fft|nn\.functional)\.)?(?!load$|save$)[a-z]\w*")
"""A function of torch on tensors; what reads, writes or reaches other modules is none."""

Key = tuple[type[Expr], tuple[Any, ...]]
"""What tells one operation of the grammar from another: its node and its naming parameters."""


def key_of(node: Expr) -> Key:
    """The operation of `node`, without the dimensions that its data may hold."""
    named = tuple(value for value in node.data if not isinstance(value, sp.Basic))
    return type(node), named


@dataclass(frozen=True)
class VariationRule:
    """d(expr) for one explicit operation; `variation` is None for a linear one."""

    name: str
    expr: Expr
    operands: tuple[Var, ...]
    variation: Expr | None
    source: str


@dataclass(frozen=True)
class Identity:
    """A : map = adjoint[x] : x for the operands x of a linear map; `cotangent` is A."""

    name: str
    map: Expr
    operands: tuple[Var, ...]
    cotangent: Var
    adjoint: Mapping[Expr, Expr]
    source: str


@dataclass(frozen=True)
class Forward:
    """How a decomposition is computed: a dotted torch name, or one expression per output.

    `returns` lists what the torch function returns, in its order; an entry may be a transpose
    such as "V.T". `options` are keyword arguments of the torch function.
    """

    function: str | None
    returns: tuple[str, ...]
    options: Mapping[str, Any]
    expressions: tuple[Expr, ...] = ()


def _check_torch_name(forward: Any) -> None:
    """Raises RuleError where a rule's forward names anything but a function of torch."""
    named = forward.get("torch") if isinstance(forward, dict) else None
    if isinstance(forward, str) and forward.startswith("torch."):
        named = forward
    if named is not None and not (isinstance(named, str) and _TORCH_NAME.fullmatch(named)):
        raise RuleError(
            f"forward {named!r} is no function on tensors; write a dotted name such as "
            "torch.linalg.qr"
        )


class Rulebook:
    """The rules in force: identities, variations, decompositions, by name."""

    def __init__(self) -> None:
        self.identities: dict[str, Identity] = {}
        self.variations: dict[str, VariationRule] = {}
        self.decompositions: dict[str, Decomposition] = {}
        self._tables: dict[str, Mapping[str, Any]] = {}

    # --- reading --------------------------------------------------------------------------

    def load(self, directory: str | Path) -> None:
        """Adds every rule of `directory/*.toml`.

        Raises RuleError naming file, entry and reason; nothing is added when anything is wrong.
        """
        path = Path(directory)
        if not path.is_dir():
            raise RuleError(f"{path}: no such rules directory")
        files = sorted(path.glob("*.toml"))
        if not files:
            raise RuleError(f"{path}: no rules files (*.toml) here")
        tables: dict[str, Mapping[str, Any]] = {}
        for file in files:
            try:
                content = tomllib.loads(file.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise RuleError(f"{file}: not a TOML file: {error}") from None
            for name, table in content.items():
                if not isinstance(table, dict):
                    raise RuleError(f"{file}: {name} is no entry; write [{name}]")
                if name in tables:
                    raise RuleError(f"{file}: two rules of the name {name!r}")
                tables[name] = {**table, "file": str(file)}
        self.add(tables)

    def add(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds rules given as tables, each of the kind that its keys tell; all or none."""
        trial = Rulebook()
        trial.identities = dict(self.identities)
        trial.variations = dict(self.variations)
        trial.decompositions = dict(self.decompositions)
        trial._tables = dict(self._tables)
        properties: dict[str, Mapping[str, Any]] = {}
        for name, table in tables.items():
            where = f"{table['file']}: [{name}]" if "file" in table else f"[{name}]"
            try:
                if "defines" in table:
                    trial._add_decomposition(name, table)
                elif "variation" in table or "linear" in table:
                    trial._add_variation(name, table)
                elif "adjoint" in table:
                    trial._add_identity(name, table)
                elif "tangent" in table or "implies" in table or "equation" in table:
                    properties[name] = {k: v for k, v in table.items() if k != "file"}
                else:
                    raise RuleError(
                        "cannot tell what this is: a decomposition has `defines`, a variation "
                        "`expr` and `variation`, an identity `map` and `adjoint`, a property "
                        "`implies` or `equation`"
                    )
            except MbpError as error:
                raise RuleError(f"{where}: {error}") from None
        VOCABULARY.extend(properties)
        infer.forget()
        self.identities = trial.identities
        self.variations = trial.variations
        self.decompositions = trial.decompositions
        self._tables = trial._tables
        for cached in ("variation_by_operation", "identity_by_operation"):
            self.__dict__.pop(cached, None)

    def _add_decomposition(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self.decompositions:
            raise RuleError("there is a decomposition of this name already")
        if "file" in table:  # the built-in `inv` is the grammar's own, from its equation
            check_name(name)
        _check_torch_name(table.get("forward"))
        self.decompositions[name] = read_decomposition(name, table)
        self._tables[name] = table

    def _add_variation(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self.variations:
            raise RuleError("there is a variation of this name already")
        operands = _declared(table)
        expr = parse(_required(table, "expr"), operands)
        variation = None if table.get("linear") else parse(_required(table, "variation"), operands)
        if variation is not None and variation.shape != expr.shape:
            raise ShapeError(
                f"the variation is {shape_text(*variation.shape)}, "
                f"but the expression is {shape_text(*expr.shape)}"
            )
        self.variations[name] = VariationRule(
            name, expr, tuple(operands.values()), variation, table.get("source", "linear")
        )

    def _add_identity(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self.identities:
            raise RuleError("there is an identity of this name already")
        operands = _declared(table)
        mapped = parse(_required(table, "map"), operands)
        cotangent = build.var("A", *mapped.shape)
        adjoint: dict[Expr, Expr] = {}
        for slot, text in table["adjoint"].items():
            if slot not in operands:
                raise RuleError(f"the adjoint names {slot!r}, which is not in `let`")
            adjoint[operands[slot]] = parse(text, {**operands, "A": cotangent})
            if adjoint[operands[slot]].shape != operands[slot].shape:
                raise ShapeError(f"the adjoint in {slot} does not have {slot}'s shape")
        self.identities[name] = Identity(
            name, mapped, tuple(operands.values()), cotangent, adjoint, table.get("source", "")
        )

    # --- using ----------------------------------------------------------------------------

    @cached_property
    def variation_by_operation(self) -> Mapping[Key, VariationRule]:
        """The variation rules by the operation they are for."""
        return {key_of(rule.expr): rule for rule in self.variations.values()}

    @cached_property
    def identity_by_operation(self) -> Mapping[Key, Identity]:
        """The adjoint identities by the linear map they are for."""
        return {key_of(identity.map): identity for identity in self.identities.values()}

    def source(self, name: str) -> str:
        """Where a decomposition's definition comes from, as its entry says."""
        return str(self._tables[name].get("source", ""))

    def forward(self, name: str) -> Forward | None:
        """How a decomposition is computed, if its entry says; RuleError if it is unusable."""
        table = self._tables[name]
        given = table.get("forward")
        if given is None:
            return None
        rule = self.decompositions[name]
        outputs = tuple(Y.name for Y in rule.outputs)
        if isinstance(given, str) and given.startswith("torch."):
            given = {"torch": given}
        if isinstance(given, str):
            given = [given]
        if isinstance(given, list):
            given = dict(zip(outputs, given, strict=len(given) == len(outputs)))
        options = dict(given)
        function = options.pop("torch", None)
        if function is not None:
            return Forward(function, tuple(table.get("returns", outputs)), options)
        names: dict[str, Expr] = {x.name: x for x in rule.inputs}
        expressions = []
        for Y in rule.outputs:
            if Y.name not in given:
                raise RuleError(f"[{name}]: forward has no expression for the output {Y.name}")
            expressions.append(parse(given[Y.name], names, self.functions))
            names[Y.name] = expressions[-1]
        return Forward(None, outputs, {}, tuple(expressions))

    @property
    def functions(self) -> Mapping[str, Callable[..., Expr | tuple[Expr, ...]]]:
        """The decompositions as functions for the parser, by name."""
        return {name: self._caller(name) for name in self.decompositions}

    def _caller(self, name: str) -> Callable[..., Expr | tuple[Expr, ...]]:
        def call(*args: Expr) -> Expr | tuple[Expr, ...]:
            outputs = self.call(name, *args)
            return outputs[0] if len(outputs) == 1 else outputs

        return call

    def call(self, name: str, *args: Expr) -> tuple[Expr, ...]:
        """The outputs of the decomposition `name` at `args`.

        Raises MbpError for an unknown name, a wrong number of inputs, shapes that do not conform
        or an input that is not known to have a property the definition needs.
        """
        rule = self.decompositions.get(name)
        if rule is None:
            raise MbpError(
                f"unknown decomposition {name!r}; known are {', '.join(self.decompositions)}"
            )
        if len(args) != len(rule.inputs):
            raise MbpError(f"{name} takes {len(rule.inputs)} inputs, not {len(args)}")
        dims: dict[sp.Symbol, Dim] = {}
        for x, A in zip(rule.inputs, args):
            _bind(name, x, A, dims)
        for x, A in zip(rule.inputs, args):
            _require(name, x, A)
        return tuple(
            Output(
                *args,
                data=(
                    name, index, Y.name, sp.expand(Y.rows.xreplace(dims)),
                    sp.expand(Y.cols.xreplace(dims)), Y.properties, len(rule.outputs),
                ),
            )
            for index, Y in enumerate(rule.outputs)
        )  # fmt: skip


def _bind(name: str, x: Var, A: Expr, dims: dict[sp.Symbol, Dim]) -> None:
    for declared, actual in zip(x.shape, A.shape):
        if declared.is_Symbol:
            if dims.setdefault(declared, actual) == actual:
                continue
        elif declared == actual:
            continue
        raise ShapeError(
            f"{name} needs {x.name} of shape {shape_text(*x.shape)}, "
            f"but {A} is {shape_text(*A.shape)}"
        )


def _require(name: str, x: Var, A: Expr) -> None:
    for prop in x.properties:
        answer = infer.has(A, prop)
        if answer is False or (answer is None and prop == "symmetric"):
            remedy = f"; declare it {prop}" + (f" or write sym({A})" if prop == "symmetric" else "")
            raise MbpError(
                f"{name} needs a {prop.replace('_', ' ')} {x.name}, "
                f"which {A} is not known to be{remedy}"
            )
    if "positive_semidefinite" in VOCABULARY.closure(x.properties) and not infer.is_(
        A, "symmetric"
    ):
        raise MbpError(
            f"{name} needs a symmetric {x.name}, which {A} is not known to be; write sym({A})"
        )


def bind_dims(pattern: Expr, actual: Expr, dims: dict[sp.Symbol, Dim]) -> None:
    """Notes what the dimension names of `pattern` are in `actual`, an expression of its kind."""
    for declared, given in zip(pattern.shape, actual.shape):
        if declared.is_Symbol:
            dims[declared] = given


def _declared(table: Mapping[str, Any]) -> dict[str, Var]:
    return {name: variable(name, text) for name, text in _required(table, "let").items()}


def _required(table: Mapping[str, Any], key: str) -> Any:
    if key not in table:
        raise RuleError(f"the key `{key}` is missing")
    return table[key]


def _built_in() -> Rulebook:
    book = Rulebook()
    for name in ("identities", "variations", "decompositions"):
        book.add(rules_table(name))
    return book


RULEBOOK = _built_in()
"""The rules in force; `mbp.load_rules` extends them."""
