"""Reads rules/*.toml into typed, shape-checked rules, and holds those in force."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sympy as sp

from mbp.decomposition import Decomposition, read_decomposition
from mbp.errors import MbpError, PropertyError, RuleError, ShapeError
from mbp.expr import build
from mbp.expr.dims import Dim, shape_text
from mbp.expr.nodes import Expr, Output, Scale, Sum, Var
from mbp.expr.parser import parse
from mbp.invariants import infer
from mbp.invariants.declare import check_name, variable
from mbp.invariants.vocabulary import VOCABULARY
from mbp.resources import rules_table

_TORCH_NAME = re.compile(r"torch\.((linalg|special|fft|nn\.functional)\.)?(?!load$|save$)[a-z]\w*")
"""A function of torch on tensors; what reads, writes or reaches other modules is none."""

ENTRY_POINTS = "mbp.rules"
"""The group in which installed packages name their rule packs."""

_KINDS = {
    "decomposition": {"defines"},
    "variation": {"variation", "linear"},
    "identity": {"adjoint"},
    "rewrite": {"lhs", "rhs"},
    "property": {"implies", "equation", "tangent"},
}
"""The keys that tell what an entry is."""

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
class Rewrite:
    """lhs = rhs for all operands with the declared properties and `when`; used left to right.

    `domain` are properties of variables without which the left side is not differentiable.
    """

    name: str
    lhs: Expr
    rhs: Expr
    variables: tuple[Var, ...]
    when: tuple[tuple[Expr, str], ...]
    source: str
    fold: bool
    domain: tuple[Var, ...] = ()


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
    """The rules in force, by name: identities, variations, decompositions, rewrites.

    The packs of installed packages are read when a rule is first asked for; RuleError then, as
    from `load`, for a pack that cannot be used.
    """

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}
        self._variations: dict[str, VariationRule] = {}
        self._decompositions: dict[str, Decomposition] = {}
        self._rewrites: dict[str, Rewrite] = {}
        self._tables: dict[str, Mapping[str, Any]] = {}
        self._said: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._complete = True
        self._forgetting: list[Callable[[], None]] = []

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
                    raise RuleError(
                        f"{file}: [{name}]: two rules of one name, "
                        f"the other in {tables[name]['file']}"
                    )
                tables[name] = {**table, "file": str(file)}
        self.add(tables)

    def load_installed(self) -> None:
        """Adds the packs of installed packages: the entry points of the group `mbp.rules`.

        An entry point's value names a package; its `*.toml` files are read and nothing of it is
        run. Raises RuleError, naming the entry point besides file, entry and reason.
        """
        from importlib.metadata import entry_points  # few layers call an installed rule

        for point in entry_points(group=ENTRY_POINTS):
            where = f"entry point {point.name!r} = {point.value!r} of the group {ENTRY_POINTS}"
            try:
                spec = find_spec(point.value)
            except (ImportError, ValueError) as error:
                raise RuleError(f"{where}: {error}") from None
            folders = spec.submodule_search_locations if spec is not None else None
            if not folders:
                raise RuleError(f"{where}: no package of this name holds rules files")
            try:
                self.load(next(iter(folders)))
            except RuleError as error:
                raise RuleError(f"{where}: {error}") from None

    def add(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds rules given as tables, each of the kind that its keys tell; all or none.

        A rule that says what one of its name says already is no new one. Raises RuleError naming
        file, entry and reason.
        """
        said = {(_kind(name, table), name): _content(table) for name, table in tables.items()}
        tables = {
            name: tables[name]
            for (kind, name), content in said.items()
            if self._said.get((kind, name)) != content
        }
        trial = Rulebook()
        for kind in ("_identities", "_variations", "_decompositions", "_rewrites", "_tables"):
            setattr(trial, kind, dict(getattr(self, kind)))
        kinds = {name: _kind(name, table) for name, table in tables.items()}
        properties = {name: tables[name] for name, kind in kinds.items() if kind == "property"}
        before = VOCABULARY.snapshot()
        readers = {
            "decomposition": trial._add_decomposition,
            "variation": trial._add_variation,
            "identity": trial._add_identity,
            "rewrite": trial._add_rewrite,
        }
        name = ""
        try:
            _extend_vocabulary(properties)
            for kind, add in readers.items():
                for name, table in tables.items():
                    if kinds[name] == kind:
                        add(name, table)
            for name in (name for name, kind in kinds.items() if kind == "decomposition"):
                trial.forward(name)
        except BaseException as error:
            VOCABULARY.restore(before)
            placed = not name or str(error).startswith(_where(name, tables[name]))
            if isinstance(error, MbpError) and not placed:
                raise RuleError(f"{_where(name, tables[name])}: {error}") from None
            raise
        infer.forget()
        for kind in ("_identities", "_variations", "_decompositions", "_rewrites", "_tables"):
            setattr(self, kind, getattr(trial, kind))
        self._said = {**self._said, **said}
        for cached in ("variation_by_operation", "identity_by_operation"):
            self.__dict__.pop(cached, None)
        for forget in self._forgetting:
            forget()

    def when_changed(self, forget: Callable[[], None]) -> None:
        """Calls `forget` whenever rules are added, for whoever remembers what followed."""
        self._forgetting.append(forget)

    def _add_decomposition(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self._decompositions:
            raise RuleError("there is a decomposition of this name already; choose another")
        if "file" in table:  # the built-in `inv` is the grammar's own, from its equation
            check_name(name)
        _check_torch_name(table.get("forward"))
        self._decompositions[name] = read_decomposition(name, table)
        self._tables[name] = table

    def _add_variation(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self._variations:
            raise RuleError("there is a variation of this name already")
        operands = _declared(table)
        expr = parse(_required(table, "expr"), operands)
        variation = None if table.get("linear") else parse(_required(table, "variation"), operands)
        if variation is not None and variation.shape != expr.shape:
            raise ShapeError(
                f"the variation is {shape_text(*variation.shape)}, "
                f"but the expression is {shape_text(*expr.shape)}"
            )
        self._variations[name] = VariationRule(
            name, expr, tuple(operands.values()), variation, table.get("source", "linear")
        )

    def _add_identity(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self._identities:
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
        self._identities[name] = Identity(
            name, mapped, tuple(operands.values()), cotangent, adjoint, table.get("source", "")
        )

    def _add_rewrite(self, name: str, table: Mapping[str, Any]) -> None:
        if name in self._rewrites:
            raise RuleError("there is a rewrite of this name already")
        names = _declared(table)
        lhs, rhs = (parse(_required(table, side), names, self.functions) for side in ("lhs", "rhs"))
        if isinstance(lhs, Var | Scale | Sum):
            raise MbpError(f"{table['lhs']} is neither a product nor one operation")
        if lhs.shape != rhs.shape:
            raise ShapeError(
                f"{table['lhs']} is {shape_text(*lhs.shape)}, "
                f"but {table['rhs']} is {shape_text(*rhs.shape)}"
            )
        when = tuple(
            (parse(text, names, self.functions), prop)
            for text, prop in table.get("when", {}).items()
        )
        for _, prop in when:
            if prop not in VOCABULARY:
                raise RuleError(f"`when` names an unknown property, {prop!r}")
        self._rewrites[name] = Rewrite(
            name, lhs, rhs, tuple(names.values()), when, table.get("source", ""),
            bool(table.get("fold", False)),
            tuple(
                variable(key, f"{table['let'][key]} {prop}")
                for key, prop in table.get("domain", {}).items()
            ),
        )  # fmt: skip

    # --- using ----------------------------------------------------------------------------

    def _completed(self) -> Rulebook:
        if not self._complete:
            self._complete = True  # what is being loaded asks for rules itself
            try:
                self.load_installed()
            except RuleError:
                self._complete = False
                raise
        return self

    @property
    def identities(self) -> Mapping[str, Identity]:
        """The adjoint identities."""
        return self._completed()._identities

    @property
    def variations(self) -> Mapping[str, VariationRule]:
        """The variations of explicit operations."""
        return self._completed()._variations

    @property
    def decompositions(self) -> Mapping[str, Decomposition]:
        """The implicitly defined maps."""
        return self._completed()._decompositions

    @property
    def rewrites(self) -> Mapping[str, Rewrite]:
        """The simplifications that hold by property."""
        return self._completed()._rewrites

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
            returns = tuple(table.get("returns", outputs))
            missing = set(outputs) - {found.removesuffix(".T") for found in returns}
            if missing:
                raise RuleError(f"`returns` does not name the output {min(missing)}")
            return Forward(function, returns, options)
        names: dict[str, Expr] = {x.name: x for x in rule.inputs}
        expressions = []
        for Y in rule.outputs:
            if Y.name not in given:
                raise RuleError(f"forward has no expression for the output {Y.name}")
            value = parse(given[Y.name], names, self.functions)
            if value.shape != Y.shape:
                raise ShapeError(
                    f"forward gives {Y.name} as {shape_text(*value.shape)}, "
                    f"but it is {shape_text(*Y.shape)}"
                )
            expressions.append(value)
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
        rule = self._decompositions.get(name) or self.decompositions.get(name)
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


def _where(name: str, table: Mapping[str, Any]) -> str:
    return f"{table['file']}: [{name}]" if "file" in table else f"[{name}]"


def _content(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule says, wherever it stands and whoever said it first."""
    return {key: value for key, value in table.items() if key not in ("file", "source")}


def _kind(name: str, table: Mapping[str, Any]) -> str:
    for kind, keys in _KINDS.items():
        if keys & set(table):
            return kind
    raise RuleError(
        f"{_where(name, table)}: cannot tell what this is: a decomposition has `defines`, a "
        "variation `expr` and `variation`, an identity `map` and `adjoint`, a rewrite `lhs` and "
        "`rhs`, a property `implies` or `equation`"
    )


def _extend_vocabulary(properties: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds properties; raises RuleError naming file, entry and reason."""
    tables = {name: {k: v for k, v in t.items() if k != "file"} for name, t in properties.items()}
    try:
        VOCABULARY.extend(tables)
    except PropertyError as error:
        named = (name for name in tables if re.search(rf"\b{re.escape(name)}\b", error.message))
        name = next(named, next(iter(tables)))
        raise RuleError(f"{_where(name, properties[name])}: {error}") from None
    X, M = build.var("X", "n", "n"), build.var("M", "n", "n")
    for name, table in properties.items():
        try:
            VOCABULARY[name].equation_of(X)
            VOCABULARY[name].project(M, X)
        except (MbpError, ValueError) as error:
            raise RuleError(f"{_where(name, table)}: {error}") from None


def _built_in() -> Rulebook:
    book = Rulebook()
    for name in ("identities", "variations", "decompositions", "rewrites"):
        book.add(rules_table(name))
    book._complete = False
    return book


RULEBOOK = _built_in()
"""The rules in force; `mbp.load_rules` extends them."""
