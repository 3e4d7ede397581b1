"""The functions that make expressions: the vocabulary of the grammar, with trivial folding only.

What folds here is what no reader would write: I A = A, 0 + A = A, (Aᵀ)ᵀ = A, numbers multiplied
and moved to the front. Everything that needs a property belongs to `mbp.simplify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile
from numbers import Rational as RationalNumber
from typing import Any, TypeAlias

import sympy as sp

from mbp.errors import MbpError, ShapeError
from mbp.expr import scalar
from mbp.expr.dims import ONE, Dim, dim, shape_text
from mbp.expr.nodes import (
    Data,
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    Inner,
    Inverse,
    Kernel,
    Kron,
    KronLeft,
    KronRight,
    LogDet,
    Map,
    Named,
    Number,
    Ones,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Var,
    Variation,
    Vec,
    Zeros,
    fold,
)

DimLike: TypeAlias = str | int | sp.Expr


# --- leaves ---------------------------------------------------------------------------------


def number(value: Any) -> Expr:
    """A scalar constant, kept exact: 0.1 is 1/10. Raises MbpError for what is not a number."""
    if isinstance(value, bool):
        raise MbpError("True and False are not numbers")
    if isinstance(value, sp.Expr) and (value.is_Rational or value is sp.pi):
        return Number(data=(value,))
    if isinstance(value, sp.Float):
        return Number(data=(sp.Rational(str(value)),))
    if isinstance(value, int | RationalNumber):
        return Number(data=(sp.Rational(value),))
    if isinstance(value, float):
        return Number(data=(sp.Rational(repr(float(value))),))  # NumPy's floats print otherwise
    if getattr(value, "ndim", None) == 0:
        return number(value.item())
    if (shape := getattr(value, "shape", None)) is not None:
        raise MbpError(
            f"an array of shape {tuple(shape)} is no matrix expression: "
            "give the layer an input for it, constant if it has no gradient"
        )
    raise MbpError(f"{value!r} is neither a matrix expression nor a number")


def as_expr(value: object) -> Expr:
    """`value` itself if it is an expression, otherwise the number it is."""
    return value if isinstance(value, Expr) else number(value)


def var(name: str, rows: DimLike, cols: DimLike, properties: tuple[str, ...] = ()) -> Var:
    """A variable of shape rows×cols with the given property names."""
    node = Var(data=(name, dim(rows), dim(cols), tuple(properties)))
    assert isinstance(node, Var)
    return node


def variation(x: Expr) -> Expr:
    """d(x), an arbitrary admissible variation of a variable or named expression."""
    return Variation(x)


def named(name: str, X: Expr, properties: tuple[str, ...] = ()) -> Expr:
    """X under a name, kept whole from then on."""
    return Named(X, data=(name, tuple(properties)))


def eye(n: DimLike) -> Expr:
    """The n×n identity."""
    return number(1) if dim(n) == ONE else Eye(data=(dim(n),))


def ones(rows: DimLike, cols: DimLike = 1) -> Expr:
    """The matrix of ones; `ones(n)` is a column."""
    if dim(rows) == ONE and dim(cols) == ONE:
        return number(1)
    return Ones(data=(dim(rows), dim(cols)))


def zeros(rows: DimLike, cols: DimLike = 1) -> Expr:
    """The zero matrix."""
    if dim(rows) == ONE and dim(cols) == ONE:
        return number(0)
    return Zeros(data=(dim(rows), dim(cols)))


def dim_size(n: Dim) -> Expr:
    """A dimension as a scalar: tr(I) = n."""
    size = sp.sympify(n)
    return number(size) if size.is_number else DimSize(data=(size,))


def is_zero(A: Expr) -> bool:
    """Whether A is the literal zero."""
    return isinstance(A, Zeros) or (isinstance(A, Number) and A.value == 0)


def is_one(A: Expr) -> bool:
    """Whether A is the literal scalar 1."""
    return isinstance(A, Number) and bool(A.value == 1)


# --- sums and products --------------------------------------------------------------------------


def add(*terms: Expr) -> Expr:
    """A₁ + … + Aₙ; raises ShapeError unless all shapes are equal."""
    flat: list[Expr] = []
    for term in terms:
        flat.extend(term.args if isinstance(term, Sum) else (term,))
    _check_number("a sum", "terms", flat)
    total = Sum(*flat) if len(flat) > 1 else flat[0]  # checks the shapes
    # Numbers in front are one number, as they are when a sum is written term by term.
    front = list(takewhile(_is_rational, flat))
    value = sum((term.data[0] for term in front), sp.Integer(0))
    kept = [number(value)] if value else []
    kept += [term for term in flat[len(front) :] if not is_zero(term)]
    if not kept:
        return zeros(*total.shape)
    return kept[0] if len(kept) == 1 else Sum(*kept)


MOST_OPERANDS = 4096
"""Sums and products of more operands are refused: a loop that squares doubles them each time."""


def _check_number(what: str, operands: str, flat: list[Expr]) -> None:
    """Raises MbpError where a sum or a product would have too many operands."""
    if len(flat) > MOST_OPERANDS:
        raise MbpError(
            f"{what} of {len(flat)} {operands}, the first of them {flat[0]}, is too long: "
            f"{MOST_OPERANDS} are the most; take fewer turns of the loop, or powm(A, p)"
        )


def _is_rational(A: Expr) -> bool:
    return isinstance(A, Number) and bool(A.value.is_Rational)


def negate(A: Expr) -> Expr:
    """−A."""
    return scale(number(-1), A)


def subtract(A: Expr, B: Expr) -> Expr:
    """A − B."""
    return add(A, negate(B))


def coefficient(A: Expr) -> tuple[Expr, Expr]:
    """(c, X) with A = c X and c the scalar factor in front of A, 1 if there is none."""
    if isinstance(A, Scale):
        return A.args[0], A.args[1]
    return number(1), A


def difference(e: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(c, X, Y) of e = c (X − Y), X in front; None for what is no such sum."""
    terms = [coefficient(term) for term in e.args] if isinstance(e, Sum) else []
    if len(terms) != 2 or terms[0][0] is not negate(terms[1][0]):
        return None
    (c, X), (_, Y) = terms
    return c, X, Y


def scalar_factors(c: Expr) -> tuple[sp.Expr, list[Expr]]:
    """The rational number and the remaining scalar factors whose product is `c`."""
    if isinstance(c, Number) and c.value.is_Rational:
        return c.value, []
    if isinstance(c, Scale):
        left, lefts = scalar_factors(c.args[0])
        right, rights = scalar_factors(c.args[1])
        return left * right, lefts + rights
    return sp.Integer(1), [c]


def scale(c: Expr, A: Expr) -> Expr:
    """The scalar c times A, numbers in front. Raises ShapeError when c is not 1×1."""
    return scale_by((c,), A)


def scale_by(scalars: Iterable[Expr], A: Expr) -> Expr:
    """The product of scalars times A, numbers in front. Raises ShapeError unless all are 1×1."""
    front, X = (A, number(1)) if A.is_scalar else coefficient(A)
    value: sp.Expr = sp.Integer(1)
    factors: list[Expr] = []
    for c in (*scalars, front):
        if not c.is_scalar:
            raise ShapeError(f"{c} is {shape_text(*c.shape)}, not a scalar")
        number_in_c, rest = scalar_factors(c)
        value, factors = value * number_in_c, factors + rest
    if value == 0 or is_zero(X):
        return zeros(*A.shape)
    if X.is_scalar:
        if not factors:
            return number(value)
        factors = _reciprocals_first(factors)
        X = factors.pop()
    else:
        factors = _reciprocals_first(factors)
    if value != 1:
        factors.insert(0, number(value))
    if not factors:
        return X
    c = factors[0]
    for factor in factors[1:]:
        c = Scale(c, factor)
    return Scale(c, X)


def is_reciprocal(A: Expr) -> bool:
    """Whether A is an elementwise power with a negative integer exponent, printed behind `/`."""
    if not (isinstance(A, Map) and A.name == "pow"):
        return False
    p = A.args[1]
    return isinstance(p, Number) and bool(p.value.is_Integer) and bool(p.value < 0)


def _reciprocals_first(factors: list[Expr]) -> list[Expr]:
    # One order for a product however it was written, so that printing and parsing agree.
    return sorted(factors, key=lambda factor: not is_reciprocal(factor))


def multiply(A: Expr, B: Expr) -> Expr:
    """A * B: a scalar times anything, or the elementwise product of equal shapes."""
    if A.is_scalar:
        return scale(A, B)
    if B.is_scalar:
        return scale(B, A)
    return hadamard(A, B)


def hadamard(*factors: Expr) -> Expr:
    """A₁ ∘ … ∘ Aₙ; raises ShapeError unless all shapes are equal."""
    if all(A.is_scalar for A in factors):
        product = number(1)
        for A in factors:
            product = scale(product, A)
        return product
    c = number(1)
    flat: list[Expr] = []
    for A in factors:
        front, X = coefficient(A)
        c = scale(c, front)
        flat.extend(X.args if isinstance(X, Hadamard) else (X,))
    _check_number("an elementwise product", "factors", flat)
    whole = Hadamard(*flat)  # checks the shapes
    kept = [A for A in flat if not isinstance(A, Ones)]
    if any(is_zero(A) for A in kept):
        return zeros(*whole.shape)
    if not kept:
        return scale(c, flat[0])
    return scale(c, kept[0] if len(kept) == 1 else Hadamard(*kept))


def divide(A: Expr, B: Expr) -> Expr:
    """A / B: by a scalar, or elementwise for equal shapes."""
    if is_zero(B):
        raise MbpError("division by zero")
    return multiply(A, power(B, number(-1)))


def matmul(*factors: Expr) -> Expr:
    """The matrix product; scalars come to the front. Raises ShapeError on inner dimensions."""
    c = number(1)
    flat: list[Expr] = []
    for A in factors:
        front, X = coefficient(A) if not A.is_scalar else (number(1), A)
        c = scale(c, front)
        flat.extend(X.args if isinstance(X, Product) else (X,))
    _check_number("a product", "factors", flat)
    whole = Product(*flat)  # checks the shapes
    if any(is_zero(A) for A in flat):
        return zeros(*whole.shape)
    kept: list[Expr] = []
    for A in flat:
        if A.is_scalar:
            c = scale(c, A)
        elif not isinstance(A, Eye):
            kept.append(A)
    if not kept:
        return scale(c, next((A for A in flat if isinstance(A, Eye)), number(1)))
    # A product is read from the left: where it has become a scalar, the rest is scaled by it.
    for k in range(2, len(kept)):
        if kept[0].rows == kept[k - 1].cols == ONE:
            return scale(c, scale(Product(*kept[:k]), matmul(*kept[k:])))
    return scale(c, kept[0] if len(kept) == 1 else Product(*kept))


def transpose(A: Expr) -> Expr:
    """Aᵀ."""
    if A.is_scalar:
        return A
    match A:
        case Transpose(args=(X,)):
            return X
        case Eye() | Diag():
            return A
        case Part(args=(X,), data=(("sym" | "diag"),)) if A.is_square:
            return A
        case Ones() | Zeros():
            return type(A)(data=(A.cols, A.rows))
        case Scale(args=(c, X)):
            return scale(c, transpose(X))
    return Transpose(A)


# --- functions ------------------------------------------------------------------------------


def apply(name: str | sp.Expr | sp.Lambda | type[sp.Function], A: Expr) -> Expr:
    """The scalar function of each entry of A: a name, a text in x, or SymPy's function or formula.

    Raises MbpError for an unknown name and for what is no function of one variable.
    """
    if not isinstance(name, str) or not scalar.is_function(name):
        return map_scalar(scalar.univariate(name), x=A)
    if name == "sqrt" and isinstance(A, Number):
        root = sp.sqrt(A.value)
        if root.is_Rational:
            return number(root)
    if isinstance(A, Zeros) and scalar.body(name).subs(scalar.X, 0) == 0:
        return A
    scalar.body(name)
    return Map(A, data=(name,))


def power(A: Expr, p: Expr) -> Expr:
    """A ** p elementwise, p a scalar."""
    if not p.is_scalar:
        raise ShapeError(
            f"the exponent {p} is {shape_text(*p.shape)}, but an elementwise power needs a scalar"
            + (f"; use exp(log({A}) * {p})" if A.is_scalar else "")
        )
    if is_zero(p):
        return ones(*A.shape)
    if is_one(p):
        return A
    if isinstance(A, Number) and isinstance(p, Number):
        if A.value == 0 and p.value < 0:
            raise MbpError("division by zero")
        if A.value < 0 and not p.value.is_Integer:
            raise MbpError(f"the power ({A}) ** ({p}) is not real")
        if scalar.folds(A.value, p.value):
            value = A.value**p.value
            if value.is_Rational:
                return number(value)
        elif abs(A.value) != 1:
            raise MbpError(f"the power {A} ** {p} is out of range")
    if isinstance(A, Ones) or is_one(A):
        return A
    if isinstance(p, Number) and p.value.is_Integer:
        match A:
            case Map(args=(X, q), data=("pow",)) if isinstance(q, Number) and q.value.is_Integer:
                return power(X, number(p.value * q.value))
            case Scale():
                front, X = coefficient(A)
                value, factors = scalar_factors(front)
                if X.is_scalar:
                    factors, X = [*factors, X], number(1)
                result = power(X, p)
                for factor in reversed(factors):
                    result = scale(power(factor, p), result)
                return scale(power(number(value), p), result)
    return Map(A, p, data=("pow",))


def map_scalar(g: sp.Expr, **arguments: Expr) -> Expr:
    """The SymPy expression `g` of each entry, its symbols standing for `arguments` by name.

    Expands into sums, products, powers and functions of the grammar; arguments have one shape or
    are scalars. Raises MbpError for what the grammar cannot say.
    """
    shape = next((A.shape for A in arguments.values() if not A.is_scalar), (ONE, ONE))

    def full(A: Expr) -> Expr:
        return scale(A, ones(*shape)) if A.is_scalar and shape != (ONE, ONE) else A

    def read(g: sp.Expr) -> Expr:
        if g.is_Symbol:
            if g.name not in arguments:
                raise MbpError(f"the scalar function uses {g}, which is no argument of it")
            return arguments[g.name]
        if g.is_Rational or g is sp.pi or g.is_Float:
            return number(g)
        if g is sp.E:
            return apply("exp", number(1))
        if g.is_Add:
            terms = [read(term) for term in g.args]
            if any(not term.is_scalar for term in terms):
                terms = [full(term) for term in terms]
            return add(*terms)
        if g.is_Mul:
            product = number(1)
            for factor in g.args:
                product = multiply(product, read(factor))
            return product
        if g.is_Pow:
            if g.base == sp.E:
                return apply("exp", read(g.exp))
            if g.exp == sp.Rational(1, 2):
                return apply("sqrt", read(g.base))
            if g.exp.free_symbols and not g.base.free_symbols:
                return read(sp.exp(g.exp * sp.log(g.base)))
            return power(read(g.base), read(g.exp))
        if isinstance(g, sp.Max | sp.Min):
            return read(_extremum(g))
        if isinstance(g, sp.Heaviside):
            return apply("relu", apply("sign", read(g.args[0])))
        if isinstance(g, sp.Piecewise):
            return read(_by_steps(g))
        if isinstance(g, sp.Function):
            composed = scalar.composition(g)
            if composed is not None:
                return read(composed)
            return apply(_name_of_function(g), read(g.args[-1]))
        if g.is_number and g.is_real and g.is_finite:
            return number(sp.Rational(str(g.evalf(30))))
        raise MbpError(f"the scalar function {g} is outside the grammar")

    return full(read(sp.sympify(g)))


def _extremum(g: sp.Expr) -> sp.Expr:
    # max(a, b) = b + relu(a − b), min(a, b) = b − relu(b − a), from the last argument on.
    first, *rest = sorted(g.args, key=lambda a: a.is_number)
    if not rest:
        return first
    other = _extremum(g.func(*rest, evaluate=False)) if len(rest) > 1 else rest[0]
    excess = first - other if isinstance(g, sp.Max) else other - first
    relu = sp.Function("relu")(excess)
    return other + relu if isinstance(g, sp.Max) else other - relu


def _by_steps(g: sp.Piecewise) -> sp.Expr:
    """Pieces times indicators of their intervals; every piece must be finite everywhere."""
    before: sp.Expr = sp.Integer(1)
    total: sp.Expr = sp.Integer(0)
    for value, condition in g.args:
        inside = _indicator(condition)
        total += before * inside * value
        before = before * (1 - inside)
    return total


def _indicator(condition: sp.Basic) -> sp.Expr:
    if condition in (sp.true, sp.false):
        return sp.Integer(int(condition == sp.true))
    if isinstance(condition, sp.And):
        return sp.Mul(*map(_indicator, condition.args))
    if isinstance(condition, sp.Or):
        return 1 - sp.Mul(*(1 - _indicator(part) for part in condition.args))
    if isinstance(condition, sp.Gt | sp.Ge | sp.Lt | sp.Le):
        return sp.Heaviside(condition.gts - condition.lts)
    raise MbpError(f"the condition {condition} is no inequality")


def _name_of_function(g: sp.Expr) -> str:
    if g.func.__name__ == "relu":
        return "relu"
    # The order of a polygamma function comes before its variable.
    name = scalar.name_of(g.func(*g.args[:-1], scalar.X))
    if name is None:
        raise MbpError(f"the scalar function {g} is outside the grammar")
    return name


def inv(A: Expr) -> Expr:
    """A⁻¹; raises ShapeError unless A is square."""
    if A.is_scalar:
        return power(A, number(-1))
    match A:
        case Eye():
            return A
        case Inverse(args=(X,)):
            return X
        case Scale(args=(c, X)):
            return scale(power(c, number(-1)), inv(X))
    return Inverse(A)


def det(A: Expr) -> Expr:
    """det A."""
    return A if A.is_scalar else number(1) if isinstance(A, Eye) else Det(A)


def logdet(A: Expr) -> Expr:
    """log |det A|."""
    if A.is_scalar:
        return apply("log", apply("abs", A))
    return number(0) if isinstance(A, Eye) else LogDet(A)


def tr(A: Expr) -> Expr:
    """Tr A."""
    if A.is_scalar:
        return A
    match A:
        case Eye(data=(n,)):
            return dim_size(n)
        case Zeros():
            return number(0)
        case Scale(args=(c, X)):
            return scale(c, tr(X))
    return Trace(A)


def inner(A: Expr, B: Expr) -> Expr:
    """A : B = Tr(AᵀB); raises ShapeError unless shapes are equal."""
    whole = Inner(A, B)  # checks the shapes
    if A.is_scalar:
        return scale(A, B)
    (a, X), (b, Y) = coefficient(A), coefficient(B)
    if is_zero(X) or is_zero(Y):
        return number(0)
    if not is_one(a) or not is_one(b):
        return scale(scale(a, b), inner(X, Y))
    return whole


def sum_of(A: Expr) -> Expr:
    """The sum of all entries, 1ᵀA1."""
    return A if A.is_scalar else inner(ones(*A.shape), A)


def sumsq(A: Expr) -> Expr:
    """‖A‖², the sum of squared entries."""
    return inner(A, A)


def norm(A: Expr) -> Expr:
    """‖A‖, the Frobenius norm of a matrix, the 2-norm of a column."""
    return apply("abs", A) if A.is_scalar else apply("sqrt", sumsq(A))


def part(kind: str, A: Expr) -> Expr:
    """The projection of A onto a pattern of entries (see `Part`)."""
    if A.is_scalar:
        return number(0) if kind in ("skew", "strictly_lower", "strictly_upper") else A
    front, X = coefficient(A)
    if not is_one(front):
        return scale(front, part(kind, X))
    match X:
        case Zeros():
            return X
        case Eye() | Diag():
            if kind in ("skew", "strictly_lower", "strictly_upper"):
                return zeros(*X.shape)
            return X
        case Part(data=(inside,)) if inside == kind or inside == f"strictly_{kind}":
            return X
    return Part(X, data=(kind,))


def sym(A: Expr) -> Expr:
    """A_sym = ½(A + Aᵀ); raises ShapeError unless A is square."""
    return part("sym", A)


def skew(A: Expr) -> Expr:
    """½(A − Aᵀ); raises ShapeError unless A is square."""
    return part("skew", A)


def tril(A: Expr, k: int = 0) -> Expr:
    """The lower triangle of A, with k = -1 without the diagonal; raises MbpError for other k."""
    return _triangle("lower", A, k, strict=-1)


def triu(A: Expr, k: int = 0) -> Expr:
    """The upper triangle of A, with k = 1 without the diagonal; raises MbpError for other k."""
    return _triangle("upper", A, k, strict=1)


def _triangle(kind: str, A: Expr, k: int, strict: int) -> Expr:
    if k not in (0, strict):
        raise MbpError(f"the {kind} triangle is taken with k = 0 or k = {strict}, not k = {k!r}")
    return part(f"strictly_{kind}" if k else kind, A)


def diagpart(A: Expr) -> Expr:
    """A_diag, A with its off-diagonal entries set to 0."""
    return part("diag", A)


def diag(A: Expr) -> Expr:
    """The diagonal of a square matrix as a column, or the diagonal matrix of a column."""
    if A.is_scalar:
        return A
    if A.cols == ONE:
        return diag_matrix(A)
    if A.rows == ONE:
        raise ShapeError(f"diag of the row {A} ({shape_text(*A.shape)}); use diag({A}.T)")
    return diag_vector(A)


def diag_matrix(v: Expr) -> Expr:
    """[v]."""
    if v.is_scalar:
        return v
    match v:
        case Ones():
            return eye(v.rows)
        case Zeros():
            return zeros(v.rows, v.rows)
        case Scale(args=(c, X)):
            return scale(c, diag_matrix(X))
    return Diag(v)


def diag_vector(A: Expr) -> Expr:
    """diag(A) as a column."""
    if A.is_scalar:
        return A
    match A:
        case Diag(args=(v,)):
            return v
        case Eye(data=(n,)):
            return ones(n)
        case Zeros():
            return zeros(A.rows)
        case Ones() if A.is_square:
            return ones(A.rows)
        case Scale(args=(c, X)):
            return scale(c, diag_vector(X))
    return DiagVec(A)


def stack(axis: int, *blocks: Expr) -> Expr:
    """Blocks side by side (axis 1) or on top of each other (axis 0)."""
    if not blocks:
        raise MbpError("hstack and vstack need at least one block")
    if len(blocks) == 1:
        return blocks[0]
    whole = Stack(*blocks, data=(axis,))
    return zeros(*whole.shape) if all(is_zero(A) for A in blocks) else whole


def hstack(*blocks: Expr) -> Expr:
    """(A₁ | … | Aₙ); raises ShapeError unless all have the same rows."""
    return stack(1, *blocks)


def vstack(*blocks: Expr) -> Expr:
    """Blocks on top of each other; raises ShapeError unless all have the same columns."""
    return stack(0, *blocks)


def kron(A: Expr, B: Expr) -> Expr:
    """A ⊗ B."""
    if A.is_scalar or B.is_scalar:
        return multiply(A, B)
    (a, X), (b, Y) = coefficient(A), coefficient(B)
    whole = Kron(X, Y)
    if is_zero(X) or is_zero(Y):
        return zeros(*whole.shape)
    return scale(scale(a, b), whole)


def kron_left(G: Expr, B: Expr) -> Expr:
    """The adjoint of A ↦ A ⊗ B at G; raises ShapeError when G is no multiple of B."""
    if B.is_scalar:
        return scale(B, G)
    whole = KronLeft(G, B)
    return zeros(*whole.shape) if is_zero(G) or is_zero(B) else whole


def kron_right(A: Expr, G: Expr) -> Expr:
    """The adjoint of B ↦ A ⊗ B at G; raises ShapeError when G is no multiple of A."""
    if A.is_scalar:
        return scale(A, G)
    whole = KronRight(A, G)
    return zeros(*whole.shape) if is_zero(G) or is_zero(A) else whole


def vec(A: Expr) -> Expr:
    """The columns of A on top of each other."""
    if A.cols == ONE:
        return A
    match A:
        case Unvec(args=(x,)):
            return x
        case Ones() | Zeros():
            return type(A)(data=(sp.expand(A.rows * A.cols), ONE))
        case Scale(args=(c, X)):
            return scale(c, vec(X))
    return Vec(A)


def unvec(x: Expr, rows: DimLike, cols: DimLike) -> Expr:
    """The rows×cols matrix whose vec is x; raises ShapeError when the lengths differ."""
    whole = Unvec(x, data=(dim(rows), dim(cols)))
    if dim(cols) == ONE:
        return x
    match x:
        case Vec(args=(A,)) if A.shape == whole.shape:
            return A
        case Ones() | Zeros():
            return type(x)(data=whole.shape)
        case Scale(args=(c, y)):
            return scale(c, unvec(y, rows, cols))
    return whole


# --- matrix functions -------------------------------------------------------------------------


def frechet(g: sp.Expr, A: Expr, parameters: tuple[Expr, ...], *directions: Expr) -> Expr:
    """The divided-difference form of `Frechet`; linear in each direction."""
    c = number(1)
    bare: list[Expr] = []
    for direction in directions:
        front, X = coefficient(direction)
        c = scale(c, front)
        bare.append(X)
    if any(is_zero(X) for X in bare):
        return zeros(*A.shape)
    if not directions and isinstance(A, Eye) and not g.has(scalar.parameter(0)):
        return scale(map_scalar(g, x=number(1)), A)
    return scale(c, Frechet(A, *parameters, *bare, data=(g, len(bare), len(parameters))))


def matfun(g: str | sp.Expr | sp.Lambda | type[sp.Function], A: Expr) -> Expr:
    """g(A) for a symmetric A; g is a name, a text in x, or SymPy's function or formula.

    Raises MbpError when g has other variables than one, ShapeError when A is not square.
    """
    g = scalar.univariate(g)
    if A.is_scalar:
        return map_scalar(g, x=A)
    if g == scalar.X:
        return A
    return frechet(g, A, ())


def powm(A: Expr, p: Expr) -> Expr:
    """The matrix power A^p of a symmetric A, p a number or a scalar expression."""
    if not p.is_scalar:
        raise ShapeError(f"the exponent {p} is {shape_text(*p.shape)}, but powm needs a scalar")
    if isinstance(p, Number):
        return eye(A.rows) if p.value == 0 else matfun(scalar.X**p.value, A)
    if A.is_scalar:
        return power(A, p)
    return frechet(scalar.X ** scalar.parameter(0), A, (p,))


MATRIX_FUNCTIONS: dict[str, sp.Expr] = {
    "logm": sp.log(scalar.X),
    "expm": sp.exp(scalar.X),
    "sqrtm": sp.sqrt(scalar.X),
    "invsqrtm": 1 / sp.sqrt(scalar.X),
}


def kernel(
    entry: sp.Expr,
    diagonal: sp.Expr | None,
    operands: tuple[Expr, ...],
    rows: Dim,
    cols: Dim,
) -> Expr:
    """The matrix with entries k(i, j) over `operands` (see `Kernel`)."""
    return Kernel(*operands, data=(entry, diagonal, rows, cols))


# --- rebuilding -------------------------------------------------------------------------------

_REBUILD: dict[type[Expr], Callable[..., Expr]] = {
    Eye: lambda data: eye(*data),
    Ones: lambda data: ones(*data),
    Zeros: lambda data: zeros(*data),
    DimSize: lambda data: dim_size(*data),
    Variation: lambda data, x: Variation(x),
    Sum: lambda data, *args: add(*args),
    Product: lambda data, *args: matmul(*args),
    Scale: lambda data, c, A: scale(c, A),
    Transpose: lambda data, A: transpose(A),
    Hadamard: lambda data, *args: hadamard(*args),
    Map: lambda data, *args: power(*args) if data[0] == "pow" else apply(data[0], *args),
    Inverse: lambda data, A: inv(A),
    Det: lambda data, A: det(A),
    LogDet: lambda data, A: logdet(A),
    Trace: lambda data, A: tr(A),
    Inner: lambda data, A, B: inner(A, B),
    Diag: lambda data, v: diag_matrix(v),
    DiagVec: lambda data, A: diag_vector(A),
    Part: lambda data, A: part(data[0], A),
    Stack: lambda data, *args: stack(data[0], *args),
    Kron: lambda data, A, B: kron(A, B),
    KronLeft: lambda data, G, B: kron_left(G, B),
    KronRight: lambda data, A, G: kron_right(A, G),
    Vec: lambda data, A: vec(A),
    Unvec: lambda data, x: unvec(x, *data),
    Frechet: lambda data, *args: frechet(
        data[0], args[0], args[1 : 1 + data[2]], *args[1 + data[2] :]
    ),
}


def rebuild(node: Expr, args: tuple[Expr, ...], data: Data | None = None) -> Expr:
    """`node` with other operands, or other data, folded anew."""
    data = node.data if data is None else data
    if args == node.args and data == node.data:
        return node
    make = _REBUILD.get(type(node))
    return make(data, *args) if make else type(node)(*args, data=data)


def substitute(root: Expr, replacement: dict[Expr, Expr]) -> Expr:
    """`root` with every node of `replacement` replaced, from the root down."""
    done: dict[Expr, Expr] = dict(replacement)
    stack_: list[Expr] = [root]
    while stack_:
        node = stack_[-1]
        if node in done:
            stack_.pop()
            continue
        missing = [arg for arg in node.args if arg not in done]
        if missing:
            stack_.extend(missing)
            continue
        done[node] = rebuild(node, tuple(done[arg] for arg in node.args))
        stack_.pop()
    return done[root]


def instantiate(root: Expr, replacement: dict[Expr, Expr], dims: dict[sp.Symbol, Dim]) -> Expr:
    """A rule's template at actual operands: variables replaced, dimension names too."""
    dims = {name: actual for name, actual in dims.items() if name != actual}

    def at(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node in replacement:
            return replacement[node]
        if not dims or not any(isinstance(value, sp.Basic) for value in node.data):
            return rebuild(node, args)
        return rebuild(node, args, tuple(_renamed(value, dims) for value in node.data))

    return fold(root, at)


def _renamed(value: Any, dims: dict[sp.Symbol, Dim]) -> Any:
    if isinstance(value, sp.Expr) and value.has(*dims):
        return sp.expand(value.xreplace(dims))
    return value
