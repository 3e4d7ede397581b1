"""The conditions that a formula needs to make sense, read off its operations.

A projector has a derivative at constant rank only, an eigenvector where eigenvalues are distinct,
a loss of a free block of singular vectors where it does not see their rotation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy as sp

from mbp.derive.implicit import variation_of
from mbp.expr import build
from mbp.expr.nodes import (
    Diag,
    Expr,
    Inverse,
    Kernel,
    LogDet,
    Map,
    Number,
    Output,
    Product,
    Scale,
    Transpose,
    Var,
    col,
    row,
    topological,
)
from mbp.expr.text import text
from mbp.invariants.infer import is_
from mbp.numeric.instances import is_fixed
from mbp.referee.statement import Claim
from mbp.rulebook import RULEBOOK
from mbp.simplify import collapse


@dataclass(frozen=True)
class Needs:
    """Conditions that fail on a null set or outside the domain, and structural ones."""

    mild: tuple[str, ...]
    structural: tuple[str, ...]


def needs(claim: Claim) -> Needs:
    """What the claim needs besides its declarations, as far as its operations show."""
    letters = _Letters(claim)
    moving = {x for x in claim.setting.inputs.values() if _moves(claim, x)}
    mild: list[str] = []
    structural: list[str] = []
    for node in topological(*map(collapse, claim.differentiated)):
        if isinstance(node, Output) and _depends(node, moving):
            structural += _ranks(node, letters, moving)
            mild += _spectral(node, letters)
            if claim.target is None and variation_of(RULEBOOK.decompositions[node.rule]).gauges:
                structural += ["gauge-invariant L"] * ("full_column_rank" in _known(node))
    for node in topological(*claim.sides):
        mild += _of_operation(node, letters)
    return Needs(tuple(dict.fromkeys(mild)), tuple(dict.fromkeys(structural)))


def _moves(claim: Claim, x: Var) -> bool:
    return not is_fixed(x) and claim.wrt in (None, x.name)


def _depends(node: Expr, moving: Iterable[Var]) -> bool:
    below = set(topological(node))
    return any(x in below for x in moving)


def _known(node: Output) -> set[str]:
    return {p for p in ("full_column_rank", "diagonal") if is_(node, p)}


class _Letters:
    """The shortest names that a claim's texts have for expressions."""

    def __init__(self, claim: Claim) -> None:
        self._names: dict[Expr, str] = {}
        for name, A in claim.setting.names.items():
            if A not in self._names or len(name) < len(self._names[A]):
                self._names[A] = name

    def of(self, A: Expr) -> str:
        """The letter of A, or A written with the letters of its parts."""
        return text(A, self._names)

    def of_spectrum(self, A: Expr) -> str:
        """The letter of the diagonal of A, the small letter of A itself if it has none."""
        for v in (A if A.cols == 1 else build.diag(A), A):
            if v in self._names:
                name = self._names[v]
                return name.lower() if v is A and A.cols != 1 and len(name) == 1 else name
        node = A.args[0] if A.args and not isinstance(A, Output) else A
        return node.name.lower() if isinstance(node, Output) else self.of(node)


def _ranks(node: Output, letters: _Letters, moving: set[Var]) -> Iterator[str]:
    """`rank(A) constant` for the arguments whose rank is not full by their properties."""
    rule = RULEBOOK.decompositions[node.rule]
    for x, A in zip(rule.inputs, node.args, strict=True):
        if x.name not in rule.constant_rank:
            continue
        core = _of_equal_rank(A)
        full = is_(core, "full_column_rank") or is_(core, "full_row_rank")
        if _depends(core, moving) and not full:
            yield f"rank({letters.of(core)}) constant"


def _of_equal_rank(A: Expr) -> Expr:
    """A matrix of A's rank with fewer factors: invertible and diagonal ones at the ends dropped."""
    while True:
        match A:
            case Transpose(args=(X,)) | Scale(args=(_, X)):
                A = X
            case Product(args=(first, *rest)) if _is_scaling(first):
                A = build.matmul(*rest)
            case Product(args=(*rest, last)) if _is_scaling(last):
                A = build.matmul(*rest)
            case Product(args=(*left, middle, right)) if (
                len(left) == 1 and left[0] is build.transpose(right)
                and is_(middle, "positive_definite")
            ):
                A = right
            case Product(args=(left, right)) if left is build.transpose(right):
                A = right
            case _:
                return A


def _is_scaling(A: Expr) -> bool:
    # A diagonal of degrees has no zeros wherever the expressions that hold its roots are defined.
    return is_(A, "invertible") or isinstance(A, Diag)


def _spectral(node: Output, letters: _Letters) -> Iterator[str]:
    """distinct(s) and nonzero(s) of the decomposition, by the letters of the claim."""
    rule = RULEBOOK.decompositions[node.rule]
    spectra = {Y.name.lower(): k for k, Y in enumerate(rule.outputs)}
    for condition in variation_of(rule).conditions:
        word, _, inside = condition.rstrip(")").partition("(")
        if word == "rank":
            continue
        if inside not in spectra:
            yield condition
            continue
        spectrum = RULEBOOK.call(node.rule, *node.args)[spectra[inside]]
        # A frame as long as the spectrum divides by differences alone.
        if word != "nonzero" or node.rows != spectrum.rows:
            yield f"{word}({letters.of_spectrum(spectrum)})"


def _of_operation(node: Expr, letters: _Letters) -> Iterator[str]:
    """What an operation of the formula itself needs of its operands."""
    match node:
        case Inverse(args=(A,)) | LogDet(args=(A,)) if not is_(A, "invertible"):
            if is_(A, "diagonal"):
                yield f"nonzero({letters.of_spectrum(A)})"
            elif isinstance(A, Var | Output):
                yield f"{letters.of(A)} invertible"
        case Kernel():
            yield from _of_kernel(node, letters)
        case Map(data=("pow",), args=(A, p)):
            integer = isinstance(p, Number) and p.value.is_Integer
            if integer and isinstance(p, Number) and p.value < 0 and not is_(A, "positive"):
                yield f"nonzero({letters.of(A)})"
            elif not integer and not is_(A, "positive"):
                yield f"positive({letters.of(A)})"
        case Map(data=("log" | "sqrt" as name,), args=(A,)):
            wanted = "positive" if name == "log" else "nonnegative"
            if not is_(A, wanted) and (isinstance(A, Var) or not A.is_scalar):
                yield f"positive({letters.of(A)})"


def _of_kernel(node: Kernel, letters: _Letters) -> Iterator[str]:
    symbols = [(k, row(k), col(k)) for k, v in enumerate(node.args) if v.cols == 1]
    below = sp.denom(sp.together(node.entry))
    for k, r, c in symbols:
        if below.has(r, c) and below.subs(c, r) == 0:
            yield f"distinct({letters.of_spectrum(node.args[k])})"
    if node.diagonal is not None:
        below = below * sp.denom(sp.together(node.diagonal))
    for k, r, _ in symbols:
        if below.has(r) and below.subs(r, 0) == 0:
            yield f"nonzero({letters.of_spectrum(node.args[k])})"
