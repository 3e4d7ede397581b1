"""The normal form of every kind of node, from the normal forms of its operands."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import sympy as sp

from mbp.expr import build, scalar
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import (
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
    Output,
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
)
from mbp.invariants.infer import is_
from mbp.simplify import products, rules
from mbp.simplify.entrywise import (
    diagonal_column,
    diagonal_matrix,
    entry_product,
    map_form,
    monomial_matrix,
    pairs_of,
    power_form,
    turned_pairs,
)
from mbp.simplify.order import order
from mbp.simplify.transposition import signed_kernel, transpose
from mbp.simplify.words import (
    HALF,
    UNIT,
    Form,
    Word,
    add,
    as_fraction,
    constant,
    content,
    form,
    identity,
    minus,
    normalises,
    of_letter,
    of_word,
    plus,
    times_number,
    zero,
)


def node_form(node: Expr) -> Form:
    """A node with normalised operands as a letter, rewritten by rule if one applies."""
    rewritten = rules.node_rewrite(node)
    if rewritten is not None:
        return rewritten
    if not node.is_scalar and is_(node, "diagonal"):
        return of_letter(Diag(DiagVec(node)))
    return of_letter(node)


def turned_letter(letter: Expr) -> Form:
    """The transpose of a letter: functions of entries and inverses turn their operands."""
    if letter.rows is not ONE and letter.cols is not ONE:
        match letter:
            case Hadamard() | Map(data=(("pow" | "sqrt"),)):
                sign, pairs = turned_pairs(pairs_of(letter)[1])
                return times_number(sign, monomial_matrix(pairs, letter.cols, letter.rows))
            case Map(data=(name,), args=(X,)):
                return map_form(name, transpose(form(X)))
            case Inverse(args=(X,)):
                return inverse(transpose(form(X)))
    turned = Transpose(letter)
    return rules.node_rewrite(turned) or of_letter(turned)


# --- leaves ---------------------------------------------------------------------------------


@normalises(Var, Variation, Named)
def _variable(node: Expr) -> Form:
    return node_form(node)


@normalises(Number)
def _number(node: Expr) -> Form:
    value = node.data[0]
    return constant(as_fraction(value)) if value.is_Rational else of_letter(node)


@normalises(DimSize)
def _dim_size(node: Expr) -> Form:
    return size_form(node.data[0])


def size_form(n: Dim) -> Form:
    """A dimension, a polynomial in named ones, as a scalar."""
    terms = []
    for monomial, c in sp.expand(n).as_coefficients_dict().items():
        powers = monomial.as_powers_dict() if monomial != 1 else {}
        pairs = [(DimSize(data=(symbol,)), Fraction(int(p))) for symbol, p in powers.items()]
        terms.append(times_number(as_fraction(c), products.collected(pairs)))
    return add(terms, ONE, ONE)


@normalises(Eye)
def _eye(node: Expr) -> Form:
    return identity(node.rows)


@normalises(Ones)
def _ones(node: Expr) -> Form:
    if node.rows is ONE or node.cols is ONE:
        return of_letter(node)
    word = (build.ones(node.rows), build.ones(1, node.cols))
    return of_word(word, node.rows, node.cols)


@normalises(Zeros)
def _zeros(node: Expr) -> Form:
    return zero(node.rows, node.cols)


@normalises(Output)
def _output(node: Output) -> Form:
    if node.data[-1] > 1:
        return node_form(node)
    args = tuple(form(arg).expression() for arg in node.args)
    return node_form(Output(*args, data=node.data))


# --- the algebra ----------------------------------------------------------------------------


@normalises(Sum)
def _sum(node: Expr) -> Form:
    return add((form(arg) for arg in node.args), node.rows, node.cols)


@normalises(Scale)
def _scale(node: Expr) -> Form:
    return products.multiply(*(form(arg) for arg in node.args))


@normalises(Product)
def _product(node: Expr) -> Form:
    factors: list[Form] = []
    args = list(node.args)
    while args:
        match args:
            case [Stack(data=(1,)) as left, Stack(data=(0,)) as right, *_] if _fit(left, right):
                blocks = zip(left.args, right.args, strict=True)
                factors.append(
                    add((products.multiply(form(A), form(B)) for A, B in blocks),
                        left.rows, right.cols)
                )  # fmt: skip
                del args[:2]
            case _:
                factors.append(form(args.pop(0)))
    return products.multiply(*factors)


def _fit(left: Expr, right: Expr) -> bool:
    return [A.cols for A in left.args] == [B.rows for B in right.args]


@normalises(Transpose)
def _transpose(node: Expr) -> Form:
    return transpose(form(node.args[0]))


@normalises(Hadamard)
def _hadamard(node: Expr) -> Form:
    return entry_product(*(form(arg) for arg in node.args))


@normalises(Map)
def _map(node: Expr) -> Form:
    total = form(node.args[0])
    if node.data[0] == "pow":
        return power_form(total, products.as_exponent(form(node.args[1])))
    return map_form(node.data[0], total)


@normalises(Inverse)
def _inverse(node: Expr) -> Form:
    return inverse(form(node.args[0]))


def inverse(total: Form) -> Form:
    """The inverse of a square form."""
    n = total.rows
    if total.is_scalar:
        return power_form(total, -UNIT)
    if all(not word or (len(word) == 1 and isinstance(word[0], Diag)) for _, word in total.terms):
        return diagonal_matrix(power_form(diagonal_column(total), -UNIT))
    if total.single is None:
        c = content(total)
        return times_number(1 / c, _inverse_letter(times_number(1 / c, total)))
    c, powers, word = total.single
    front = products.collected(products.raised(powers, -UNIT))
    return products.multiply(times_number(1 / c, front), _inverse_letter(of_word(word, n, n)))


def _inverse_letter(total: Form) -> Form:
    A = total.expression()
    match A:
        case Frechet() if A.order == 0:
            g = sp.powsimp(1 / A.g)
            return form(products.function_expression(g, A.args[0], A.parameters))
        case Inverse(args=(X,)):
            return form(X)
        case Transpose(args=(Inverse(args=(X,)),)):
            return transpose(form(X))
    rewritten = rules.node_rewrite(build.inv(A))
    if rewritten is not None:
        return rewritten
    turned = transpose(total)
    B = turned.expression()
    c = content(turned)
    if order(B) < order(A) and c > 0:
        return of_letter(Transpose(build.inv(B)))
    return of_letter(build.inv(A))


@normalises(Det, LogDet)
def _determinant(node: Expr) -> Form:
    total = form(node.args[0])
    if not total.terms:
        return constant(0) if isinstance(node, Det) else of_letter(node)
    if total.single is None:
        # The first term is made positive, so that A − B and B − A have one determinant.
        c = content(total)
        base = times_number(1 / c, total)
        letter = type(node)(_least_turn(base))
        n = build.dim_size(total.rows)
        if c == 1:
            return _determinant_letter(letter)
        if isinstance(node, Det):
            return products.multiply(
                form(build.power(build.number(c), n)), _determinant_letter(letter)
            )
        size = form(build.scale(n, build.apply("log", build.number(abs(c)))))
        return plus(size, _determinant_letter(letter))
    match total.single:
        case (c, (), ()) if c == 1:
            return constant(1) if isinstance(node, Det) else constant(0)
    return _determinant_letter(type(node)(_least_turn(total)))


def _determinant_letter(node: Expr) -> Form:
    return rules.node_rewrite(node) or of_letter(node)


def _least_turn(total: Form) -> Expr:
    turned = transpose(total)
    if content(turned) < 0:  # a sign in front is no part of the letter
        return total.expression()
    return min(total.expression(), turned.expression(), key=order)


@normalises(Trace)
def _trace(node: Expr) -> Form:
    return products.trace(form(node.args[0]))


@normalises(Inner)
def _inner(node: Expr) -> Form:
    A, B = (form(arg) for arg in node.args)
    return products.trace(products.multiply(transpose(A), B))


# --- structure ------------------------------------------------------------------------------


@normalises(Diag)
def _diag(node: Expr) -> Form:
    return diagonal_matrix(form(node.args[0]))


@normalises(DiagVec)
def _diag_vec(node: Expr) -> Form:
    return diagonal_column(form(node.args[0]))


@normalises(Part)
def _part(node: Part) -> Form:
    total = form(node.args[0])
    if node.kind == "sym":
        return times_number(HALF, plus(total, transpose(total)))
    if node.kind == "skew":
        return times_number(HALF, minus(total, transpose(total)))
    return part(node.kind, total)


def part(kind: str, total: Form) -> Form:
    """A pattern of entries; triangles are strict triangles and diagonals."""
    rows, cols = total.rows, total.cols
    if kind in ("lower", "upper"):
        return plus(part(f"strictly_{kind}", total), part("diag", total))
    if kind == "diag" and rows == cols:
        return diagonal_matrix(diagonal_column(total))
    terms = []
    for (powers, word), c in total.terms.items():
        scalars = Form(ONE, ONE, {(powers, ()): c})
        terms.append(products.multiply(scalars, _part_of_word(kind, word, rows, cols)))
    return add(terms, rows, cols)


def _part_of_word(kind: str, word: Word, rows: Dim, cols: Dim) -> Form:
    # A pattern of entries commutes with diagonal factors.
    start, stop = 0, len(word)
    while start < stop and isinstance(word[start], Diag):
        start += 1
    while stop > start and isinstance(word[stop - 1], Diag):
        stop -= 1
    if start == stop:
        return zero(rows, cols)
    left = [of_letter(D) for D in word[:start]]
    right = [of_letter(D) for D in word[stop:]]
    core = of_word(word[start:stop], rows, cols)
    return products.multiply(*left, _part_of_core(kind, core), *right)


def _part_of_core(kind: str, core: Form) -> Form:
    A = core.expression()
    if kind == "strictly_lower":
        if is_(A, "upper_triangular"):
            return zero(A.rows, A.cols)
        if is_(A, "strictly_lower_triangular"):
            return core
        if is_(A, "lower_triangular"):
            return minus(core, diagonal_matrix(diagonal_column(core)))
    if kind == "strictly_upper":
        if is_(A, "lower_triangular"):
            return zero(A.rows, A.cols)
        if is_(A, "upper_triangular") and A.is_square:
            return minus(core, diagonal_matrix(diagonal_column(core)))
    turned = transpose(core)
    mirrored = {"strictly_lower": "strictly_upper", "strictly_upper": "strictly_lower"}
    c = content(turned)
    B = times_number(1 / c, turned).expression()
    if order(B) < order(A):
        letter = build.part(mirrored.get(kind, kind), B)
        return times_number(c, of_letter(build.transpose(letter)))
    return of_letter(build.part(kind, A))


@normalises(Stack)
def _stack(node: Stack) -> Form:
    axis = node.data[0]
    if _is_unit(node):
        if axis == 0:
            return of_letter(node)
        return of_letter(Transpose(build.stack(0, *map(build.transpose, node.args))))
    terms = []
    for k, block in enumerate(node.args):
        value = form(block)
        unit = of_letter(_unit(node, k))
        terms.append(products.multiply(unit, value) if axis == 0
                     else products.multiply(value, transpose(unit)))  # fmt: skip
    return add(terms, node.rows, node.cols)


def _is_unit(node: Expr) -> bool:
    blocks = [block for block in node.args if not build.is_zero(block)]
    return len(blocks) == 1 and (isinstance(blocks[0], Eye) or build.is_one(blocks[0]))


def _unit(node: Stack, k: int) -> Expr:
    """(0; I; 0) with I in the place of block k."""
    axis = node.data[0]
    n = node.args[k].shape[axis]
    return build.stack(0, *(build.eye(n) if j == k else build.zeros(block.shape[axis], n)
                            for j, block in enumerate(node.args)))  # fmt: skip


@normalises(Kron)
def _kron(node: Expr) -> Form:
    A, B = (form(arg) for arg in node.args)
    return _bilinear(A, B, _kron_letter, node)


def _kron_letter(A: Expr, B: Expr) -> Form:
    if isinstance(A, Eye) and isinstance(B, Eye):
        return identity(sp.expand(A.rows * B.rows))
    return node_form(build.kron(A, B))


@normalises(KronLeft, KronRight)
def _kron_adjoint(node: Expr) -> Form:
    make = build.kron_left if isinstance(node, KronLeft) else build.kron_right
    A, B = (form(arg) for arg in node.args)
    return _bilinear(A, B, lambda X, Y: node_form(make(X, Y)), node)


def _bilinear(A: Form, B: Form, letter: Callable[[Expr, Expr], Form], node: Expr) -> Form:
    if len(A.terms) * len(B.terms) > products.MOST_WORDS:
        A, B = products.kept(A), products.kept(B)
    terms = []
    for scalars, X in _bare_terms(A):
        for others, Y in _bare_terms(B):
            terms.append(products.multiply(scalars, others, letter(X, Y)))
    return add(terms, node.rows, node.cols)


def _bare_terms(total: Form) -> list[tuple[Form, Expr]]:
    """Each term as its scalar factors and the rest."""
    pieces = []
    for (powers, word), c in total.terms.items():
        scalars = Form(ONE, ONE, {(powers, ()): c})
        if total.is_scalar:
            pieces.append((scalars, build.number(1)))
        else:
            pieces.append((scalars, of_word(word, total.rows, total.cols).expression()))
    return pieces


@normalises(Vec, Unvec)
def _vec(node: Expr) -> Form:
    terms = [
        products.multiply(scalars, _vec_letter(node, X))
        for scalars, X in _bare_terms(form(node.args[0]))
    ]
    return add(terms, node.rows, node.cols)


def _vec_letter(node: Expr, X: Expr) -> Form:
    letter = build.vec(X) if isinstance(node, Vec) else build.unvec(X, *node.shape)
    return node_form(letter) if isinstance(letter, type(node)) else form(letter)


# --- functions of a spectrum ----------------------------------------------------------------------


@normalises(Frechet)
def _frechet(node: Frechet) -> Form:
    A = form(node.args[0])
    parameters = tuple(form(c).expression() for c in node.parameters)
    if node.order == 0:
        return matrix_function(node.g, A, parameters)
    terms: list[tuple[Form, tuple[Expr, ...]]] = [(constant(1), ())]
    for X in node.directions:
        pieces = _bare_terms(form(X))
        if len(terms) * len(pieces) > products.MOST_WORDS:
            pieces = _bare_terms(products.kept(form(X)))
        terms = [
            (products.multiply(scalars, c), (*directions, D))
            for scalars, directions in terms
            for c, D in pieces
        ]
    argument = A.expression()
    return add(
        (products.multiply(c, _frechet_letter(node.g, argument, parameters, X)) for c, X in terms),
        node.rows, node.cols,
    )  # fmt: skip


def _frechet_letter(
    g: sp.Expr, A: Expr, parameters: tuple[Expr, ...], directions: tuple[Expr, ...]
) -> Form:
    if g.is_polynomial(scalar.X) and sp.degree(g, scalar.X) < len(directions):
        return zero(*A.shape)
    if all(isinstance(X, Eye) for X in directions):
        p = len(directions)
        slope = scalar.derivative(g, times=p) / sp.factorial(p)
        return matrix_function(slope, form(A), parameters)
    if len(directions) == 1:
        function = products.function_of(directions[0])
        if function is not None and function[1] is A:
            slope = matrix_function(scalar.derivative(g), form(A), parameters)
            return products.multiply(slope, form(directions[0]))
    if len(directions) == 1 and is_(A, "diagonal") and is_(directions[0], "diagonal"):
        slope = matrix_function(scalar.derivative(g), form(A), parameters)
        return products.multiply(slope, form(directions[0]))
    return node_form(build.frechet(g, A, parameters, *directions))


def matrix_function(g: sp.Expr, A: Form, parameters: tuple[Expr, ...]) -> Form:
    """g(A): entrywise on a diagonal, composed with another function, 1/x as the inverse."""
    g, parameters = _numeric_parameters(g, parameters)
    n = A.rows
    names = {scalar.parameter(k).name: c for k, c in enumerate(parameters)}
    if not g.has(scalar.X):
        return products.multiply(form(build.map_scalar(g, **names)), identity(n))
    if not parameters and g.is_Pow and g.base == scalar.X and g.exp == -1:
        return inverse(A)
    if g == scalar.X:
        return A
    argument = A.expression()
    if is_(argument, "diagonal"):
        name = scalar.name_of(g)
        if name is not None:
            return diagonal_matrix(map_form(name, diagonal_column(A)))
        try:
            return diagonal_matrix(
                form(build.map_scalar(g, x=diagonal_column(A).expression(), **names))
            )
        except ValueError:
            return node_form(build.frechet(g, argument, parameters))
    match argument:
        case Frechet() if argument.order == 0 and not argument.parameters:
            composed = sp.powsimp(g.subs(scalar.X, argument.g))
            return matrix_function(composed, form(argument.args[0]), parameters)
        case Inverse(args=(X,)):
            return matrix_function(g.subs(scalar.X, 1 / scalar.X), form(X), parameters)
    inner = _one_function(A)
    if inner is not None:
        h, X = inner
        return matrix_function(g.subs(scalar.X, h), form(X), parameters)
    if g.is_polynomial(scalar.X) and not parameters and sp.degree(g, scalar.X) <= 4:
        return _polynomial(g, A)
    front, core = g.as_independent(scalar.X, as_Add=False)
    if front != 1:
        core = matrix_function(sp.powsimp(core), A, parameters)
        return products.multiply(form(build.map_scalar(front, **names)), core)
    base, p = g.as_base_exp()
    if base == scalar.X and not p.is_number and not p.has(scalar.X):
        g, parameters = base ** scalar.parameter(0), (build.map_scalar(p, **names),)
    return node_form(build.frechet(g, argument, parameters))


def _one_function(A: Form) -> tuple[sp.Expr, Expr] | None:
    """(h, X) with the sum A = h(X), where functions of one X occur in it; numbers only beside."""
    arguments = {
        letter.args[0]
        for _, word in A.terms
        for letter in word
        if isinstance(letter, Frechet) and letter.order == 0 and not letter.parameters
    }
    if len(A.terms) < 2 or len(arguments) != 1:
        return None
    X = arguments.pop()
    total = sp.Integer(0)
    for (powers, word), c in A.terms.items():
        if powers:
            return None
        factor = sp.Rational(c.numerator, c.denominator)
        for letter in word:
            match letter:
                case Frechet(args=(argument,)) if argument is X and letter.order == 0:
                    factor *= letter.g
                case Inverse(args=(argument,)) if argument is X:
                    factor /= scalar.X
                case _ if letter is X:
                    factor *= scalar.X
                case _:
                    return None
        total += factor
    return total, X


def _numeric_parameters(
    g: sp.Expr, parameters: tuple[Expr, ...]
) -> tuple[sp.Expr, tuple[Expr, ...]]:
    """Parameters that are numbers go into g; those left are numbered anew."""
    values: dict[sp.Symbol, sp.Expr] = {}
    left: list[Expr] = []
    for k, c in enumerate(parameters):
        if isinstance(c, Number):
            values[scalar.parameter(k)] = c.value
        else:
            values[scalar.parameter(k)] = scalar.parameter(len(left))
            left.append(c)
    return g.subs(values, simultaneous=True) if values else g, tuple(left)


def _polynomial(g: sp.Expr, A: Form) -> Form:
    value = zero(A.rows, A.cols)
    for c in sp.Poly(g, scalar.X).all_coeffs():
        value = plus(
            products.multiply(value, A), products.multiply(form(build.number(c)), identity(A.rows))
        )
    return value


@normalises(Kernel)
def _kernel(node: Kernel) -> Form:
    if node.entry == 0 and node.diagonal in (None, 0):
        return zero(node.rows, node.cols)
    if node.entry == 1 and node.diagonal in (None, 1):
        return form(build.ones(node.rows, node.cols))
    sign, K = signed_kernel(node)
    return of_letter(K, sign)
