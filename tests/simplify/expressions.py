"""Random well-typed expressions, and random admissible values for their variables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from mbp.expr import build, scalar
from mbp.expr.dims import dim
from mbp.expr.nodes import Expr, Var, Variation, topological
from mbp.invariants.declare import declare
from mbp.rulebook import RULEBOOK

Array = NDArray[np.float64]
SIZES = {"m": 4, "n": 3, "k": 2}

VARIABLES: tuple[Var, ...] = tuple(
    declare(name, text)
    for name, text in {
        "A": "m n", "B": "n m", "X": "n n", "Y": "n n", "S": "n n symmetric",
        "C": "n n positive_definite", "K": "n n antisymmetric", "D": "n n diagonal",
        "O": "n n orthogonal", "W": "m n orthonormal_columns", "P": "n n projector",
        "L": "n n lower_triangular", "M": "m m", "R": "m n full_column_rank",
        "E": "m k partition", "Z": "m n positive", "x": "n", "y": "n", "u": "m", "w": "n positive",
        "a": "scalar", "b": "scalar", "p": "scalar positive", "q": "k positive", "T": "k k",
    }.items()
)  # fmt: skip

_by_shape: dict[tuple[object, object], list[Expr]] = {}
for _variable in VARIABLES:
    _by_shape.setdefault(_variable.shape, []).append(_variable)

N, M_, ONE = dim("n"), dim("m"), dim(1)
DIMS = (ONE, N, M_)


@st.composite
def expressions(draw: st.DrawFn, rows: object = None, cols: object = None, depth: int = 4) -> Expr:
    """An expression of the given shape, or of any."""
    rows = draw(st.sampled_from(DIMS)) if rows is None else rows
    cols = draw(st.sampled_from(DIMS)) if cols is None else cols
    return _expression(draw, rows, cols, depth)


def _expression(draw: st.DrawFn, rows: object, cols: object, depth: int) -> Expr:
    makers = list(_LEAVES(rows, cols))
    if depth > 0:
        makers += 3 * [*_COMPOUND(draw, rows, cols, depth - 1)]
    return draw(st.sampled_from(makers))()


def _LEAVES(rows, cols):  # type: ignore[no-untyped-def]
    for leaf in _by_shape.get((rows, cols), ()):
        yield lambda leaf=leaf: leaf
    yield lambda: build.ones(rows, cols)
    if rows == cols:
        yield lambda: build.eye(rows)
    for leaf in _by_shape.get((cols, rows), ()):
        yield lambda leaf=leaf: build.transpose(leaf)


def _COMPOUND(draw, rows, cols, depth):  # type: ignore[no-untyped-def]
    def e(r, c):  # type: ignore[no-untyped-def]
        return _expression(draw, r, c, depth)

    def inner_dim():  # type: ignore[no-untyped-def]
        return draw(st.sampled_from((N, N, M_, ONE)))

    yield lambda: build.add(e(rows, cols), e(rows, cols))
    yield lambda: build.subtract(e(rows, cols), e(rows, cols))
    yield lambda: build.scale(build.number(draw(st.sampled_from((2, -1, 0.5, -3)))), e(rows, cols))
    yield lambda: build.scale(e(ONE, ONE), e(rows, cols))
    yield lambda: build.transpose(e(cols, rows))
    yield lambda: build.multiply(e(rows, cols), e(rows, cols))
    yield lambda: (lambda d: build.matmul(e(rows, d), e(d, cols)))(inner_dim())
    yield lambda: (lambda d: build.matmul(e(rows, d), e(d, cols)))(inner_dim())
    yield lambda: build.power(e(rows, cols), build.number(2))
    yield lambda: build.power(_positive(draw, rows, cols),
                              build.number(draw(st.sampled_from((-1, 0.5, -0.5)))))  # fmt: skip
    name = draw(st.sampled_from(("sin", "tanh", "exp", "cos", "sigmoid", "abs")))
    yield lambda: build.apply(name, build.scale(build.number(0.25), e(rows, cols)))
    yield lambda: build.apply("log", _positive(draw, rows, cols))
    if rows == cols and rows != ONE:
        yield lambda: build.inv(_invertible(draw, rows, e(rows, rows)))
        for kind in ("sym", "skew", "diag", "lower", "strictly_upper", "upper"):
            yield lambda kind=kind: build.part(kind, e(rows, rows))
        yield lambda: build.diag_matrix(e(rows, ONE))
        g = draw(st.sampled_from(("exp", "sin", "x/(1 + x**2)")))
        yield lambda: build.matfun(g, build.scale(build.number(0.25), build.sym(e(rows, rows))))
        yield lambda: build.frechet(scalar.parse_scalar("sin"), build.sym(e(rows, rows)), (),
                                    e(rows, rows))  # fmt: skip
        yield lambda: RULEBOOK.call("projector", e(rows, N))[0]
    if rows != ONE or cols != ONE:
        yield lambda: RULEBOOK.call("pinv", _low(draw, cols, rows, e))[0]
    if cols == ONE and rows != ONE:
        yield lambda: build.diag_vector(e(rows, rows))
    if rows == ONE and cols == ONE:
        yield lambda: (lambda d: build.tr(e(d, d)))(inner_dim())
        yield lambda: (lambda d, c: build.inner(e(d, c), e(d, c)))(inner_dim(), inner_dim())
        yield lambda: (lambda d: build.logdet(_invertible(draw, d, e(d, d))))(
            draw(st.sampled_from((N, M_)))
        )
        yield lambda: (lambda d: build.det(_invertible(draw, d, e(d, d))))(
            draw(st.sampled_from((N, M_)))
        )
        yield lambda: build.norm(e(N, draw(st.sampled_from((N, ONE)))))


def _positive(draw: st.DrawFn, rows: object, cols: object) -> Expr:
    choices: list[Callable[[], Expr]] = [
        lambda: build.apply("exp", build.apply("sin", _expression(draw, rows, cols, 1))),
        lambda: build.ones(rows, cols) + _expression(draw, rows, cols, 1) ** 2,
        lambda: build.scale(build.number(2), build.ones(rows, cols)),
    ]  # fmt: skip
    for leaf in _by_shape.get((rows, cols), ()):
        if "positive" in leaf.properties:
            choices.append(lambda leaf=leaf: leaf)
    return draw(st.sampled_from(choices))()


def _invertible(draw: st.DrawFn, n: object, A: Expr) -> Expr:
    C = next(v for v in VARIABLES if v.name == "C")
    O = next(v for v in VARIABLES if v.name == "O")
    choices = [
        build.add(build.matmul(A, build.transpose(A)), build.eye(n)),
        build.add(build.apply("tanh", A), build.scale(build.number(7), build.eye(n))),
    ]
    if n == N:
        choices += [C, O, build.matmul(O, build.add(C, build.eye(n))), build.matmul(C, O)]
    return draw(st.sampled_from(choices))


def _low(draw: st.DrawFn, rows: object, cols: object, e: Callable[..., Expr]) -> Expr:
    leaves = [v for v in VARIABLES if v.shape == (rows, cols)]
    return draw(st.sampled_from(leaves)) if leaves else e(rows, cols)


def instance(roots: tuple[Expr, ...], seed: int) -> dict[object, object]:
    """Random admissible values for the variables and variations below `roots`."""
    rng = np.random.default_rng(seed)
    env: dict[object, object] = dict(SIZES)
    for variable in VARIABLES:
        env[variable] = _value(variable, rng)
    for node in topological(*roots):
        if isinstance(node, Variation) and node not in env:
            env[node] = rng.standard_normal(tuple(SIZES.get(str(d), 1) for d in node.shape))
    return env


def _value(variable: Var, rng: np.random.Generator) -> Array:
    rows, cols = (SIZES.get(str(d), 1) for d in variable.shape)
    A = rng.standard_normal((rows, cols))
    makes: dict[str, Callable[[], Array]] = {
        "symmetric": lambda: A + A.T,
        "positive_definite": lambda: A @ A.T + np.eye(rows),
        "antisymmetric": lambda: A - A.T,
        "diagonal": lambda: np.diag(A[0]),
        "orthogonal": lambda: np.linalg.qr(A)[0],
        "orthonormal_columns": lambda: np.linalg.qr(A)[0],
        "projector": lambda: A[:, :1] @ A[:, :1].T / (A[:, :1].T @ A[:, :1]),
        "lower_triangular": lambda: np.tril(A),
        "partition": lambda: np.eye(cols)[np.arange(rows) % cols],
        "positive": lambda: np.exp(A),
        "full_column_rank": lambda: A,
        "scalar": lambda: A,
    }
    return makes[variable.properties[0]]() if variable.properties else A
