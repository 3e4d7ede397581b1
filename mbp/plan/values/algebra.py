"""The algebra of values: interns them, folds what is free, keeps diagonals and scalars apart."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Mapping

import sympy as sp

from mbp.expr.dims import ONE, Dim
from mbp.plan.values.value import APPLIED, Form, Value, Word

_OTHER = {"sym": "skew", "skew": "sym"}


class Algebra(ABC):
    """Values, each made once, and the algebra of them; `sizes` are dimensions to judge costs at.

    Without `has_lu` a general system is solved as a whole, no factorization of it kept.
    """

    def __init__(self, sizes: Mapping[sp.Symbol, int], has_lu: bool) -> None:
        self.has_lu = has_lu
        self._by_lu: set[Value] = set()
        self._sizes = dict(sizes)
        self._interned: dict[tuple[Hashable, ...], Value] = {}
        self._transposed: dict[Value, Value] = {}
        self._sums: dict[tuple[Hashable, ...], tuple[sp.Expr, Value]] = {}
        self._known_sizes: dict[Dim, int] = {}
        self.parity: dict[Value, int] = {}
        """1 for the kernels that are symmetric, −1 for those that are antisymmetric."""
        self.symmetric: set[Value] = set()
        """The values that are their own transposes, besides those whose operation says so."""

    @abstractmethod
    def product(self, word: Word) -> Value:
        """The matrix product of `word`."""

    @abstractmethod
    def known(self, word: Word) -> Value | None:
        """The product of `word`, if it exists already."""

    @abstractmethod
    def diagonal_of_product(self, word: Word) -> Value:
        """The diagonal of the product of `word` as a column."""

    def make(
        self,
        op: str,
        *args: Value,
        data: tuple[Hashable, ...] = (),
        shape: tuple[Dim, Dim],
        form: Form = Form.MATRIX,
    ) -> Value:
        """The one value of this description."""
        key = (op, args, data, shape, form)
        if key not in self._interned:
            serial = len(self._interned)
            self._interned[key] = Value(op, args, data, shape[0], shape[1], form, serial)
        return self._interned[key]

    def rebuilt(self, v: Value, args: Word) -> Value:
        """The same operation on other operands."""
        if args == v.args:
            return v
        return self.make(v.op, *args, data=v.data, shape=v.shape, form=v.form)

    def size(self, n: Dim) -> int:
        """The representative size of a dimension."""
        if n not in self._known_sizes:
            value = n.xreplace({s: sp.Integer(k) for s, k in self._sizes.items()})
            self._known_sizes[n] = max(1, int(value))
        return self._known_sizes[n]

    def suppose(self, n: sp.Symbol, size: int) -> None:
        """Gives a dimension that is known at run time only its representative size."""
        self._sizes.setdefault(n, size)

    # --- numbers and forms ----------------------------------------------------------------

    def number(self, value: sp.Expr) -> Value:
        """A number of the host language."""
        return self.make("number", data=(sp.sympify(value),), shape=(ONE, ONE), form=Form.NUMBER)

    def is_number(self, v: Value, value: int) -> bool:
        """Whether v is this literal number."""
        return v.op == "number" and v.data[0] == value

    def eye(self, n: Dim) -> Value:
        """The identity, as the column of its diagonal: ones."""
        return self.make("ones", shape=(n, n), form=Form.DIAGONAL)

    def column(self, v: Value) -> Value:
        """The column of a diagonal value's diagonal."""
        if v.form is not Form.DIAGONAL:
            return self.diagonal_of(v)
        if v.op == "as_diagonal":
            return v.args[0]
        if v.op == "ones":
            return self.make("ones", shape=(v.rows, ONE))
        if v.op == "scale":
            return self.scale(v.args[0], self.column(v.args[1]))
        return self.make("as_column", v, shape=(v.rows, ONE))

    def diagonal(self, column: Value) -> Value:
        """The diagonal matrix of a column, stored as it is."""
        if column.op == "as_column":
            return column.args[0]
        n = column.rows
        if column.op == "ones":
            return self.eye(n)
        return self.make("as_diagonal", column, shape=(n, n), form=Form.DIAGONAL)

    def dense(self, v: Value) -> Value:
        """v as a full matrix, whatever its form."""
        if v.form is Form.DIAGONAL:
            if v.op == "ones":
                return self.make("eye", shape=v.shape)
            if v.op == "scale":
                return self.scale(v.args[0], self.dense(v.args[1]))
            return self.make("embed", v, shape=v.shape)
        if v.form is Form.INVERSE:
            return self._formed_inverse(v)
        if v.form is Form.LOW_RANK_INVERSE:
            diagonal, correction = by_rank(v)
            return self.add(diagonal, self.negate(self.product(correction)))
        if v.form is Form.KRONECKER:
            return self.make("kron", *map(self.dense, v.args), shape=v.shape)
        if v.form is Form.COMPLEMENT:
            return self.add(self.eye(v.rows), self.negate(self.product(v.args)))
        return v

    def _formed_inverse(self, v: Value) -> Value:
        """The matrix of an inverse that was to be applied."""
        A, (how, transposed) = v.args[0], v.data
        if how == "definite":
            inverse = self.make("cholesky_inverse", self.cholesky(A), shape=v.shape)
            self.symmetric.add(inverse)
            return inverse
        if how in ("lower", "upper"):
            eye = self.make("eye", shape=v.shape)
            return self.make("triangular_solve", A, eye, data=v.data, shape=v.shape)
        if A in self._by_lu:
            return self.solve_by_lu(A, self.make("eye", shape=v.shape), transposed)
        inverse = self.make("inverse", A, shape=v.shape)
        return self.transpose(inverse) if transposed else inverse

    def _as_diagonal(self, v: Value) -> Value:
        """v, a diagonal that was formed as its column again."""
        if v.op == "scale":
            return self.scale(v.args[0], self._as_diagonal(v.args[1]))
        if v.op == "eye":
            return self.eye(v.rows)
        return v.args[0] if v.op == "embed" else v

    def block(self, v: Value) -> Value:
        """v as a full matrix, a number of the host language as a 1×1 one."""
        if v.form is not Form.NUMBER:
            return self.dense(v)
        if self.is_number(v, 0):
            return self.make("zeros", shape=(ONE, ONE))
        return self.scale(v, self.make("ones", shape=(ONE, ONE)))

    def diagonal_of(self, v: Value) -> Value:
        """The diagonal of a square matrix as a column."""
        v = self._as_diagonal(v)
        if v.form is Form.DIAGONAL:
            return self.column(v)
        if v.op == "zeros":
            return self.make("zeros", shape=(v.rows, ONE))
        if v.op == "scale":
            return self.scale(v.args[0], self.diagonal_of(v.args[1]))
        if v.form is Form.LOW_RANK_INVERSE:
            diagonal, correction = by_rank(v)
            less = self.negate(self.diagonal_of_product(correction))
            return self.add(self.column(diagonal), less)
        if v.form is Form.KRONECKER:
            a, b = map(self.diagonal_of, v.args)
            return self.reshape(self.product((a, self.transpose(b))), v.rows, ONE)
        if v.form is Form.COMPLEMENT:
            less = self.negate(self.diagonal_of_product(v.args))
            return self.add(self.column(self.eye(v.rows)), less)
        if v.op == "matmul":
            left, right = v.args
            return self.row_sum(self.hadamard(left, self.transpose(right)))
        return self.make("diagonal", self.dense(v), shape=(v.rows, ONE))

    # --- the algebra ----------------------------------------------------------------------

    def transpose(self, v: Value) -> Value:
        """Aᵀ."""
        if v not in self._transposed:
            self._transposed[v] = self._transpose(v)
        return self._transposed[v]

    def _transpose(self, v: Value) -> Value:
        if v.form in (Form.DIAGONAL, Form.NUMBER) or v.is_scalar or v in self.symmetric:
            return v
        if v.op == "transpose":
            return v.args[0]
        if v.op in ("eye", "embed"):
            return v
        if v.op == "scale":
            return self.scale(v.args[0], self.transpose(v.args[1]))
        if v.form is Form.LOW_RANK_INVERSE:
            diagonal, *low_rank = v.args
            args = (diagonal, *self.mirrored(tuple(low_rank)))
            return self.make(v.op, *args, shape=v.shape, form=v.form)
        if v.form is Form.KRONECKER:
            return self.kron(*map(self.transpose, v.args))
        if v.op == "reshape" and ONE in v.shape:
            return self.reshape(v.args[0], v.cols, v.rows)
        if v.form is Form.COMPLEMENT or (v.form is Form.INVERSE and v.data[0] == "definite"):
            return v
        if v.form in (Form.INVERSE, Form.PINV):
            data = (*v.data[:-1], not v.data[-1])
            return self.make(v.op, *v.args, data=data, shape=(v.cols, v.rows), form=v.form)
        if v.op == "ones":
            return self.make("ones", shape=(v.cols, v.rows))
        if v.op == "scale_rows" and v.args[1].op == "transpose":
            return self.make(
                "scale_cols", self.transpose(v.args[1]), v.args[0], shape=(v.cols, v.rows)
            )
        if v.op == "scale_cols" and v.args[0].op == "transpose":
            return self.make(
                "scale_rows", v.args[1], self.transpose(v.args[0]), shape=(v.cols, v.rows)
            )
        if v.op == "part" and v.data[0] == "sym":
            return v
        if v.is_with_transpose:
            return v
        if v.op == "over_gaps" and v.data[0] != 0:
            args = (self.transpose(v.args[0]), *v.args[1:])
            turned = self.make("over_gaps", *args, data=v.data, shape=(v.cols, v.rows))
            return self.scale(self.number(sp.Integer(v.data[0])), turned)
        return self.make("transpose", v, shape=(v.cols, v.rows))

    def mirrored(self, word: Word) -> Word:
        """The word of the transposed product."""
        return tuple(self.transpose(factor) for factor in reversed(word))

    def kron(self, A: Value, B: Value) -> Value:
        """A ⊗ B, to be applied factor by factor; stays diagonal when both are."""
        shape = sp.expand(A.rows * B.rows), sp.expand(A.cols * B.cols)
        K = self.make("kron_of", A, B, shape=shape, form=Form.KRONECKER)
        if A.form is B.form is Form.DIAGONAL:
            return self.diagonal(self.diagonal_of(K))
        return K

    def reshape(self, v: Value, rows: Dim, cols: Dim) -> Value:
        """The entries of v, row by row, as those of a rows×cols matrix."""
        if v.op == "reshape" or (v.op == "transpose" and ONE in v.shape):
            v = v.args[0]
        if v.shape == (rows, cols):
            return v
        if v.shape == (cols, rows) and ONE in v.shape:
            return self.transpose(v)
        if v.op == "scale":
            return self.scale(v.args[0], self.reshape(v.args[1], rows, cols))
        if v.op in ("ones", "zeros") and v.form is Form.MATRIX:
            return self.make(v.op, shape=(rows, cols))
        return self.make("reshape", self.dense(v), shape=(rows, cols))

    def with_rows(self, v: Value, rows: Dim) -> Value:
        """The entries of v, row by row, in so many rows."""
        return self.reshape(v, rows, sp.cancel(v.rows * v.cols / rows))

    def with_cols(self, v: Value, cols: Dim) -> Value:
        """The entries of v, row by row, in rows of so many."""
        return self.reshape(v, sp.cancel(v.rows * v.cols / cols), cols)

    def negate(self, v: Value) -> Value:
        """−A."""
        return self.scale(self.number(sp.Integer(-1)), v)

    def scale(self, c: Value, v: Value) -> Value:
        """The scalar c times v; numbers are gathered in front."""
        if v.op == "scale":
            c, v = self.scale(c, v.args[0]), v.args[1]
        if v.is_scalar and v.form is Form.NUMBER and c.form is not Form.NUMBER:
            c, v = v, c
        if c.op == "number" and v.op == "number":
            return self.number(c.data[0] * v.data[0])
        if self.is_number(c, 1):
            return v
        if v.is_scalar and self.is_number(v, 1):
            return c
        if c.op == "scale" and c.args[0].op == "number" and v.op == "number":
            return self.scale(self.number(c.args[0].data[0] * v.data[0]), c.args[1])
        form = Form.NUMBER if c.form is v.form is Form.NUMBER else v.form
        if v.form is Form.NUMBER:
            form = c.form
        if form in APPLIED:
            v, form = self.dense(v), Form.MATRIX
        return self.make("scale", c, v, shape=v.shape, form=form)

    def add(self, *terms: Value) -> Value:
        """A₁ + … + Aₙ; stays diagonal when every term is."""
        if len(terms) == 1:
            return terms[0]
        shape = _common_shape(terms)
        terms = tuple(term for term in terms if term.op != "zeros") or terms[:1]
        if len(set(terms)) < len(terms):
            counts = Counter(terms)
            terms = tuple(self.scale(self.number(sp.Integer(n)), v) for v, n in counts.items())
        if len(terms) == 1:
            return terms[0]
        terms = tuple(map(self._as_diagonal, terms))
        if shape == (ONE, ONE):
            numeric = all(term.form is Form.NUMBER for term in terms)
            form = Form.NUMBER if numeric else Form.MATRIX
            return self.make("add", *terms, shape=shape, form=form)
        if all(term.form is Form.DIAGONAL for term in terms):
            shifts = [self._repeated(term) for term in terms]
            if all(shift is not None for shift in shifts):
                shifts[0] = None
            terms = tuple(shift or term for shift, term in zip(shifts, terms, strict=True))
            return self.make("add", *terms, shape=shape, form=Form.DIAGONAL)
        full = [self.dense(term) for term in terms]
        repeated = [self._repeated(term) for term in full]
        if all(short is not None for short in repeated):
            repeated[0] = None
        broadcast = [short or term for short, term in zip(repeated, full, strict=True)]
        ratio, total = self._sum_at_hand(self.make("add", *broadcast, shape=shape))
        return self.scale(self.number(ratio), total)

    def _sum_at_hand(self, total: Value) -> tuple[sp.Expr, Value]:
        """c and the first sum made that the given one is c times."""
        parts = [numbered(term) for term in total.args]
        lead, _ = min(parts, key=lambda part: part[1].serial)
        key = frozenset((c / lead, A) for c, A in parts), total.shape
        first_lead, first = self._sums.setdefault(key, (lead, total))
        return lead / first_lead, first

    def _repeated(self, v: Value) -> Value | None:
        """What repeats along the rows or columns of v, which a sum broadcasts by itself."""
        if v.op == "scale":
            inner = self._repeated(v.args[1])
            return None if inner is None else self.scale(v.args[0], inner)
        if v.op == "ones":
            return self.number(sp.Integer(1))
        if v.op == "outer":
            if v.args[0].op == "ones":
                return v.args[1]
            if v.args[1].op == "ones":
                return v.args[0]
        return None

    def hadamard(self, *factors: Value) -> Value:
        """A₁ ∘ … ∘ Aₙ of equal shapes; diagonal as soon as one of them is."""
        factors = tuple(map(self._as_diagonal, factors))
        if any(A.form is Form.DIAGONAL for A in factors):
            columns = [self.column(A) for A in factors if A.op != "ones"]
            if not columns:
                return self.eye(factors[0].rows)
            return self.diagonal(self.hadamard(*columns))
        kernels = [A for A in factors if A.op == "gap_kernel"]
        if kernels and len(factors) > 1:
            rest = [A for A in factors if A.op != "gap_kernel"] or kernels[:1]
            quotient = self.hadamard(*rest)
            front, M = quotient.args if quotient.op == "scale" else (None, quotient)
            for kernel in kernels[len(kernels) + len(rest) - len(factors) :]:
                M = self._over_gaps(kernel, M)
            return M if front is None else self.scale(front, M)
        kept = [self.dense(A) for A in factors if A.op != "ones"]
        if len(kept) <= 1:
            return kept[0] if kept else factors[0]
        c = self.number(sp.Integer(1))
        bare = []
        for A in kept:
            if A.op == "scale":
                c, A = self.scale(c, A.args[0]), A.args[1]
            if A.op != "ones":
                bare.append(A)
        if not bare:
            return self.scale(c, self.make("ones", shape=kept[0].shape))
        total = next((A for A in bare if A.op == "add" and A.cols == ONE), None)
        rest = [A for A in bare if A is not total]
        once = len(rest) == len(bare) - 1
        if total is not None and once and all(A.op == "power" for A in rest):  # like terms meet
            return self.scale(c, self.add(*(self.hadamard(*rest, term) for term in total.args)))
        bare = self._with_powers_merged(bare)
        if len(bare) == 1:
            return self.scale(c, bare[0])
        bare.sort(key=lambda A: A.serial)
        return self.scale(c, self.make("multiply", *bare, shape=kept[0].shape))

    def _with_powers_merged(self, factors: list[Value]) -> list[Value]:
        """The factors of a column, powers of one base as one power."""
        if factors[0].cols != ONE:
            return factors
        flat = [A for F in factors for A in (F.args if F.op == "multiply" else (F,))]
        powers: dict[Value, sp.Expr] = {}
        for A in flat:
            is_power = A.op == "power" and A.args[1].op == "number"
            base, p = (A.args[0], A.args[1].data[0]) if is_power else (A, sp.Integer(1))
            powers[base] = powers.get(base, sp.Integer(0)) + p
        if len(powers) == len(flat):
            return factors
        merged = [self.power(base, self.number(p)) for base, p in powers.items() if p != 0]
        return merged or [self.make("ones", shape=factors[0].shape)]

    def part(self, kind: str, v: Value) -> Value:
        """A projection onto a pattern of entries, such as the symmetric part."""
        if v.op == "scale":
            return self.scale(v.args[0], self.part(kind, v.args[1]))
        if v.form is Form.DIAGONAL and kind in ("sym", "lower", "upper", "diag"):
            return v
        if kind == "diag":
            return self.diagonal(self.diagonal_of(v))
        if kind in ("sym", "skew") and v.op == "add" and any(map(self._has_kernel, v.args)):
            return self.add(*(self.part(kind, term) for term in v.args))
        if kind in ("sym", "skew") and v.op == "embed":
            return v if kind == "sym" else self.make("zeros", shape=v.shape)
        if kind in ("sym", "skew") and v.op == "over_gaps" and v.data[0] != 0:
            inner = kind if v.data[0] > 0 else _OTHER[kind]
            args = (self.part(inner, v.args[0]), *v.args[1:])
            return self.make("over_gaps", *args, data=v.data, shape=v.shape)
        if kind in ("sym", "skew") and v.op == "multiply":
            # K ∘ M with a symmetric kernel: the part is taken before K multiplies (or divides).
            kernels = [A for A in v.args if A in self.parity]
            others = [A for A in v.args if A not in self.parity]
            if kernels and others:
                odd = math.prod(self.parity[A] for A in kernels) < 0
                inner = _OTHER[kind] if odd else kind
                return self.hadamard(*kernels, self.part(inner, self.hadamard(*others)))
        return self.make("part", self.dense(v), data=(kind,), shape=v.shape)

    def _has_kernel(self, v: Value) -> bool:
        bare = v.args[1] if v.op == "scale" else v
        return (bare.op == "over_gaps" and bare.data[0] != 0) or (
            bare.op == "multiply" and any(A in self.parity for A in bare.args)
        )

    def gap_kernel(self, gaps: Value, difference: Value, reach: Value) -> Value:
        """The matrix 1/gaps with a zero diagonal; applied, it becomes `over_gaps`.

        `difference` is the factor of the gaps that vanishes at a tie, `reach` the size of what
        it is the difference of.
        """
        return self.make("gap_kernel", gaps, difference, reach, shape=gaps.shape)

    def _over_gaps(self, kernel: Value, M: Value) -> Value:
        data = (self.parity.get(kernel, 0),)
        return self.make(
            "over_gaps", M, *kernel.args, self.magnitude(M), data=data, shape=M.shape
        )

    def beside(self, quotient: Value, diagonal: Value) -> Value:
        """A quotient over gaps that stands beside a diagonal in one frame."""
        args = (*quotient.args[:5], self.column(diagonal))
        return self.make("over_gaps", *args, data=quotient.data, shape=quotient.shape)

    def magnitude(self, v: Value) -> Value:
        """The size of the entries that v is computed from, before anything in it cancels."""
        one = self.number(sp.Integer(1))
        match v.op:
            case "part":
                return self.magnitude(v.args[0])
            case "add":
                return self.add(*(self.magnitude(arg) for arg in v.args))
            case "scale":
                c, X = v.args
                size = self.number(abs(c.data[0])) if c.op == "number" else self.absolute(c)
                return self.scale(size, self.magnitude(X))
            case "scale_rows" | "scale_cols" | "multiply":
                whole = one
                for arg in v.args:
                    whole = self.scale(self.magnitude(arg), whole)
                return whole
            case "transpose" | "as_column" | "as_diagonal":
                return self.magnitude(v.args[0])
        if v.is_scalar:
            return self.absolute(v)
        return self.make("largest", v, shape=(ONE, ONE))

    def absolute(self, v: Value) -> Value:
        """|v| entrywise."""
        return self.map("abs", v)

    def map(self, name: str, v: Value) -> Value:
        """The scalar function of this name of each entry of v, which is no diagonal."""
        return self.make("map", v, data=(name,), shape=v.shape)

    def entrywise(
        self, g: sp.Expr, symbols: Mapping[sp.Symbol, Value], shape: tuple[Dim, Dim]
    ) -> Value:
        """The SymPy expression g of values that broadcast to `shape`."""
        used = [s for s in symbols if g.has(s)]
        names = {s: sp.Symbol(f"_{k}", real=True) for k, s in enumerate(used)}
        operands = [symbols[s] for s in used]
        data = (g.xreplace(names), tuple(names.values()))
        return self.make("entrywise", *operands, data=data, shape=shape)

    def row_sum(self, v: Value) -> Value:
        """A1, the sums of the rows as a column."""
        if v.op == "scale":
            return self.scale(v.args[0], self.row_sum(v.args[1]))
        if v.cols == ONE:
            return v
        weights, bare = self._weighted_rows(v)
        if weights:
            return self.hadamard(*weights, self.row_sum(bare))
        return self.make("row_sum", self.dense(v), shape=(v.rows, ONE))

    def _weighted_rows(self, v: Value) -> tuple[list[Value], Value]:
        """The columns that scale the rows of v, and v without them."""
        factors = v.args if v.op == "multiply" else (v,)
        if v.op == "transpose" and v.args[0].op in ("multiply", "scale_cols"):
            inner = v.args[0].args if v.args[0].op == "multiply" else v.args
            if any(A.op == "scale_cols" for A in inner):
                weights = [self.column(A.args[1]) for A in inner if A.op == "scale_cols"]
                rest = [A.args[0] if A.op == "scale_cols" else A for A in inner]
                return weights, self.transpose(self.hadamard(*rest))
        weights = [self.column(A.args[0]) for A in factors if A.op == "scale_rows"]
        rest = [A.args[1] if A.op == "scale_rows" else A for A in factors]
        return weights, self.hadamard(*rest)

    def sum(self, v: Value) -> Value:
        """The sum of all entries."""
        if v.is_scalar:
            return v
        if v.op == "scale":
            return self.scale(v.args[0], self.sum(v.args[1]))
        if v.op == "row_sum":
            return self.sum(v.args[0])
        if v.form is Form.DIAGONAL:
            v = self.column(v)
        if v.op == "multiply" and any(A.op == "scale_cols" for A in v.args):
            return self.sum(self.row_sum(self.transpose(v)))
        if v.op == "ones":
            count = (sp.expand(v.rows * v.cols),)
            return self.make("size", data=count, shape=(ONE, ONE), form=Form.NUMBER)
        return self.make("sum", self.dense(v), shape=(ONE, ONE))

    def inner(self, A: Value, B: Value) -> Value:
        """A : B."""
        if A.op == "ones" and A.form is not Form.DIAGONAL:
            return self.sum(B)
        if B.op == "ones" and B.form is not Form.DIAGONAL:
            return self.sum(A)
        return self.sum(self.hadamard(A, B))

    def trace(self, v: Value) -> Value:
        """Tr A."""
        if v.is_scalar:
            return v
        return self.sum(self.diagonal_of(v))

    def cholesky(self, A: Value) -> Value:
        """L of A = L Lᵀ."""
        return self.make("cholesky", A, shape=A.shape)

    def _lu(self, A: Value) -> tuple[Value, Value]:
        """L and U of P A = L U in one matrix, and the exchanges of rows that P makes."""
        call = self.make("lu_factor", A, shape=A.shape, form=Form.CALL)
        LU, pivots = (
            self.make("item", call, data=(k,), shape=A.shape, form=Form.RAW) for k in (0, 1)
        )
        return LU, pivots

    def solve_by_lu(self, A: Value, B: Value, transposed: bool) -> Value:
        """A⁻¹B or A⁻ᵀB."""
        shape = (A.rows, B.cols)
        return self.make("lu_solve", *self._lu(A), B, data=(transposed,), shape=shape)

    def determinant(self, name: str, A: Value, by_lu: bool) -> Value:
        """det A or log |det A|; `by_lu`: from the factors that A⁻¹ takes, too."""
        if not (by_lu and self.has_lu):
            return self.make(name, A, shape=(ONE, ONE))
        LU, pivots = self._lu(A)
        args = (LU, pivots) if name == "det" else (LU,)
        return self.make(f"lu_{name}", *args, shape=(ONE, ONE))

    def invert(self, v: Value, definite: bool, triangle: str | None, by_lu: bool = False) -> Value:
        """A⁻¹: reciprocals for a diagonal or a scalar, otherwise to be applied by solving.

        Where it is formed, its LU factors are if det A is taken from them `by_lu`.
        """
        if v.is_scalar:
            return self.reciprocal(v)
        if v.form is Form.DIAGONAL:
            return self.diagonal(self.reciprocal(self.column(v)))
        how = "definite" if definite else triangle or "general"
        if how == "general" and by_lu and self.has_lu:
            self._by_lu.add(v)
        return self.make("inverse_of", v, data=(how, False), shape=v.shape, form=Form.INVERSE)

    def invert_low_rank(self, inverse: Value, low_rank: Word) -> Value:
        """D⁻¹ − D⁻¹ W D⁻¹ for a diagonal D⁻¹ and a word W, to be applied through W's least rank."""
        args, shape = (inverse, *low_rank), inverse.shape
        return self.make("low_rank_inverse", *args, shape=shape, form=Form.LOW_RANK_INVERSE)

    def complement(self, projector: Word) -> Value:
        """I − Π for a word Π, to be applied to X as X − ΠX."""
        n = projector[0].rows
        return self.make("complement", *projector, shape=(n, n), form=Form.COMPLEMENT)

    def pinv(self, A: Value, M: Value) -> Value:
        """(A M)⁺ for an M that makes the columns of A M orthonormal up to rounding."""
        shape = (M.cols, A.rows)
        return self.make("pinv_of", A, M, data=(False,), shape=shape, form=Form.PINV)

    def reciprocal(self, v: Value) -> Value:
        """1/v entrywise."""
        return self.power(v, self.number(sp.Integer(-1)))

    def power(self, v: Value, p: Value) -> Value:
        """v ** p entrywise; v is no diagonal."""
        if v.op == "ones":
            return v
        if p.op == "number":
            if p.data[0] == 1:
                return v
            if p.data[0] == -1 and v.op == "power" and v.args[1].op == "number":
                return self.power(v.args[0], self.number(-v.args[1].data[0]))
        form = Form.NUMBER if v.form is p.form is Form.NUMBER else Form.MATRIX
        return self.make("power", v, p, shape=v.shape, form=form)


def numbered(v: Value) -> tuple[sp.Expr, Value]:
    """The number in front of v, and what it multiplies."""
    if v.op == "scale" and v.args[0].op == "number":
        return v.args[0].data[0], v.args[1]
    return sp.Integer(1), v


def by_rank(inverse: Value) -> tuple[Value, Word]:
    """D⁻¹ and D⁻¹ W D⁻¹ of D⁻¹ − D⁻¹ W D⁻¹."""
    diagonal, *low_rank = inverse.args
    return diagonal, (diagonal, *low_rank, diagonal)


def _common_shape(terms: Word) -> tuple[Dim, Dim]:
    """The shape of a sum whose terms may repeat along its rows or columns."""
    rows = next((v.rows for v in terms if v.rows != ONE), ONE)
    return rows, next((v.cols for v in terms if v.cols != ONE), ONE)
