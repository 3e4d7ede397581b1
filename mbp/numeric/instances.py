"""Random admissible matrices of declared variables, their variations and curves through them.

A point X has every declared property, a variation dX is tangent to the set of such matrices at
X, and a curve X(t) stays in the set with X(0) = X and X'(0) = dX. All three are constructed from
what the properties mean, never from the tangent projections that are to be tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import sympy as sp

from mbp.errors import MbpError, PropertyError
from mbp.expr.dims import Dim, dim_names
from mbp.expr.nodes import DimSize, Expr, Output, Var, topological
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import FLOAT64, Arithmetic, Array
from mbp.rulebook import RULEBOOK

Curve = Callable[[Any], Array]
"""t ↦ X(t)."""

_PATTERNS: dict[str, Callable[[Array, Array], Array]] = {
    "diagonal": lambda i, j: i == j,
    "strictly_lower_triangular": lambda i, j: i > j,
    "lower_triangular": lambda i, j: i >= j,
    "upper_triangular": lambda i, j: i <= j,
}


# --- sizes ------------------------------------------------------------------------------------


def random_sizes(
    exprs: Iterable[Expr], rng: np.random.Generator, smallest: int = 2, tall: bool = False
) -> dict[str, int]:
    """Small integers for the dimension names of `exprs`, different for different names.

    With `tall` as many variables as possible have more rows than columns. The sizes respect
    what declared ranks, partitions and the decompositions in `exprs` need. Raises MbpError when
    no small sizes do.
    """
    names, fits = size_test(exprs)
    variables = [node for node in topological(*exprs) if isinstance(node, Var)]
    sizes = range(smallest, smallest + len(names) + 2)

    def height(choice: Mapping[str, int]) -> int:
        shapes = [shape_of(x, choice) for x in variables]
        return sum(rows > cols for rows, cols in shapes)

    choices = [dict(zip(names, choice, strict=True)) for choice in permutations(sizes, len(names))]
    fitting = [choice for k in rng.permutation(len(choices)) if fits(choice := choices[k])]
    if fitting:
        return max(fitting, key=height) if tall else fitting[0]
    same = dict.fromkeys(names, smallest + smallest % 2)
    if fits(same):
        return same
    raise MbpError(f"no small sizes of {', '.join(names)} fit together")


def size_test(exprs: Iterable[Expr]) -> tuple[list[str], Callable[[Mapping[str, int]], bool]]:
    """The dimension names of `exprs`, and whether given sizes of them are admissible.

    Sizes must respect what declared ranks, partitions and decompositions need, and be positive.
    """
    nodes = list(topological(*exprs))
    counted = [node.data[0] for node in nodes if isinstance(node, DimSize)]
    names = dim_names(*counted, *(d for node in nodes for d in node.shape))
    needs = [need for node in nodes for need in _needs(node)]
    even = [node.rows for node in nodes if _is_even(node)]
    shapes = {d for node in nodes for d in node.shape if not d.is_Symbol and not d.is_Integer}

    def fits(choice: Mapping[str, int]) -> bool:
        def at(d: Dim) -> int:
            return int(d.xreplace({s: sp.Integer(choice[s.name]) for s in d.free_symbols}))

        return (
            all(at(big) >= at(small) for big, small in needs)
            and all(at(d) % 2 == 0 for d in even)
            and all(at(d) > 0 for d in shapes)
        )

    return names, fits


def _needs(node: Expr) -> list[tuple[Dim, Dim]]:
    """The pairs of dimensions of which the first must not be less than the second."""
    if isinstance(node, Var):
        known = VOCABULARY.closure(node.properties)
        pairs = []
        if "full_column_rank" in known:
            pairs.append((node.rows, node.cols))
        if "full_row_rank" in known:
            pairs.append((node.cols, node.rows))
        return pairs
    if isinstance(node, Output):
        rule = RULEBOOK.decompositions[node.rule]
        actual = {
            d: given
            for x, A in zip(rule.inputs, node.args, strict=True)
            for d, given in zip(x.shape, A.shape, strict=True)
        }
        return [(big.xreplace(actual), small.xreplace(actual)) for big, small in rule.at_least]
    return []


def _is_even(node: Expr) -> bool:
    known = VOCABULARY.closure(node.properties) if isinstance(node, Var) else frozenset()
    return "antisymmetric" in known and bool(known & {"invertible", "full_column_rank"})


def deficient_ranks(exprs: Sequence[Expr], sizes: Mapping[str, int]) -> dict[Var, int]:
    """A rank below full for each variable that enters a map defined at constant rank only."""
    found: dict[Var, int] = {}
    for node in topological(*exprs):
        if not isinstance(node, Output):
            continue
        rule = RULEBOOK.decompositions[node.rule]
        for x, A in zip(rule.inputs, node.args, strict=True):
            known = VOCABULARY.closure(A.properties) if isinstance(A, Var) else frozenset()
            if x.name not in rule.constant_rank or not isinstance(A, Var):
                continue
            if not known & {"full_column_rank", "full_row_rank", "projector"}:
                found[A] = max(1, min(shape_of(A, sizes)) - 1)
    return found


# --- points -----------------------------------------------------------------------------------


def random_point(
    x: Var,
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    arithmetic: Arithmetic = FLOAT64,
    rank: int | None = None,
    boundary: bool = False,
) -> Array:
    """A random matrix with the properties of `x`, its spectrum well separated.

    `rank` asks for a matrix of that rank; with `boundary` a semidefinite one may be singular and
    a nonnegative one may have zeros. Raises PropertyError for properties that no matrix of these
    sizes is known here to have together.
    """
    rows, cols = shape_of(x, sizes)
    known = VOCABULARY.closure(x.properties)
    X = _point(known, rows, cols, rng, arithmetic, rank, boundary)
    if X is None:
        raise PropertyError(f"{x}: no instances of {' '.join(x.properties)} at {rows}×{cols}")
    return X


def shape_of(x: Expr, sizes: Mapping[str, int]) -> tuple[int, int]:
    """The integer shape of a node; raises MbpError for a dimension without a size."""
    shape = []
    for d in x.shape:
        try:
            shape.append(int(d.xreplace({s: sp.Integer(sizes[s.name]) for s in d.free_symbols})))
        except KeyError as error:
            raise MbpError(f"the dimension {error} of {x} has no size") from None
    return shape[0], shape[1]


def _point(
    known: frozenset[str],
    rows: int,
    cols: int,
    rng: np.random.Generator,
    at: Arithmetic,
    rank: int | None,
    boundary: bool,
) -> Array | None:
    if "partition" in known:
        return _partition(rows, cols, rng, at)
    if "projector" in known:
        return _projector(known, rows, rng, at, rank)
    if "orthonormal_columns" in known:
        return _orthonormal(known, rows, cols, rng, at)
    entrywise = bool(known & {"positive", "nonnegative"})
    pattern = _mask(known, rows, cols)
    if boundary and rank is None and "positive_semidefinite" in known and "invertible" not in known:
        rank = int(rng.integers(1, rows + 1))
    if not pattern.all():
        return _patterned(known, pattern, rng, at, rank, boundary)
    if rows == cols == 1:
        return _scalar(known, rng, at, boundary)
    if entrywise:
        return _positive_entries(known, rows, cols, rng, at, boundary)
    if "antisymmetric" in known:
        return _antisymmetric(rows, rng, at)
    return _spectral(known, rows, cols, rng, at, rank)


def separated(n: int, rng: np.random.Generator) -> Array:
    """n positive float64 numbers between 0.5 and about n, at least 0.3 apart, in random order."""
    steps = rng.uniform(0.3, 0.9, n)
    return rng.permutation(0.3 + np.cumsum(steps))


def _signs(n: int, rng: np.random.Generator) -> Array:
    return rng.choice([-1.0, 1.0], n)


def _orthogonal(n: int, rng: np.random.Generator, at: Arithmetic) -> Array:
    return at.qr(at.matrix(rng.normal(size=(n, n))))[0]


def _mask(known: frozenset[str], rows: int, cols: int) -> Array:
    i, j = np.indices((rows, cols))
    mask = np.ones((rows, cols), dtype=bool)
    for name, kept in _PATTERNS.items():
        if name in known:
            mask &= kept(i, j)
    return mask


def _partition(rows: int, cols: int, rng: np.random.Generator, at: Arithmetic) -> Array | None:
    if rows < cols:
        return None
    owner = np.concatenate([np.arange(cols), rng.integers(0, cols, rows - cols)])
    return at.matrix(np.eye(cols)[rng.permutation(owner)])


def _projector(
    known: frozenset[str], n: int, rng: np.random.Generator, at: Arithmetic, rank: int | None
) -> Array:
    if "invertible" in known:
        return at.eye(n)
    if rank is None:
        rank = int(rng.integers(1, max(n, 2)))
    if not _mask(known, n, n).all():
        return at.matrix(np.diag(rng.permutation(np.arange(n) < rank).astype(float)))
    Q = _orthogonal(n, rng, at)[:, :rank]
    return Q @ Q.T


def _orthonormal(
    known: frozenset[str], rows: int, cols: int, rng: np.random.Generator, at: Arithmetic
) -> Array | None:
    if rows < cols or known & {"positive", "nonnegative"}:
        return None
    if "positive_semidefinite" in known or "unit_lower_triangular" in known:
        return at.eye(rows)
    if not _mask(known, rows, cols).all():
        return at.matrix(np.diag(_signs(rows, rng)))
    Q = _orthogonal(rows, rng, at)
    if "symmetric" in known:
        signs = _signs(rows, rng)
        signs[: min(2, rows)] = [1.0, -1.0][: min(2, rows)]
        return (Q * at.matrix(signs)[:, 0]) @ Q.T
    if "antisymmetric" in known:
        if rows % 2:
            return None
        return Q @ at.matrix(np.kron(np.eye(rows // 2), [[0.0, 1.0], [-1.0, 0.0]])) @ Q.T
    return Q[:, :cols]


def _patterned(
    known: frozenset[str],
    pattern: Array,
    rng: np.random.Generator,
    at: Arithmetic,
    rank: int | None,
    boundary: bool,
) -> Array | None:
    rows, cols = pattern.shape
    entrywise = bool(known & {"positive", "nonnegative"})
    X = rng.normal(size=pattern.shape) * pattern
    k = min(rows, cols)
    diagonal = separated(k, rng)
    if not known & {"positive_semidefinite", "positive", "nonnegative"}:
        diagonal *= _signs(k, rng)
    if rank is not None:
        diagonal[rng.permutation(k)[: k - rank]] = 0.0
    X[np.arange(k), np.arange(k)] = np.where(np.diagonal(pattern), diagonal, 0.0)
    if "unit_lower_triangular" in known:
        np.fill_diagonal(X, 1.0)
    if entrywise:
        X = np.abs(X)
        if boundary and "positive" not in known and "invertible" not in known:
            X *= rng.random(X.shape) < 0.7
    return at.matrix(X)


def _scalar(
    known: frozenset[str], rng: np.random.Generator, at: Arithmetic, boundary: bool
) -> Array:
    if "antisymmetric" in known:
        return at.zeros(1, 1)
    size = rng.uniform(0.5, 1.5)
    if not known & {"positive", "nonnegative", "positive_semidefinite"}:
        size *= rng.choice([-1.0, 1.0])
    elif boundary and not known & {"positive", "invertible"} and rng.random() < 0.3:
        size = 0.0
    return at.matrix(size)


def _positive_entries(
    known: frozenset[str],
    rows: int,
    cols: int,
    rng: np.random.Generator,
    at: Arithmetic,
    boundary: bool,
) -> Array | None:
    if "antisymmetric" in known:
        return None if "positive" in known else at.zeros(rows, cols)
    X = rng.uniform(0.3, 1.8, size=(rows, cols))
    if boundary and "positive" not in known:
        X *= rng.random(X.shape) < 0.7
    if "symmetric" in known:
        X = (X + X.T) / 2
    if "positive_semidefinite" in known:
        X += cols * np.eye(cols)
    elif rows == cols:
        X += np.diag(separated(rows, rng))
    return at.matrix(X)


def _antisymmetric(n: int, rng: np.random.Generator, at: Arithmetic) -> Array:
    Q = _orthogonal(n, rng, at)
    J = np.zeros((n, n))
    for k, size in enumerate(separated(n // 2, rng)):
        J[2 * k, 2 * k + 1], J[2 * k + 1, 2 * k] = size, -size
    X = Q @ at.matrix(J) @ Q.T
    return (X - X.T) / 2


def _spectral(
    known: frozenset[str],
    rows: int,
    cols: int,
    rng: np.random.Generator,
    at: Arithmetic,
    rank: int | None,
) -> Array | None:
    k = min(rows, cols)
    if ("full_column_rank" in known and k < cols) or ("full_row_rank" in known and k < rows):
        return None
    values = separated(k, rng)
    if rank is not None:
        values[rank:] = 0.0
    U = _orthogonal(rows, rng, at)[:, :k]
    if "symmetric" in known:
        if "positive_semidefinite" not in known:
            values *= _signs(k, rng)
        X = (U * at.matrix(values)[:, 0]) @ U.T
        return (X + X.T) / 2
    V = _orthogonal(cols, rng, at)[:, :k]
    return (U * at.matrix(values)[:, 0]) @ V.T


# --- variations and curves ----------------------------------------------------------------------


def is_fixed(x: Var) -> bool:
    """Whether x has no variation."""
    return bool(VOCABULARY.closure(x.properties) & {"constant", "partition"})


def random_variation(
    x: Var, X: Array, rng: np.random.Generator, arithmetic: Arithmetic = FLOAT64
) -> Array:
    """A random variation that x admits at X: one that keeps properties and a deficient rank."""
    known = VOCABULARY.closure(x.properties)
    rows, cols = X.shape
    if is_fixed(x):
        return arithmetic.zeros(rows, cols)
    M = arithmetic.matrix(rng.normal(size=(rows, cols)))
    mask = _mask(known, rows, cols)
    if "orthonormal_columns" in known or "projector" in known:
        if not mask.all() or ({"orthogonal", "positive_semidefinite"} <= known):
            return arithmetic.zeros(rows, cols)
        Omega = arithmetic.matrix(rng.normal(size=(rows, rows)))
        Omega = Omega - Omega.T
        conjugated = known & {"projector", "symmetric", "antisymmetric"}
        return Omega @ X - X @ Omega if conjugated else Omega @ X
    if not mask.all() or known & {"positive", "nonnegative"} or rows == cols == 1:
        return _patterned_variation(known, mask, X, M, arithmetic)
    if _is_deficient(X, arithmetic):
        M = arithmetic.matrix(rng.normal(size=(rows, rows)))
        N = arithmetic.matrix(rng.normal(size=(cols, cols)))
        return M @ X + X @ (M.T if known & {"symmetric", "antisymmetric"} else N)
    if "symmetric" in known:
        return (M + M.T) / 2
    return (M - M.T) / 2 if "antisymmetric" in known else M


def _patterned_variation(
    known: frozenset[str], mask: Array, X: Array, M: Array, at: Arithmetic
) -> Array:
    if "unit_lower_triangular" in known:
        mask = np.tril(mask, -1)
    if known & {"nonnegative", "positive_semidefinite"}:
        mask = mask & (X != 0)  # on the boundary only what keeps to it on both sides
    if "symmetric" in known:
        M = (M + M.T) / 2
    if "antisymmetric" in known:
        M = (M - M.T) / 2
    return np.where(mask, M, at.zeros(*M.shape))


def _is_deficient(X: Array, at: Arithmetic) -> bool:
    return at.rank_split(X)[3] < min(X.shape)


def curve(x: Var, X: Array, dX: Array, arithmetic: Arithmetic = FLOAT64) -> Curve:
    """An admissible curve X(t) with X(0) = X and X'(0) = dX, for |t| small.

    dX must be a variation that x admits at X, such as `random_variation` gives.
    """
    known = VOCABULARY.closure(x.properties)
    at = arithmetic
    mask = _mask(known, *X.shape)

    def line(t: Any) -> Array:
        return X + t * dX

    if is_fixed(x) or not mask.all() or known & {"positive", "nonnegative"}:
        return line
    if "projector" in known:
        return _conjugation(X, dX @ X - X @ dX, at)
    if "orthonormal_columns" in known:
        if known & {"symmetric", "antisymmetric"}:
            return _conjugation(X, dX @ X.T / 2, at)
        P = at.eye(len(X)) - X @ X.T / 2
        Omega = P @ dX @ X.T
        Omega = Omega - Omega.T
        return lambda t: cayley(t * Omega, at) @ X
    if X.shape != (1, 1) and _is_deficient(X, at):
        return _fixed_rank(known, X, dX, at)
    return line


def cayley(Omega: Array, arithmetic: Arithmetic) -> Array:
    """(I − Ω/2)⁻¹(I + Ω/2), orthogonal for an antisymmetric Ω, I + Ω to first order."""
    E = arithmetic.eye(len(Omega))
    return arithmetic.inverse(E - Omega / 2) @ (E + Omega / 2)


def _conjugation(X: Array, Omega: Array, at: Arithmetic) -> Curve:
    def moved(t: Any) -> Array:
        Q = cayley(t * Omega, at)
        return Q @ X @ Q.T

    return moved


def _fixed_rank(known: frozenset[str], X: Array, dX: Array, at: Arithmetic) -> Curve:
    pinv = at.pinv(X)
    P, Q = X @ pinv, pinv @ X
    E, F = at.eye(len(P)), at.eye(len(Q))
    if known & {"symmetric", "antisymmetric"}:
        M = dX @ pinv - P @ dX @ pinv / 2
        sign = 1 if "symmetric" in known else -1

        def moved(t: Any) -> Array:
            Y = (E + t * M) @ X @ (E + t * M).T
            return (Y + sign * Y.T) / 2  # exactly, not to rounding error

        return moved
    return lambda t: (E + t * (dX @ pinv)) @ X @ (F + t * (pinv @ dX @ (F - Q)))
