"""The frames in which the equations' coefficients are diagonal, found by type inference.

Each side of each matrix has a type (component, sign): X = R(row) · core · R(col)ᵀ with R = F or
F⁻ᵀ of its component. A frame's columns fall into labels; equal labels share one index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import sympy as sp

from mbp.decomposition import outputs_of
from mbp.derive.implicit.polynomial import Factor, Polynomial, properties, symmetry
from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import Expr, Var

Side = tuple[object, int]
"""(letter or equation number, 0 for rows or 1 for columns)."""


class FrameError(Exception):
    """This choice of frames does not make the coefficients diagonal; the message says why."""


class Label(NamedTuple):
    """A class of a frame's columns; `null` when the diagonal cores vanish there."""

    name: str
    size: Dim
    null: bool = False


@dataclass(frozen=True, eq=False)
class Hidden:
    """Columns of a frame that was introduced: of the factor `whole` when it has one label.

    Otherwise they span the range of the matrix `of`.
    """

    letter: Expr
    label: Label
    whole: Expr | None
    of: Expr


@dataclass(frozen=True, eq=False)
class Null:
    """Orthonormal columns N that complete `columns`, of which only N Nᵀ = I − Σ F Gᵀ is known."""

    rows: Dim
    columns: tuple[tuple[Columns, Columns], ...]


class Mark(NamedTuple):
    """A factor of a word of frames: an expression or a piece of a frame, perhaps transposed."""

    atom: Expr | Hidden | Null
    transposed: bool = False

    @property
    def T(self) -> Mark:
        """The transposed factor."""
        return Mark(self.atom, not self.transposed)


Columns = tuple[Mark, ...]


def transposed(word: Columns) -> Columns:
    """The word of the transposed product."""
    return tuple(mark.T for mark in reversed(word))


@dataclass
class Component:
    """A frame: per label the columns of F and of G = F⁻ᵀ; `shape` is F's pattern of zeros."""

    dim: Dim
    orthogonal: bool = False
    labels: tuple[Label, ...] = ()
    F: dict[Label, Columns] = field(default_factory=dict)
    G: dict[Label, Columns] = field(default_factory=dict)
    shape: str = ""

    @property
    def defined(self) -> bool:
        """Whether the frame has been chosen."""
        return bool(self.labels)


Core = dict[Label, sp.Expr]
"""The diagonal of a letter in its frames, label by label; labels that it lacks are zero."""


class Types:
    """Union-find with parity over the sides of letters and equations."""

    def __init__(self) -> None:
        self._parent: dict[Side, tuple[Side, int]] = {}
        self._dims: dict[Side, Dim] = {}
        self._orthogonal: set[Side] = set()

    def find(self, side: Side) -> tuple[Side, int]:
        """The representative of a side's component, and its sign relative to it."""
        parent, sign = self._parent.setdefault(side, (side, 0))
        if parent == side:
            return side, 0
        root, more = self.find(parent)
        self._parent[side] = (root, sign ^ more)
        return root, sign ^ more

    def join(self, a: Side, b: Side, opposite: bool, dim: Dim) -> None:
        """States that two sides have one frame, F and F⁻ᵀ when `opposite`."""
        (x, p), (y, q) = self.find(a), self.find(b)
        self._dims.setdefault(x, dim)
        if x == y:
            if p ^ q ^ opposite:
                self._orthogonal.add(x)
            return
        self._parent[y] = (x, p ^ q ^ opposite)
        if y in self._orthogonal:
            self._orthogonal.add(x)

    def components(self) -> dict[Side, Component]:
        """A fresh, undefined component for each representative."""
        roots = {self.find(side)[0]: None for side in list(self._parent)}
        return {root: Component(self._dims[root], root in self._orthogonal) for root in roots}


def types_of(equations: list[tuple[Polynomial, Dim, Dim]], symmetries: list[Expr]) -> Types:
    """The types that the equations and the symmetric letters force."""
    types = Types()
    for number, (p, rows, _) in enumerate(equations):
        for word in p:
            ends: list[tuple[Side, Dim]] = [((number, 0), rows)]
            for f in word:
                X = f.letter
                first, last = (X, int(f.transposed)), (X, 1 - int(f.transposed))
                _join_ends(types, ends, first, X.cols if f.transposed else X.rows)
                ends.append((last, X.rows if f.transposed else X.cols))
            side, dim = ends[-1]
            # An equation's column side equals the last letter's; for I it opposes the row side.
            types.join(side, (number, 1), opposite=not word, dim=dim)
    for X in symmetries:
        types.join((X, 0), (X, 1), opposite=False, dim=X.rows)
    return types


def _join_ends(types: Types, ends: list[tuple[Side, Dim]], side: Side, dim: Dim) -> None:
    before, _ = ends[-1]
    types.join(before, side, opposite=len(ends) > 1, dim=dim)


@dataclass
class Setting:
    """What the choice of frames needs to know about the letters.

    Of `partial` equations only the words that hold an output are given.
    """

    equations: list[tuple[Polynomial, Dim, Dim]]
    letters: list[Expr]
    outputs: frozenset[Expr]
    multipliers: list[Expr]
    constant_rank: dict[Expr, sp.Symbol]
    equal_rank: list[tuple[Expr, Expr]]
    partial: frozenset[int]
    at_least: Callable[[Dim, Dim], bool]


class Frames:
    """A complete choice of frames, with the cores that are diagonal by this choice."""

    def __init__(self, setting: Setting, types: Types, candidates: list[Expr]) -> None:
        self.setting = setting
        self.types = types
        self.components = types.components()
        self.cores: dict[Expr, Core] = {}
        self.spectra: dict[sp.Symbol, Expr] = {}
        self.positive: set[sp.Symbol] = set()
        self.nonnegative: set[sp.Symbol] = set()
        self.ranked: set[sp.Symbol] = set()
        self.flexible: set[sp.Symbol] = set()
        self.conditions: list[tuple[Expr, str]] = []
        self.uncertain: set[Expr] = set()
        self._count = 0
        self._define(candidates)

    # --- access -----------------------------------------------------------------------------

    def side(self, X: object, which: int) -> tuple[Component, int]:
        """The component and sign of a side."""
        root, sign = self.types.find((X, which))
        return self.components[root], sign

    def labels(self, X: object, which: int) -> tuple[Label, ...]:
        """The labels of a side's frame."""
        return self.side(X, which)[0].labels

    def basis(self, X: object, which: int, label: Label) -> Columns:
        """The columns of R on a side, X = R(row) · core · R(col)ᵀ."""
        component, sign = self.side(X, which)
        return component.G[label] if sign else component.F[label]

    def dual(self, X: object, which: int, label: Label) -> Columns:
        """The columns of R⁻ᵀ on a side."""
        component, sign = self.side(X, which)
        return component.F[label] if sign else component.G[label]

    def pattern(self, X: object, which: int) -> str:
        """The zeros of R on a side: identity, lower, upper or none known."""
        component, sign = self.side(X, which)
        flip = {"lower": "upper", "upper": "lower"}
        return flip.get(component.shape, component.shape) if sign else component.shape

    def same_side(self, X: object) -> bool:
        """Whether rows and columns of X have one frame and one sign."""
        (a, p), (b, q) = self.side(X, 0), self.side(X, 1)
        return a is b and (p == q or a.orthogonal)

    def entry(self, f: Factor, label: Label) -> sp.Expr | None:
        """The core's diagonal entry on a label; None when the core is not diagonal."""
        core = self.cores.get(f.letter)
        return None if core is None else core.get(label, sp.Integer(0))

    # --- choosing ---------------------------------------------------------------------------

    def _define(self, candidates: list[Expr]) -> None:
        for X in self.setting.letters:
            if "diagonal" in properties(X):
                self._diagonal(X)
        for X in self.setting.letters:
            if properties(X) & {"lower_triangular", "upper_triangular"}:
                self._triangular(X)
        self._absorb_all()
        pending = [X for X in candidates if not self._chosen(X)]
        while pending:
            X = pending.pop(0)
            if not self._chosen(X):
                self._introduce(X)
                self._absorb_all()
        self._extend_triangles()
        for component in self.components.values():
            if not component.defined:
                self._identity(component, (self._label(component.dim),))
                self._absorb_all()
                self._extend_triangles()

    def _chosen(self, X: Expr) -> bool:
        return all(self.side(X, k)[0].defined for k in (0, 1))

    def _label(self, size: Dim, null: bool = False) -> Label:
        self._count += 1
        return Label(f"{'N' if null else 'R'}{self._count}", size, null)

    def _spectrum(self, X: Expr, vector: Expr, name: str) -> sp.Symbol:
        symbol = sp.Dummy(name, real=True)
        self.spectra[symbol] = vector
        known = properties(X)
        if known & {"positive_definite", "positive"}:
            self.positive.add(symbol)
        if known & {"positive_semidefinite", "nonnegative"} or not symmetry(X):
            self.nonnegative.add(symbol)
        if X in self.setting.constant_rank or known & {"full_column_rank", "full_row_rank"}:
            self.ranked.add(symbol)
        if X in self.setting.outputs:
            self.flexible.add(symbol)
        return symbol

    def _identity(self, component: Component, labels: tuple[Label, ...]) -> None:
        component.labels = labels
        component.F = dict.fromkeys(labels, ())
        component.G = dict(component.F)
        component.shape = "identity"

    def _diagonal(self, X: Expr) -> None:
        (a, _), (b, _) = self.side(X, 0), self.side(X, 1)
        labels = a.labels or b.labels or (self._label(X.rows),)
        if (a.defined and a.shape != "identity") or (b.defined and b.shape != "identity"):
            return
        if a.defined and b.defined and a.labels != b.labels:
            raise FrameError(f"the sides of {X} have other frames than the identity")
        for component in (a, b):
            if not component.defined:
                self._identity(component, labels)
        self.cores[X] = {
            labels[0]: self._spectrum(X, build.diag(X), str(X).lower()),
        }

    def _triangular(self, X: Expr) -> None:
        a, b = (self.side(X, k)[0] for k in (0, 1))
        if a.defined or b.defined:
            return
        if a is b:
            self._identity(a, (self._label(a.dim),))
        else:
            component = a if a.orthogonal and not b.orthogonal else b
            self._identity(component, (self._label(component.dim),))

    def _extend_triangles(self) -> None:
        """Identity frames on both sides of a triangular letter share their index."""
        for X in self.setting.letters:
            if properties(X) & {"lower_triangular", "upper_triangular"}:
                a, b = (self.side(X, k)[0] for k in (0, 1))
                for known, new in ((a, b), (b, a)):
                    if known.shape == "identity" and not new.defined:
                        self._identity(new, known.labels)

    def _absorb_all(self) -> None:
        progress = True
        while progress:
            progress = False
            for X in self.setting.multipliers:
                for which in (0, 1):
                    if (
                        self.side(X, 1 - which)[0].defined
                        and not self.side(X, which)[0].defined
                        and self._absorb(X, which)
                    ):
                        progress = True

    def _absorb(self, X: Expr, which: int) -> bool:
        """Chooses the frame on side `which` so that the core of X is the identity."""
        new, sign = self.side(X, which)
        old = self.side(X, 1 - which)[0]
        M = X if which == 0 else build.transpose(X)
        known = properties(X)
        if "strictly_lower_triangular" in known:
            return False
        if new.dim != old.dim and not self.setting.at_least(new.dim, old.dim):
            return False
        square = new.dim == old.dim
        full = "invertible" if square else ("full_column_rank", "full_row_rank")[which]
        if X in self.setting.constant_rank and full not in known:
            return False
        orthonormal = "orthonormal_columns" in known and (which == 0 or square)
        if new.orthogonal and not (orthonormal and old.orthogonal):
            return False
        if not square and any(label.null for label in old.labels):
            return False
        R, dual = {}, {}
        for label in old.labels:
            R[label] = (Mark(M), *self.dual(X, 1 - which, label))
            if orthonormal:
                dual[label] = (Mark(M), *self.basis(X, 1 - which, label))
            elif square:
                dual[label] = (
                    Mark(build.inv(X), which == 0), *self.basis(X, 1 - which, label)
                )
            else:
                gram = build.inv(build.matmul(build.transpose(M), M))
                dual[label] = (Mark(M), Mark(gram), *self.basis(X, 1 - which, label))
        labels = old.labels
        if not square:
            null = self._label(sp.expand(new.dim - old.dim), null=True)
            N: Columns = (Mark(Null(new.dim, tuple((R[k], dual[k]) for k in labels))),)
            R[null] = dual[null] = N
            labels = (*labels, null)
        new.labels = labels
        new.F, new.G = (dual, R) if sign else (R, dual)
        self.cores[X] = {label: sp.Integer(1) for label in old.labels}
        if old.shape == "identity":
            new.shape = self._absorbed_shape(known, which, sign)
        if not orthonormal and full not in known and not self._implied(X):
            self.conditions.append((X, "nonzero" if X.is_scalar else full))
        return True

    def _implied(self, X: Expr) -> bool:
        """Whether a product that holds the square X has full rank by the equations."""
        for p, rows, cols in self.setting.equations:
            if len(p) != 2 or not X.is_square:
                continue
            for word, other in (tuple(p), tuple(p)[::-1]):
                if all(f.letter is not X for f in word):
                    continue
                tall, wide = (
                    all(name in properties(f.letter) for f in other if not f.transposed)
                    and not any(f.transposed for f in other)
                    for name in ("full_column_rank", "full_row_rank")
                )
                if (tall and cols == X.rows) or (wide and rows == X.rows):
                    return True
        return False

    @staticmethod
    def _absorbed_shape(known: frozenset[str], which: int, sign: int) -> str:
        for name in ("lower", "upper"):
            if f"{name}_triangular" in known:
                flipped = (which + sign) % 2 == 1
                return {"lower": "upper", "upper": "lower"}[name] if flipped else name
        return ""

    def _introduce(self, X: Expr) -> None:
        """A frame in which X is diagonal: its own eigenframe, singular frame, or X absorbed."""
        a, b = self.side(X, 0)[0], self.side(X, 1)[0]
        if a.defined or b.defined:
            return
        rank = self.setting.constant_rank.get(X)
        free = [which for which in (0, 1) if not self.side(X, which)[0].orthogonal]
        if a is b:
            if symmetry(X) <= 0:
                return
            self._frame(a, X, "eigenframe", 0, rank)
            common, vector = a.labels[0], outputs_of("eigenframe", X)[1]
        elif rank is None and free and self._absorbable(X, free[0]):
            other = self.side(X, 1 - free[0])[0]
            self._identity(other, (self._label(other.dim),))
            return
        else:
            tall = self.setting.at_least(a.dim, b.dim)
            if not (tall or self.setting.at_least(b.dim, a.dim) or rank is not None):
                raise FrameError(f"nothing says which of {a.dim} and {b.dim} is larger")
            M = X if tall or rank is not None else build.transpose(X)
            long, short = (a, b) if M is X else (b, a)
            self._frame(short, M, "singular_frames", 2, rank)
            common = short.labels[0]
            self._frame(long, M, "singular_frames", 0, rank, common)
            vector = outputs_of("singular_frames", M)[1]
        name = str(X).lower() if isinstance(X, Var) else "s"
        self.cores[X] = {common: self._spectrum(X, build.diag(vector), name)}

    def _absorbable(self, X: Expr, which: int) -> bool:
        new, old = self.side(X, which)[0], self.side(X, 1 - which)[0]
        return new.dim == old.dim or (which == 0 and self.setting.at_least(new.dim, old.dim))

    def _frame(
        self,
        component: Component,
        X: Expr,
        rule: str,
        index: int,
        rank: sp.Symbol | None,
        common: Label | None = None,
    ) -> None:
        component.orthogonal = True
        if rank is None and (common is None or common.size == component.dim):
            label = common or self._label(component.dim)
            component.labels = (label,)
            F: Columns = (Mark(Hidden(X, label, outputs_of(rule, X)[index], X)),)
            component.F = {label: F}
        else:
            label = common or self._label(rank if rank is not None else component.dim)
            null = self._label(sp.expand(component.dim - label.size), null=True)
            component.labels = (label, null)
            whole = outputs_of(rule, X)[index] if rank is None else None
            F = (Mark(Hidden(X, label, whole, X if index == 0 else build.transpose(X))),)
            component.F = {label: F, null: (Mark(Null(component.dim, ((F, F),))),)}
        component.G = dict(component.F)


def choices(multipliers: list[Expr], outputs: frozenset[Expr]) -> Iterator[list[Expr]]:
    """Orders in which letters may define frames: inputs first, then each one once in front."""
    order = sorted(multipliers, key=lambda X: X in outputs)
    yield order
    for k in range(1, len(order)):
        yield [order[k], *order[:k], *order[k + 1 :]]
