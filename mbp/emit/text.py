"""The text of an emitted module: its plan printed into the target's template, under a header."""

from __future__ import annotations

import hashlib
import re
from functools import cache, lru_cache
from importlib.resources.abc import Traversable
from typing import Literal

import jinja2
from sympy.integrals.quadrature import gauss_legendre

from mbp.derive.derivation import Derivation
from mbp.derive.deriver import second as derive_second
from mbp.emit.dialect import Dialect
from mbp.emit.dialects import DIALECTS
from mbp.emit.files import header
from mbp.emit.module import ModuleText, source_texts
from mbp.errors import MbpError
from mbp.plan.choice import plan
from mbp.resources import folder

_WIDTH = 100

def emit_text(
    derivation: Derivation,
    target: str = "torch",
    second: Derivation | Literal["derive"] | None = "derive",
) -> str:
    """The source of the module for a derived layer, the same byte for byte every time.

    `second` is the derivation of the backward pass, for double backward; without one, or where
    none can be derived, the module refuses to differentiate twice. Raises MbpError for an unknown
    target, for a layer with nothing to differentiate, for an expression that the target cannot
    compute and for names that would collide.
    """
    if target not in DIALECTS:
        raise MbpError(f"unknown target {target!r}; known are {', '.join(DIALECTS)}")
    if not derivation.gradients:
        raise MbpError(
            f"{derivation.definition.name} has no input to differentiate: all are constant"
        )
    if second == "derive":
        second = _second_or_none(derivation)
    dialect = DIALECTS[target]
    try:
        programs = plan(derivation, second, has_lu=dialect.has_lu)
    except MbpError:  # such as a kink, which leaves a second derivative none at a tie
        programs = plan(derivation, None, has_lu=dialect.has_lu)
    context = ModuleText(programs, dialect).context()
    environment = _environment()
    body = environment.get_template(f"{target}/module.py.jinja").render(
        **context, helpers=(), imports=()
    )
    brought = helpers(dialect, body)
    code = body + "".join(brought)
    body = environment.get_template(f"{target}/module.py.jinja").render(
        **context, helpers=brought, imports=_imports(code)
    )
    return header(_digest(derivation), body)


def _second_or_none(derivation: Derivation) -> Derivation | None:
    try:
        return derive_second(derivation)
    except MbpError:  # such as a function whose derivative has no derivative in the grammar
        return None


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals.update(wrap=_wrap, typed=_typed, gauss=_gauss, only=_only, assign=_assign)
    return environment


def _template(name: str) -> str:
    return _joined(folder("templates"), name).read_text(encoding="utf-8")


def _joined(root: Traversable, name: str) -> Traversable:
    for part in name.split("/"):
        root = root / part
    return root


def _wrap(before: str, items: list[str], after: str) -> str:
    """`before` items `after` on one line, or one item after another where that is too long."""
    line = before + ", ".join(items) + after
    if len(line) <= _WIDTH:
        return line
    indent = " " * (len(before) - len(before.lstrip()))
    inside = ", ".join(items) + ","
    if len(indent) + 4 + len(inside) - 1 <= _WIDTH and not inside.rstrip(",").endswith("*"):
        return f"{before}\n{indent}    {inside.rstrip(',')}\n{indent}{after}"
    lines = "".join(f"{indent}    {item},\n" for item in items)
    return f"{before}\n{lines}{indent}{after}"


def _typed(names: list[str]) -> list[str]:
    return [f"{name}: Any" for name in names]


def _assign(indent: int, names: list[str], source: str) -> str:
    """`names` unpacked from `source`."""
    line = f"{' ' * indent}{', '.join(names)}{',' if len(names) == 1 else ''} = {source}"
    return line if len(line) <= _WIDTH else _wrap(f"{' ' * indent}(", names, f") = {source}")


def _only(names: list[str], used: list[str]) -> list[str]:
    """`names` as targets of an assignment, an underscore for what is not used after."""
    return [name if name in used else "_" for name in names]


def _gauss(n: int) -> str:
    """Gauss's rule of n points on [0, 1] as a Python tuple of (point, weight)."""
    points, weights = gauss_legendre(n, 17)
    pairs = [
        f"    ({float((1 + t) / 2)!r}, {float(w / 2)!r}),"
        for t, w in zip(points, weights, strict=True)
    ]
    return "\n".join([f"_GAUSS_{n} = (", *pairs, ")"])


def helpers(dialect: Dialect, body: str) -> list[str]:
    """The functions that `body` calls from the target's helpers, and those that they call."""
    environment = _environment()
    context = {
        "np": dialect.module,
        "Array": dialect.array,
        "raises": "on_tie" in dialect.options,
        "f": lambda name, argument: dialect.function(name).format(argument),
    }
    texts: dict[str, str] = {}
    for folder_name in ("shared", *dialect.templates):
        template = environment.get_template(f"{folder_name}/helpers.py.jinja")
        for name, block in template.blocks.items():
            texts[name] = "".join(block(template.new_context(context))).strip("\n") + "\n"
    wanted: set[str] = set()
    fresh = [name for name in texts if re.search(rf"\b{name}\b", body)]
    while fresh:
        name = fresh.pop()
        if name not in wanted:
            wanted.add(name)
            used = set(re.findall(r"\w+", texts[name]))
            fresh.extend(other for other in texts if other in used)
    return [texts[name] for name in texts if name in wanted]


_STANDARD = {
    "collections.abc": ("Callable",),
    "contextlib": ("AbstractContextManager", "nullcontext", "suppress"),
    "functools": ("partial",),
    "inspect": ("signature as _signature",),  # a layer may be called signature
    "typing": ("Any", "Literal", "NamedTuple", "NoReturn"),
}
"""What emitted code may take from the standard library."""


def _imports(code: str) -> list[str]:
    words = set(re.findall(r"\w+", code))
    lines = ["import math"] if "math" in words else []
    for module, names in _STANDARD.items():
        used = [name for name in names if name.split()[-1] in words]
        if used:
            lines.append(f"from {module} import {', '.join(used)}")
    return lines


@lru_cache(maxsize=1)
def _installed_digest() -> bytes:
    """A digest of every rules and template file."""
    digest = hashlib.sha256()
    for root in ("rules", "templates"):
        for name, content in sorted(_files(folder(root), "")):
            digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.digest()


def _files(root: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in root.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            found += _files(entry, name)
        elif name.endswith((".toml", ".jinja")):
            found.append((name, entry.read_bytes()))
    return found


def _digest(derivation: Derivation) -> str:
    digest = hashlib.sha256(_installed_digest())
    for part in source_texts(derivation):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]
