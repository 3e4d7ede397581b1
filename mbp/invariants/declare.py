"""Reads declarations such as "m d symmetric" into variables."""

from __future__ import annotations

import difflib
import keyword
import unicodedata
from dataclasses import dataclass

from mbp.errors import PropertyError, ShapeError
from mbp.expr import build
from mbp.expr.dims import ONE, Dim, dim, shape_text
from mbp.expr.nodes import Expr, Var
from mbp.expr.parser import FUNCTION_NAMES
from mbp.invariants.vocabulary import VOCABULARY


@dataclass(frozen=True)
class Declaration:
    """A shape and the declared properties."""

    rows: Dim
    cols: Dim
    properties: tuple[str, ...]


def read_declaration(name: str, text: str) -> Declaration:
    """The shape and properties written in `text`; `name` is for the messages.

    Raises ShapeError or PropertyError naming the variable and the faulty word.
    """
    if not isinstance(text, str):
        raise ShapeError(f"{name}: a declaration is a text such as 'm d', not {text!r}")
    words = text.split()
    if not words:
        raise ShapeError(
            f"{name}: an empty declaration; write dimensions first, such as 'm d' or 'scalar'"
        )
    properties = [word for word in words if word in VOCABULARY]
    dims = words[: len(words) - len(properties)]
    for word in words[len(dims) :]:
        if word not in VOCABULARY:
            raise PropertyError(f"{name}: dimensions come before properties, but {word!r} does not")
    if not dims:
        raise ShapeError(f"{name}: no dimensions in {text!r}; write them first, or 'scalar'")
    if dims == ["scalar"]:
        rows = cols = ONE
    elif len(dims) > 2:
        near = difflib.get_close_matches(dims[2], VOCABULARY.names, n=1)
        known = f"properties are {', '.join(VOCABULARY.names)}"
        right = f"did you mean {near[0]}?" if near else known
        raise PropertyError(
            f"{name}: {dims[2]!r} is neither a property nor one of two dimensions; {right}"
        )
    else:
        for word in dims:
            if word == "scalar":
                raise ShapeError(f"{name}: 'scalar' stands alone, without dimensions")
        try:
            rows, cols = dim(dims[0]), dim(dims[1]) if len(dims) == 2 else ONE
        except ShapeError as error:
            raise ShapeError(f"{name}: {error.message}") from None
    return Declaration(rows, cols, _checked(name, rows, cols, properties))


def _checked(name: str, rows: Dim, cols: Dim, properties: list[str]) -> tuple[str, ...]:
    if "positive" in properties and "diagonal" in VOCABULARY.closure(properties):
        # A diagonal matrix is called positive when its diagonal is: its other entries are zeros.
        properties = [*(p for p in properties if p != "positive"), "positive_definite"]
    pair = VOCABULARY.contradiction(properties)
    if pair is not None:
        raise PropertyError(f"{name}: {pair[0]} contradicts {pair[1]}")
    for prop in sorted(VOCABULARY.closure(properties)):
        if VOCABULARY[prop].square and rows != cols:
            raise PropertyError(
                f"{name}: {prop} needs a square matrix, but it is {shape_text(rows, cols)}"
            )
    _check_rank(name, rows, cols, VOCABULARY.closure(properties))
    return tuple(prop for prop in VOCABULARY.names if prop in properties)


def _check_rank(name: str, rows: Dim, cols: Dim, known: frozenset[str]) -> None:
    """Raises PropertyError for a rank that the shape rules out."""
    short = {"full_column_rank": rows - cols, "full_row_rank": cols - rows}
    for prop, excess in short.items():
        if prop in known and excess.is_negative:
            raise PropertyError(f"{name}: a {shape_text(rows, cols)} matrix cannot be {prop}")
    if {"antisymmetric", "invertible"} <= known and rows.is_odd:
        raise PropertyError(f"{name}: an antisymmetric matrix of odd size is not invertible")


def check_name(name: str) -> None:
    """Raises MbpError for a variable name that is no identifier, a keyword, reserved or taken."""
    plain = unicodedata.normalize("NFKC", name) == name  # Python reads others as another name
    taken = keyword.iskeyword(name) or keyword.issoftkeyword(name)
    if not name.isidentifier() or not plain or taken:
        raise ShapeError(f"{name!r} cannot be a name: use an identifier that is no Python keyword")
    if name in ("G", "d", "torch", "self") or name.startswith(("G_", "_")):
        raise ShapeError(f"{name!r} is reserved; choose another name")
    if name in FUNCTION_NAMES:
        raise ShapeError(f"{name!r} is a function of the grammar; choose another name")


def declare(name: str, text: str) -> Var:
    """The variable `name` with the shape and properties of `text`, such as "n n symmetric".

    Raises ShapeError or PropertyError naming the variable and what would be right.
    """
    check_name(name)
    return variable(name, text)


def variable(name: str, text: str) -> Var:
    """Like `declare`, for the letters of a rule, which may use reserved names."""
    read = read_declaration(name, text)
    return build.var(name, read.rows, read.cols, read.properties)


def declaration_text(A: Expr, properties: tuple[str, ...] = ()) -> str:
    """The declaration of a variable, or of any expression with the given properties."""
    if isinstance(A, Var):
        properties = A.properties
    dims = ["scalar"] if A.is_scalar else [str(A.rows)] if A.cols == ONE else map(str, A.shape)
    return " ".join([*dims, *properties])
