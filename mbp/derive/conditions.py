"""What must hold for a layer's variation to exist, in the vocabulary of conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sympy as sp

from mbp.derive.implicit import variation_of
from mbp.derive.variation import is_constant, letters_at
from mbp.expr import build, scalar
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    Expr,
    Frechet,
    Inverse,
    LogDet,
    Map,
    Number,
    Output,
    Product,
    Scale,
    Transpose,
    topological,
)
from mbp.invariants.infer import has, is_
from mbp.rulebook import RULEBOOK

if TYPE_CHECKING:
    from mbp.derive.implicit.conditions import Condition


@dataclass
class Conditions:
    """The conditions of expressions, and the vectors that their small letters stand for.

    A matrix is written in the letters of the layer, a spectrum by the small letter that its
    decomposition gives it: distinct(s) with s = diag(S). `taken` names are given to no spectrum.
    """

    taken: frozenset[str]
    texts: list[str] = field(default_factory=list)
    spectra: dict[str, Expr] = field(default_factory=dict)

    def read(self, given: Iterable[Expr], simplified: Iterable[Expr]) -> None:
        """Adds what outputs need, as far as no declaration implies it.

        The operations as they are `given` say where the outputs are defined; of decompositions and
        matrix functions only those count that the `simplified` outputs still hold.
        """
        for node in topological(*given):
            if not isinstance(node, Output | Frechet):
                self._add(node, _of_operation(node))
        for node in topological(*simplified):
            if isinstance(node, Output):
                self._add(node, self._of_output(node))
            elif isinstance(node, Frechet):
                self._add(node, _of_operation(node))

    def _add(self, node: Expr, texts: Iterator[str]) -> None:
        if not is_constant(node):
            self.texts += [text for text in texts if text not in self.texts]

    def _of_output(self, node: Output) -> Iterator[str]:
        rule = RULEBOOK.decompositions[node.rule]
        for x, A in zip(rule.inputs, node.args, strict=True):
            yield from (f"{A} {prop}" for prop in x.properties if not is_(A, prop))
        replacement, dims = letters_at(node, build.variation)
        for c in variation_of(rule).denominators:
            if c.larger is not None:
                above, below = (sp.sympify(n).xreplace(dims) for n in c.larger)
                if (above - below).is_nonpositive:
                    continue
            if c.of is not None:
                yield from _of_matrix(c, build.instantiate(c.of, replacement, dims))
                continue
            vectors = {s: build.instantiate(v, replacement, dims) for s, v in c.spectra}
            text = self._renamed(c.text, vectors)
            yield text if c.larger is None else f"{text} when {above} > {below}"

    def _renamed(self, text: str, vectors: Mapping[str, Expr]) -> str:
        """`text` with a letter for each spectrum that stands for no other vector."""
        symbols: dict[str, str] = {}
        for letter, vector in vectors.items():
            k = 0
            name = letter
            while name in self.taken or self.spectra.get(name, vector) is not vector:
                k += 1
                name = f"{letter}{k}"
            self.spectra[name] = vector
            symbols[letter] = name
        word, _, inside = text.removesuffix(")").partition("(")
        for letter, name in symbols.items():
            if name != letter:
                inside = name if inside == letter else inside.replace(f"{letter}[", f"{name}[")
        return f"{word}({inside})"


def _of_matrix(c: Condition, A: Expr) -> Iterator[str]:
    """A condition on a matrix, unless the properties of A imply it."""
    word = c.text.removeprefix(f"{c.of} ")
    if c.text.startswith("rank("):
        core = _of_equal_rank(A)
        if not (is_(core, "full_column_rank") or is_(core, "full_row_rank")):
            yield f"rank({core}) constant"
    elif c.text.startswith("nonzero("):
        yield f"nonzero({A})"
    elif not has(A, word):
        yield f"{A} {word}"


def _of_equal_rank(A: Expr) -> Expr:
    """A matrix of A's rank with fewer factors: what is invertible at the ends is dropped."""
    while True:
        match A:
            case Transpose(args=(X,)) | Scale(args=(_, X)):
                A = X
            case Product(args=(first, *rest)) if _is_invertible(first):
                A = build.matmul(*rest)
            case Product(args=(*rest, last)) if _is_invertible(last):
                A = build.matmul(*rest)
            case _:
                return A


def _is_invertible(A: Expr) -> bool:
    # A root or a power of entries that are nonzero wherever its own variation exists.
    if isinstance(A, Diag) and isinstance(v := A.args[0], Map) and v.name in ("sqrt", "pow"):
        return True
    return is_(A, "invertible")


def _of_operation(node: Expr) -> Iterator[str]:
    """What an operation needs of its operand where nothing declared implies it."""
    match node:
        case Inverse(args=(A,)) | LogDet(args=(A,)) | Det(args=(A,)) if not is_(A, "invertible"):
            yield f"nonzero({build.diag(A)})" if is_(A, "diagonal") else f"{A} invertible"
        case Map(data=("pow",), args=(A, Number(data=(p,)))) if p.is_Integer:
            if p < 0 and not is_(A, "positive"):
                yield f"nonzero({A})"
        case Map(data=("pow" | "sqrt" | "log",), args=(A, *_)):
            if not is_(A, "positive") and not isinstance(A, DiagVec):
                yield f"positive({A})"
        case Frechet(args=(A, *_)) if not is_(A, "positive_definite"):
            if not _is_real_below_zero(node.g):
                yield f"{A} positive_definite"


def _is_real_below_zero(g: sp.Expr) -> bool:
    try:
        below_zero = g.subs(scalar.X, -1)
    except ValueError:  # the maximum of complex numbers
        return False
    return not below_zero.has(sp.I) and below_zero.is_real is not False

