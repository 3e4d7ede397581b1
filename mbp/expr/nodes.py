"""The kinds of node: immutable, interned matrix expressions whose shapes are checked when made.

Two equal expressions are one object, so `is` compares and every pass may memoise by node.
Nodes are made through the functions of `mbp.expr.build`, which fold what is trivial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, TypeVar
from weakref import WeakValueDictionary

import sympy as sp

from mbp.errors import MbpError, ShapeError
from mbp.expr.dims import ONE, Dim, shape_text

Shape = tuple[Dim, Dim]
Data = tuple[Any, ...]


class Expr:
    """A matrix expression: its operands `args`, its static parameters `data` and its shape."""

    __slots__ = ("__weakref__", "args", "cols", "data", "rows")

    args: tuple[Expr, ...]
    data: Data
    rows: Dim
    cols: Dim

    _interned: ClassVar[WeakValueDictionary[Any, Expr]] = WeakValueDictionary()

    def __new__(cls, *args: Expr, data: Data = ()) -> Expr:
        """The one node of this kind with these operands and data."""
        key = (cls, args, data)
        node = Expr._interned.get(key)
        if node is None:
            node = object.__new__(cls)
            node.args = args
            node.data = data
            node.rows, node.cols = cls._shape_of(args, data)
            Expr._interned[key] = node
        return node

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        """The shape of a node with these operands; raises ShapeError when they do not conform."""
        raise NotImplementedError(cls.__name__)

    @property
    def shape(self) -> Shape:
        """(rows, cols) as symbolic dimensions."""
        return self.rows, self.cols

    @property
    def is_scalar(self) -> bool:
        """Whether the shape is 1×1."""
        return self.rows == ONE and self.cols == ONE

    @property
    def is_square(self) -> bool:
        """Whether rows and columns are the same symbolic dimension."""
        return bool(self.rows == self.cols)

    def __copy__(self) -> Expr:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Expr:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.data)

    def __repr__(self) -> str:
        from mbp.expr.text import text

        return text(self)

    def to_sympy(self) -> sp.Basic:
        """The same in SymPy's matrix expressions; see `mbp.expr.interchange`.

        Raises MbpError for what SymPy cannot say.
        """
        from mbp.expr.interchange import to_sympy

        return to_sympy(self)

    def _repr_latex_(self) -> str:
        from mbp.expr.latex import latex

        return f"$\\displaystyle {latex(self)}$"

    # What users of NumPy and PyTorch try; the hints are in `mbp.expr.foreign`.

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **_: Any) -> Any:
        return _foreign().ufunc(ufunc.__name__, operands)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise _foreign().refusal("NumPy", function.__name__)

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any) -> Any:
        if function.__name__ in ("add", "div", "matmul", "mul", "pow", "sub", "true_divide"):
            return NotImplemented  # the expression's own operator has its turn
        raise _foreign().refusal("PyTorch", function.__name__)

    def __getattr__(self, name: str) -> Any:
        hint = None if name.startswith("_") else _foreign().in_python(name)
        right = f"; write {hint}, with mbp's functions" if hint else ""
        raise AttributeError(f"a matrix expression has no attribute {name!r}{right}")

    def __getitem__(self, index: object) -> Any:
        raise MbpError(
            "a matrix expression has no entries or slices: multiply by a constant matrix, "
            "as in inner(x, A @ y), or take diag(A) or sum(A)"
        )

    # The operators of the expression grammar; their meaning is in `mbp.expr.build`.

    def __abs__(self) -> Expr:
        return _build().apply("abs", self)

    def __add__(self, other: object) -> Expr:
        return _build().add(self, _build().as_expr(other))

    def __radd__(self, other: object) -> Expr:
        return _build().add(_build().as_expr(other), self)

    def __sub__(self, other: object) -> Expr:
        return _build().subtract(self, _build().as_expr(other))

    def __rsub__(self, other: object) -> Expr:
        return _build().subtract(_build().as_expr(other), self)

    def __neg__(self) -> Expr:
        return _build().negate(self)

    def __matmul__(self, other: object) -> Expr:
        return _build().matmul(self, _build().as_expr(other))

    def __rmatmul__(self, other: object) -> Expr:
        return _build().matmul(_build().as_expr(other), self)

    def __mul__(self, other: object) -> Expr:
        return _build().multiply(self, _build().as_expr(other))

    def __rmul__(self, other: object) -> Expr:
        return _build().multiply(_build().as_expr(other), self)

    def __truediv__(self, other: object) -> Expr:
        return _build().divide(self, _build().as_expr(other))

    def __rtruediv__(self, other: object) -> Expr:
        return _build().divide(_build().as_expr(other), self)

    def __pow__(self, other: object) -> Expr:
        return _build().power(self, _build().as_expr(other))

    def __rpow__(self, other: object) -> Expr:
        return _build().power(_build().as_expr(other), self)

    @property
    def T(self) -> Expr:
        """The transpose."""
        return _build().transpose(self)


def _build() -> Any:
    from mbp.expr import build

    return build


def _foreign() -> Any:
    from mbp.expr import foreign

    return foreign


def _restore(cls: type[Expr], args: tuple[Expr, ...], data: Data) -> Expr:
    return cls(*args, data=data)


def mismatch(what: str, A: Expr, B: Expr, remedy: str = "") -> ShapeError:
    """The error for two operands that do not conform; names both shapes."""
    tail = f"; {remedy}" if remedy else ""
    return ShapeError(
        f"{what}: {A} is {shape_text(*A.shape)} but {B} is {shape_text(*B.shape)}{tail}"
    )


def _same_shape(what: str, args: tuple[Expr, ...]) -> Shape:
    first = args[0]
    for other in args[1:]:
        if other.shape != first.shape:
            raise mismatch(what, first, other)
    return first.shape


def _square(what: str, A: Expr) -> Shape:
    if not A.is_square:
        raise ShapeError(f"{what} needs a square matrix, but {A} is {shape_text(*A.shape)}")
    return A.shape


# --- leaves ---------------------------------------------------------------------------------


class Var(Expr):
    """A declared variable; data = (name, rows, cols, property names)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return data[1], data[2]

    @property
    def name(self) -> str:
        """The declared name."""
        return str(self.data[0])

    @property
    def properties(self) -> tuple[str, ...]:
        """The declared properties, in the order of the vocabulary."""
        return tuple(self.data[3])


class Variation(Expr):
    """The variation d(x) of a variable, or of an expression that a proof has named."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return args[0].shape


class Number(Expr):
    """A scalar constant; data = (SymPy number,)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return ONE, ONE

    @property
    def value(self) -> sp.Expr:
        """The number, exactly."""
        value: sp.Expr = self.data[0]
        return value


class DimSize(Expr):
    """A dimension as a scalar, such as tr(I) = n; data = (dimension,)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return ONE, ONE


class Eye(Expr):
    """The identity; data = (n,)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return data[0], data[0]


class Ones(Expr):
    """The matrix of ones; data = (rows, cols)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return data[0], data[1]


class Zeros(Expr):
    """The zero matrix; data = (rows, cols)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return data[0], data[1]


class Named(Expr):
    """A definition that stays whole: args = (what it stands for,), data = (name, property names).

    It prints as its name, and no product is multiplied out into it. The properties are those known
    of it besides what its definition shows.
    """

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return args[0].shape

    @property
    def name(self) -> str:
        """The name that it prints as."""
        return str(self.data[0])

    @property
    def properties(self) -> tuple[str, ...]:
        """What is known of it besides, in the order of the vocabulary."""
        return tuple(self.data[1])


# --- the algebra ----------------------------------------------------------------------------


class Sum(Expr):
    """A₁ + … + Aₙ of equal shapes."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        first = args[0]
        for other in args[1:]:
            if other.shape == first.shape:
                continue
            matrix, scalar = (first, other) if other.is_scalar else (other, first)
            remedy = ""
            if scalar.is_scalar:
                front = f"({scalar}) * " if isinstance(scalar, Sum) else f"{scalar} * "
                front = "" if str(scalar) == "1" else front
                identity = f"{front}eye({matrix.rows}) or " if matrix.is_square else ""
                sizes = matrix.rows if matrix.cols == ONE else f"{matrix.rows}, {matrix.cols}"
                remedy = f"use {identity}{front}ones({sizes})"
            raise mismatch("a sum needs equal shapes", first, other, remedy)
        return first.shape


class Product(Expr):
    """The matrix product A₁ ⋯ Aₙ."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        for left, right in pairwise(args):
            if left.cols != right.rows:
                remedy = "use * for a scalar factor" if left.is_scalar or right.is_scalar else ""
                raise mismatch("a product needs inner dimensions that agree", left, right, remedy)
        return args[0].rows, args[-1].cols


class Scale(Expr):
    """A scalar times anything: args = (c, X)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return args[1].shape


class Transpose(Expr):
    """Aᵀ."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return args[0].cols, args[0].rows


class Hadamard(Expr):
    """The elementwise product A₁ ∘ … ∘ Aₙ of equal shapes."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return _same_shape("an elementwise product needs equal shapes", args)


class Map(Expr):
    """A named scalar function of each entry; data = (name,); `pow` has a scalar exponent."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        for exponent in args[1:]:
            if not exponent.is_scalar:
                raise ShapeError(f"the exponent {exponent} is not a scalar")
        return args[0].shape

    @property
    def name(self) -> str:
        """The scalar function's name in the grammar."""
        return str(self.data[0])


class Inverse(Expr):
    """A⁻¹."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return _square("inv", args[0])


class _ScalarOf(Expr):
    __slots__ = ()
    word: ClassVar[str]

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        _square(cls.word, args[0])
        return ONE, ONE


class Det(_ScalarOf):
    """The determinant."""

    __slots__ = ()
    word = "det"


class LogDet(_ScalarOf):
    """log |det A|."""

    __slots__ = ()
    word = "logdet"


class Trace(_ScalarOf):
    """Tr A."""

    __slots__ = ()
    word = "tr"


class Inner(Expr):
    """The inner product A : B = Tr(AᵀB)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        _same_shape("inner needs equal shapes", args)
        return ONE, ONE


# --- structure ------------------------------------------------------------------------------


class Diag(Expr):
    """[v], the diagonal matrix of a column."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return args[0].rows, args[0].rows


class DiagVec(Expr):
    """diag(A), the diagonal of a square matrix as a column."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return _square("diag", args[0])[0], ONE


class Part(Expr):
    """A self-adjoint projection onto a pattern of entries; data = (kind,).

    Kinds: sym, skew, diag, lower, strictly_lower, upper, strictly_upper.
    """

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        if data[0] in ("sym", "skew"):
            return _square(data[0], args[0])
        return args[0].shape

    @property
    def kind(self) -> str:
        """The pattern's name."""
        return str(self.data[0])


class Stack(Expr):
    """Blocks side by side (axis 1, hstack) or on top of each other (axis 0, vstack)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        axis = data[0]
        first = args[0]
        for other in args[1:]:
            if other.shape[1 - axis] != first.shape[1 - axis]:
                what = "hstack needs equal rows" if axis == 1 else "vstack needs equal columns"
                raise mismatch(what, first, other)
        total = sp.Add(*(A.shape[axis] for A in args))
        return (first.rows, total) if axis == 1 else (total, first.cols)


class Kron(Expr):
    """A ⊗ B."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        A, B = args
        return sp.expand(A.rows * B.rows), sp.expand(A.cols * B.cols)


def _quotient(G: Expr, whole: Dim, part: Dim) -> Dim:
    ratio = sp.cancel(whole / part)
    if not ratio.is_polynomial():
        raise ShapeError(f"{G}'s dimension {whole} is not a multiple of {part}")
    return sp.expand(ratio)


class KronLeft(Expr):
    """The adjoint of A ↦ A ⊗ B at G: entries Σ G[block] : B; args = (G, B)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        G, B = args
        return _quotient(G, G.rows, B.rows), _quotient(G, G.cols, B.cols)


class KronRight(Expr):
    """The adjoint of B ↦ A ⊗ B at G: Σ A[i, j] G[block i, j]; args = (A, G)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        A, G = args
        return _quotient(G, G.rows, A.rows), _quotient(G, G.cols, A.cols)


class Vec(Expr):
    """The columns of A on top of each other."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return sp.expand(args[0].rows * args[0].cols), ONE


class Unvec(Expr):
    """The matrix whose vec is a given column; data = (rows, cols)."""

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        x = args[0]
        if x.cols != ONE or x.rows != sp.expand(data[0] * data[1]):
            raise ShapeError(
                f"unvec to {shape_text(data[0], data[1])} needs a column of {data[0]}*{data[1]} "
                f"entries, but {x} is {shape_text(*x.shape)}"
            )
        return data[0], data[1]


# --- functions of a spectrum and of defining equations ----------------------------------------


class Frechet(Expr):
    """A matrix function and its divided-difference derivatives in the eigenframe of A.

    data = (g, p, q): g is a SymPy expression in x and the scalar parameters c0, c1, …; p the
    order; q the number of parameters. args = (A, parameters…, X₁, …, X_p), A symmetric n×n,
    X_k n×n. With A = U [λ] Uᵀ and Y_k = Uᵀ X_k U the value is U Z Uᵀ,
    Z_ij = Σ g[λ_i, λ_k₁, …, λ_j] (Y₁)_{i k₁} ⋯ (Y_p)_{k_{p-1} j}; p = 0 is g(A) itself
    (Higham, Functions of Matrices, ch. 3; Daleckii and Krein).
    """

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        A = args[0]
        shape = _square("a matrix function", A)
        _same_shape(
            "the directions of a matrix function's derivative need its argument's shape",
            (A, *args[1 + data[2] :]),
        )
        return shape

    @property
    def g(self) -> sp.Expr:
        """The scalar function, in x and c0, c1, …"""
        g: sp.Expr = self.data[0]
        return g

    @property
    def order(self) -> int:
        """p, the number of directions."""
        return int(self.data[1])

    @property
    def parameters(self) -> tuple[Expr, ...]:
        """The scalar arguments that stand for c0, c1, …"""
        return self.args[1 : 1 + self.data[2]]

    @property
    def directions(self) -> tuple[Expr, ...]:
        """X₁, …, X_p."""
        return self.args[1 + self.data[2] :]


class Output(Expr):
    """One output of an implicitly defined map.

    data = (rule name, index, output name, rows, cols, property names, number of outputs);
    args = the inputs.
    """

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return data[3], data[4]

    @property
    def rule(self) -> str:
        """The decomposition's name."""
        return str(self.data[0])

    @property
    def index(self) -> int:
        """Which output."""
        return int(self.data[1])

    @property
    def name(self) -> str:
        """The output's letter in the rules file."""
        return str(self.data[2])

    @property
    def properties(self) -> tuple[str, ...]:
        """The output's declared properties."""
        return tuple(self.data[5])


class Kernel(Expr):
    """The matrix with entries k(i, j); data = (entry, diagonal or None, rows, cols).

    `entry` is a SymPy expression in `row(k)` and `col(k)`, the i-th and j-th entries of the k-th
    operand when it is a column, `row(k)` alone when it is a scalar, `both(k)` for entry (i, j) of
    a matrix operand, and the indices `I`, `J`; `diagonal` replaces it at i = j.
    """

    __slots__ = ()

    @classmethod
    def _shape_of(cls, args: tuple[Expr, ...], data: Data) -> Shape:
        return data[2], data[3]

    @property
    def entry(self) -> sp.Expr:
        """k(i, j)."""
        entry: sp.Expr = self.data[0]
        return entry

    @property
    def diagonal(self) -> sp.Expr | None:
        """k(i, i) where it is not the entry's own value."""
        diagonal: sp.Expr | None = self.data[1]
        return diagonal


I = sp.Symbol("i", integer=True)
J = sp.Symbol("j", integer=True)


def row(k: int) -> sp.Symbol:
    """The kernel symbol for entry i of operand k."""
    return sp.Symbol(f"r{k}", real=True)


def col(k: int) -> sp.Symbol:
    """The kernel symbol for entry j of operand k."""
    return sp.Symbol(f"c{k}", real=True)


def both(k: int) -> sp.Symbol:
    """The kernel symbol for entry (i, j) of a matrix operand k."""
    return sp.Symbol(f"e{k}", real=True)


# --- walking the graph --------------------------------------------------------------------------

T = TypeVar("T")


def topological(*roots: Expr) -> Iterator[Expr]:
    """Every node below `roots` once, operands before the nodes that use them."""
    seen: set[Expr] = set()
    for root in roots:
        stack: list[tuple[Expr, bool]] = [(root, False)]
        while stack:
            node, expanded = stack.pop()
            if node in seen:
                continue
            if expanded:
                seen.add(node)
                yield node
            else:
                stack.append((node, True))
                stack.extend((arg, False) for arg in reversed(node.args) if arg not in seen)


def fold(root: Expr, value_of: Callable[[Expr, tuple[T, ...]], T]) -> T:
    """Bottom-up evaluation: `value_of(node, values of its operands)`, each node once."""
    values: dict[Expr, T] = {}
    for node in topological(root):
        values[node] = value_of(node, tuple(values[arg] for arg in node.args))
    return values[root]


def variables(*roots: Expr) -> tuple[Var, ...]:
    """The variables of `roots` in order of first occurrence."""
    return tuple(node for node in topological(*roots) if isinstance(node, Var))
