"""The values of a program: what one machine operation computes from other values, interned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mbp.expr.dims import ONE, Dim


class Form(Enum):
    """How a value is stored.

    MATRIX is rows×cols; DIAGONAL is the column of a diagonal matrix's diagonal; NUMBER is a
    number of the host language; CALL is a tuple that items are taken from; RAW is a tensor in
    the caller's own shape (a vector for a column, no matrix dimensions for a scalar); INVERSE is
    an inverse that is applied by solving and never formed; LOW_RANK_INVERSE is one of a diagonal
    plus a low rank, applied through the rank; COMPLEMENT is I − Π, applied to X as X − ΠX; PINV is
    a generalised inverse that is applied by solving least squares, to what stands right of it;
    KRONECKER is A ⊗ B, applied factor by factor.
    """

    MATRIX = "matrix"
    DIAGONAL = "diagonal"
    NUMBER = "number"
    CALL = "call"
    RAW = "raw"
    INVERSE = "inverse"
    LOW_RANK_INVERSE = "low_rank_inverse"
    COMPLEMENT = "complement"
    PINV = "pinv"
    KRONECKER = "kronecker"


APPLIED_SQUARE = (Form.INVERSE, Form.LOW_RANK_INVERSE, Form.COMPLEMENT)
"""The forms of a square matrix that is applied, not formed."""

APPLIED = (*APPLIED_SQUARE, Form.KRONECKER)
"""The forms of what is applied wherever it stands in a product."""


@dataclass(frozen=True, eq=False)
class Value:
    """`op` applied to `args` with static `data`; rows×cols is the matrix that it stands for.

    `serial` counts the values of a graph in the order of their making.
    """

    op: str
    args: tuple[Value, ...]
    data: tuple[Any, ...]
    rows: Dim
    cols: Dim
    form: Form
    serial: int

    @property
    def shape(self) -> tuple[Dim, Dim]:
        """Rows and columns of the matrix that it stands for."""
        return self.rows, self.cols

    @property
    def is_scalar(self) -> bool:
        """Whether it stands for a 1×1 matrix."""
        return self.rows == ONE and self.cols == ONE

    @property
    def is_with_transpose(self) -> bool:
        """Whether it is A + Aᵀ."""
        if self.op != "add" or len(self.args) != 2:
            return False
        return any(
            B.op == "transpose" and B.args[0] is A for A, B in (self.args, self.args[::-1])
        )

    def __repr__(self) -> str:
        return f"{self.op}{self.data or ''}({', '.join(arg.op for arg in self.args)})"


Word = tuple[Value, ...]
"""The factors of a product."""


def topological(roots: Iterable[Value], known: frozenset[Value] = frozenset()) -> Iterator[Value]:
    """Every value below `roots` once, operands first; what is `known` is not entered."""
    seen: set[Value] = set(known)
    stack: list[tuple[Value, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        value, expanded = stack.pop()
        if value in seen:
            continue
        if expanded:
            seen.add(value)
            yield value
        else:
            stack.append((value, True))
            stack.extend((arg, False) for arg in reversed(value.args) if arg not in seen)


def shared(programs: Iterable[Iterable[Value]]) -> frozenset[Value]:
    """What some program, given by its results, uses more than once."""
    found: set[Value] = set()
    for results in map(tuple, programs):
        uses = Counter(results)
        for v in topological(results):
            uses.update(set(v.args))
        found |= {v for v, n in uses.items() if n > 1}
    return frozenset(found)
