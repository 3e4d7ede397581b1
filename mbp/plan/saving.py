"""What is kept of the forward pass: what other passes need and do not get again for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mbp.plan.values.value import Form, Value

_VIEWS = (
    "transpose", "reshape", "as_column", "as_diagonal", "column", "ones", "zeros", "eye", "number",
    "size",
)  # fmt: skip


def saved_values(roots: Iterable[Value], forward: frozenset[Value]) -> tuple[Value, ...]:
    """The values of the forward pass that `roots` need directly, views and constants aside."""
    saved: dict[Value, None] = {}
    seen: set[Value] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        free = value.op in _VIEWS or value.form in (Form.CALL, Form.NUMBER) or _is_read(value)
        if value in forward and not free:
            saved[value] = None
        else:
            stack.extend(reversed(value.args))
    return _without_recomputed(saved)


_CHEAP = ("scale_rows", "scale_cols", "scale", "power", "multiply", "spread", "nonnegative")


def _without_recomputed(saved: Mapping[Value, None]) -> tuple[Value, ...]:
    """`saved` without what a pass over other saved values and inputs gives again."""
    kept = dict(saved)
    for value in sorted(saved, key=lambda v: -v.serial):
        if value.op in _CHEAP and all(_is_at_hand(arg, kept) for arg in value.args):
            del kept[value]
    return tuple(kept)


def _is_at_hand(value: Value, kept: Mapping[Value, None]) -> bool:
    if value in kept or value.op == "input" or value.form is Form.NUMBER or _is_read(value):
        return True
    return value.op in _VIEWS + _CHEAP and all(_is_at_hand(arg, kept) for arg in value.args)


def _is_read(value: Value) -> bool:
    """Whether the value is a part of an input, cheaper to take again than to keep."""
    return value.op == "part" and value.args[0].op == "input"
