"""The general solution: dY as the solution operator of the stacked linear equations.

Used where no frames make the coefficients diagonal. With vec(L dY R) = (Rᵀ ⊗ L) vec(dY), and such
a matrix for every other linear map, the varied equations are one system M z = w in the stacked
vec(dY); M has as many rows and columns as there are equations and unknown entries, so the cost is
cubic in their number.
"""

from __future__ import annotations

from typing import NamedTuple

from mbp.decomposition import outputs_of
from mbp.derive.adjoint import move
from mbp.derive.implicit.equations import Equation
from mbp.derive.implicit.frames import FrameError
from mbp.derive.implicit.polynomial import properties, symmetry, varies
from mbp.derive.variation import varied_in_letters
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Transpose,
    Unvec,
    Var,
    Variation,
    Vec,
    topological,
    variables,
)
from mbp.invariants.infer import has
from mbp.simplify import normal


def solved(equations: list[Equation], outputs: tuple[Var, ...]) -> tuple[Expr, dict[Expr, Expr]]:
    """M, and dY of each output, from the equations that determine them.

    Raises FrameError for an equation whose variation has no matrix in the grammar.
    """
    varied = list(dict.fromkeys(_varied(e, outputs) for e in equations))
    unknowns = [_Unknown(Variation(y), y) for y in outputs]
    # dYᵀ of an output without symmetry is an unknown of its own, tied by transposed equations:
    # the least-norm solution of the doubled system is the transpose of itself. So a symmetric
    # output comes out symmetric.
    twins = [_Unknown(build.transpose(Variation(y)), y) for y in outputs if not symmetry(y)]
    turned = any(node in {twin.dy for twin in twins}
                 for v in varied if not v.is_scalar for node in topological(v))
    symmetric = any(symmetry(y) and not y.is_scalar for y in outputs)
    upright: dict[Expr, Expr] = {u.dy: u.matrix for u in unknowns}
    rows = [(v, upright) for v in varied]
    if turned or (symmetric and not all(_own_transpose(v) for v in varied)):
        unknowns += twins
        letters = upright | {u.dy: u.matrix for u in twins}
        crossed = upright | {Variation(u.output): build.transpose(u.matrix) for u in twins}
        rows = [(v, upright if v.is_scalar else letters) for v in varied]
        rows += [(v, crossed) for v in varied if v.is_scalar and twins]
        rows += [(_turned(v), letters) for v in varied if not v.is_scalar and not _own_transpose(v)]
    nothing: dict[Expr, Expr] = {Variation(y): build.zeros(*y.shape) for y in outputs}
    blocks: list[Expr] = []
    right: list[Expr] = []
    for v, letters in rows:
        linear = build.substitute(v, letters)
        if linear is not v:
            blocks.append(build.hstack(*(_coefficient(linear, u.letter) for u in unknowns)))
            right.append(build.vec(normal(build.negate(build.substitute(v, nothing)))))
    for u in unknowns:
        for zeros in _zeros(u):
            blocks.append(_embedded(build.diag_matrix(build.vec(zeros)), u, unknowns))
            right.append(build.zeros(blocks[-1].rows))
    M, w = build.vstack(*blocks), build.vstack(*right)
    inverse = build.inv(M) if M.is_square else outputs_of("generalized_inverse", M)[0]
    z = build.matmul(inverse, w)
    found: dict[Expr, Expr] = {}
    for u in unknowns[: len(outputs)]:
        pick = build.matmul(_embedded(build.eye(_length(u.letter)), u, unknowns), z)
        found[u.output] = u.matrix_of(build.unvec(pick, *u.letter.shape))
    return M, found


class _Unknown(NamedTuple):
    """What is solved for, dY or dYᵀ, of an output; of a diagonal one, the diagonal."""

    dy: Expr
    output: Var

    @property
    def letter(self) -> Var:
        """The letter that stands for it in the equations."""
        cols = ONE if self.is_diagonal else self.dy.cols
        return build.var(f"vec({self.dy})", self.dy.rows, cols)

    @property
    def is_diagonal(self) -> bool:
        """Whether the output is a diagonal matrix."""
        return "diagonal" in properties(self.output) and not self.output.is_scalar

    @property
    def matrix(self) -> Expr:
        """dY or dYᵀ in terms of the letter."""
        return self.matrix_of(self.letter)

    def matrix_of(self, value: Expr) -> Expr:
        """dY or dYᵀ, given what is solved for."""
        return build.diag_matrix(value) if self.is_diagonal else value


def _varied(e: Equation, outputs: tuple[Var, ...]) -> Expr:
    """d(left − right) = 0 in normal form, in the variations of what varies, outputs on the left.

    Of an equation between diagonal matrices only the diagonal.
    """
    known = set(outputs).isdisjoint(variables(e.left))
    left, right = (e.right, e.left) if known else (e.left, e.right)
    v = varied_in_letters(build.subtract(left, right))
    fixed: dict[Expr, Expr] = {
        dx: build.zeros(*dx.shape) for dx in topological(v)
        if isinstance(dx, Variation) and not varies(dx.args[0])
    }
    v = normal(build.substitute(v, fixed))
    if has(v, "diagonal") and not v.is_scalar:
        v = normal(build.diag_vector(v))
    return _moved_inward(v)


def _moved_inward(v: Expr) -> Expr:
    """v with Df(A)[X]ᵀ as Df(A)[Xᵀ], since A is symmetric: the transposes meet the variations."""
    turned: dict[Expr, Expr] = {}
    for node in topological(v):
        match node:
            case Transpose(args=(Frechet(args=(A, *_), directions=ways) as D,)):
                turned[node] = build.frechet(
                    D.g, A, D.parameters,
                    *(_moved_inward(normal(build.transpose(X))) for X in reversed(ways)),
                )
    return build.substitute(v, turned)


def _turned(v: Expr) -> Expr:
    """vᵀ with diag(Xᵀ) for diag(X): what v says with dYᵀ in the place of dY."""
    v = normal(build.transpose(v))
    flipped: dict[Expr, Expr] = {
        node: build.diag_vector(normal(build.transpose(node.args[0])))
        for node in topological(v) if isinstance(node, DiagVec)
    }
    return _moved_inward(build.substitute(v, flipped))


def _own_transpose(v: Expr) -> bool:
    return v.is_square and build.is_zero(normal(build.subtract(v, build.transpose(v))))


def _length(y: Expr) -> Dim:
    return build.vec(y).rows


def _coefficient(e: Expr, x: Var) -> Expr:
    """C with vec(e) = C vec(x) + what does not depend on x, of an e that is linear in x."""
    return _between(build.eye(e.rows), e, build.eye(e.cols), x)


def _between(left: Expr, e: Expr, right: Expr, x: Var) -> Expr:
    """The coefficient of x in left e right."""
    if e is x:
        return build.kron(build.transpose(right), left)
    inside = [k for k, arg in enumerate(e.args) if x in variables(arg)]
    if not inside:
        return build.zeros(_length(build.matmul(left, e, right)), _length(x))
    match e:
        case Sum():
            return build.add(*(_between(left, e.args[k], right, x) for k in inside))
        case Scale(args=(c, X)) if inside == [1]:
            return build.scale(c, _between(left, X, right, x))
        case Scale(args=(c, X)):
            return build.matmul(build.vec(build.matmul(left, X, right)), _row(c, x))
        case Product():
            (k,) = inside
            return _between(
                build.matmul(left, *e.args[:k]), e.args[k], build.matmul(*e.args[k + 1 :], right), x
            )
        case Stack(data=(axis,)):
            return build.add(*(_between(left, _placed(e, axis, k), right, x) for k in inside))
        case Part(args=(X,), data=("sym",)):
            mirrored = build.scale(build.number(1) / 2, build.add(X, build.transpose(X)))
            return _between(left, normal(mirrored), right, x)
    here = _mapped(e, x)
    if isinstance(left, Eye) and isinstance(right, Eye):
        return here
    return build.matmul(build.kron(build.transpose(right), left), here)


def _mapped(e: Expr, x: Var) -> Expr:
    """The coefficient of x in a linear map that is no product."""
    if e.is_scalar:
        return _row(e, x)
    match e:
        case Hadamard():
            (k,) = (k for k, arg in enumerate(e.args) if x in variables(arg))
            others = build.hadamard(*e.args[:k], *e.args[k + 1 :])
            return build.matmul(build.diag_matrix(build.vec(others)), _coefficient(e.args[k], x))
        case Part(args=(X,), data=(kind,)) if kind != "skew":
            mask = build.vec(build.part(kind, build.ones(*e.shape)))
            return build.matmul(build.diag_matrix(mask), _coefficient(X, x))
        case Vec(args=(X,)) | Unvec(args=(X,)):
            return _coefficient(X, x)
        case Transpose(args=(X,)) if ONE in X.shape:
            return _coefficient(X, x)
        case Frechet(order=1, directions=(X,)) if x not in variables(e.args[0]):
            U, Q = outputs_of("eigenframe", e.args[0])
            quotients = build.frechet(e.g, Q, e.parameters, build.ones(*e.shape))
            turned = build.kron(U, U)
            inside = build.matmul(build.transpose(turned), _coefficient(X, x))
            return build.matmul(turned, build.diag_matrix(build.vec(quotients)), inside)
        case Diag(args=(v,)):
            return build.matmul(_spread(e.rows), _coefficient(v, x))
        case DiagVec(args=(X,)):
            return build.matmul(build.transpose(_spread(e.rows)), _coefficient(X, x))
    raise FrameError(f"the linear map {e} has no matrix in the grammar")


def _spread(n: Dim) -> Expr:
    """E with vec(diag(v)) = E v, for v of length n."""
    return build.matmul(
        build.diag_matrix(build.vec(build.eye(n))), build.kron(build.ones(n, 1), build.eye(n))
    )


def _placed(e: Stack, axis: int, k: int) -> Expr:
    """The k-th block of a stack among zeros, as a product."""
    sizes = [block.shape[axis] for block in e.args]
    size = sizes[k]
    place = build.vstack(*(
        build.eye(size) if j == k else build.zeros(n, size) for j, n in enumerate(sizes)
    ))
    block = e.args[k]
    return build.matmul(place, block) if axis == 0 else build.matmul(block, build.transpose(place))


def _row(e: Expr, x: Var) -> Expr:
    """The coefficient of x in a scalar, by its adjoint: e = M : x is vec(M)ᵀ vec(x)."""
    pending: dict[Expr, list[Expr]] = {e: [build.number(1)]}
    for node in reversed(list(topological(e))):
        if node is x or node not in pending:
            continue
        active = tuple(k for k, arg in enumerate(node.args) if x in variables(arg))
        total = build.add(*pending.pop(node))
        try:
            for moved in move(node, total, active):
                pending.setdefault(moved.operand, []).append(moved.cotangent)
        except MbpError as error:
            raise FrameError(str(error)) from None
    return build.transpose(build.vec(normal(build.add(*pending[x]))))


def _zeros(u: _Unknown) -> list[Expr]:
    """Indicators of the entries of dY, or of dYᵀ, that the pattern of Y keeps at zero."""
    if u.is_diagonal:
        return []
    known = properties(u.output)
    ones = build.ones(*u.dy.shape)
    strict = bool(known & {"unit_lower_triangular", "strictly_lower_triangular"})
    lower, upper = ("strictly_upper", "strictly_lower")[:: -1 if isinstance(u.dy, Transpose) else 1]
    found = []
    if "lower_triangular" in known:
        found.append(build.part(lower, ones))
    if "upper_triangular" in known:
        found.append(build.part(upper, ones))
    if strict:
        found.append(build.eye(u.dy.rows))
    return found


def _embedded(A: Expr, there: _Unknown, unknowns: list[_Unknown]) -> Expr:
    """A in the columns of one unknown, zeros in those of the others."""
    return build.hstack(*(
        A if u is there else build.zeros(A.rows, _length(u.letter)) for u in unknowns
    ))
