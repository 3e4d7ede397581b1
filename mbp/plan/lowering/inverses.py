"""Inverses and determinants, by what is known of a matrix: its rank, its spectrum, its range."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Det,
    Expr,
    Inner,
    Inverse,
    Kron,
    LogDet,
    Ones,
    Output,
    Product,
    Scale,
    Trace,
    Transpose,
    topological,
)
from mbp.expr.text import text
from mbp.invariants.infer import is_
from mbp.plan.definitions.kronecker import has_factor_frame
from mbp.plan.lowering.low_rank import LowRank, low_rank
from mbp.plan.lowering.operands import Operands
from mbp.plan.lowering.ranges import Ranges, by_classes, has_range, projects
from mbp.plan.lowering.spectra import Spectra
from mbp.plan.values.graph import Graph
from mbp.plan.values.sums import without_identities
from mbp.plan.values.value import Form, Value, Word


class Inverses:
    """The inverses and determinants of the matrices in `roots`.

    Those of `decomposed` come from their spectra, which are found anyway.
    """

    def __init__(
        self,
        graph: Graph,
        operands: Operands,
        spectra: Spectra,
        ranges: Ranges,
        roots: Iterable[Expr],
        decomposed: frozenset[Expr],
    ) -> None:
        self._graph = graph
        self._operands = operands
        self._spectra = spectra
        self._ranges = ranges
        self._decomposed = decomposed
        roots = tuple(roots)
        self._formed = _formed(roots)
        nodes = tuple(topological(*roots))
        ranged = {A.args[0] for A in nodes if isinstance(A, Output) and has_range(A)}
        self._ranged = ranged | {build.transpose(A) for A in ranged}
        inverted, measured = (
            {node.args[0] for node in nodes if isinstance(node, kinds)}
            for kinds in (Inverse, (Det, LogDet))
        )
        self._with_lu = inverted & measured
        self._low_ranks: dict[Expr, LowRank | None] = {}

    def of(self, A: Expr) -> Word:
        """A⁻¹ as a word."""
        if is_(A, "orthogonal"):
            return (self._operands.value(build.transpose(A)),)
        parts = None if A in self._decomposed else self._low_rank(A)
        if parts is not None:
            return (self._through_rank(parts, is_(A, "symmetric")),)
        if self._has_spectrum(A):
            return self._spectra.inverse(A)
        X = self._ranged_factor(A)
        if X is not None:
            return self._ranges.of(X).gram_inverse
        v, is_definite = self._operands.value(A), is_(A, "positive_definite")
        return (self._graph.invert(v, is_definite, _triangle(A), A in self._with_lu),)

    def is_applied(self, inverse: Inverse) -> bool:
        """Whether the inverse is applied to what it multiplies, not formed first."""
        A = inverse.args[0]
        is_word = self._low_rank(A) is not None or self._ranged_factor(A) is not None
        return is_word or self._has_spectrum(A) or inverse not in self._formed

    def determinant(self, node: Expr) -> Value:
        """det A, or log |det A| for a `LogDet`."""
        graph, A = self._graph, node.args[0]
        if self._has_spectrum(A):
            return self._of_pivots(node, graph.column(self._spectra.of(A).lam))
        parts = self._low_rank(A)
        if parts is not None:
            if isinstance(node, Det):
                whole = build.scale(build.det(parts.D), build.det(parts.core))
            else:
                whole = build.add(build.logdet(parts.D), build.logdet(parts.core))
            return self._operands.value(whole)
        match node:
            case Det(args=(Kron(args=(X, Y)),)) if X.is_square and Y.is_square:
                return self._operands.value(_determinant_of_factors(X, Y))
        v, name = self._operands.value(A), "det" if isinstance(node, Det) else "logdet"
        if v.form is Form.DIAGONAL or _triangle(A):
            return self._of_pivots(node, graph.diagonal_of(v))
        if name == "logdet" and is_(A, "positive_definite"):
            logs = graph.map("log", graph.diagonal_of(graph.cholesky(v)))
            return graph.scale(graph.number(sp.Integer(2)), graph.sum(logs))
        return graph.determinant(name, v, A in self._with_lu)

    def _of_pivots(self, node: Expr, pivots: Value) -> Value:
        """The determinant or its logarithm from a column of what det A is the product of."""
        graph = self._graph
        if isinstance(node, Det):
            return graph.make("product_of", pivots, shape=(ONE, ONE))
        return graph.sum(graph.map("log", graph.absolute(pivots)))

    def _has_spectrum(self, A: Expr) -> bool:
        """Whether the spectrum of A is found anyway, or follows from those of smaller matrices."""
        return A in self._decomposed or has_factor_frame(A)

    def _ranged_factor(self, A: Expr) -> Expr | None:
        """X of A = XᵀX, if the range of X is found anyway."""
        if not isinstance(A, Product) or len(A.args) % 2:
            return None
        X = build.matmul(*A.args[len(A.args) // 2 :])
        is_gram = A is build.matmul(build.transpose(X), X)
        return X if is_gram and X in self._ranged else None

    def _low_rank(self, A: Expr) -> LowRank | None:
        if A not in self._low_ranks:
            found = None if A.is_scalar else low_rank(self._graph, A, self._frame)
            self._low_ranks[A] = found
            if found is not None and A in self._with_lu:
                self._with_lu.add(found.core)
        return self._low_ranks[A]

    def _frame(self, P: Output) -> tuple[Expr, ...]:
        """Q, N, Qᵀ of a projector Π_A = Q N Qᵀ whose A (m×d) has fewer columns than rows.

        Q is m×d and N d×d, with zeros where A has more columns than rows after all. Those of a
        partition are E, (EᵀE)⁻¹, Eᵀ.
        """
        A, word, graph = P.args[0], by_classes(P), self._graph
        if word is not None:
            return word.args
        if not projects(P) or graph.size(A.cols) >= graph.size(A.rows):
            return (P,)
        Q, N, _ = graph.in_full(self._ranges.of(A).projector)
        Q, N = (graph.make("padded", X, shape=X.shape) for X in (Q, N))
        named = self._operands.named
        frame, middle = named(f"Q({text(A)})", Q), named(f"N({text(A)})", N)
        return frame, middle, build.transpose(frame)

    def _through_rank(self, parts: LowRank, is_symmetric: bool) -> Value:
        """(D + U M V)⁻¹ as one letter."""
        graph, value = self._graph, self._operands.value
        U, M, V = (value(X) for X in (parts.U, parts.M, parts.V))
        inverse, core = value(build.inv(parts.D)), self.of(parts.core)
        letter = graph.invert_low_rank(inverse, without_identities((U, *core, M, V)))
        if is_symmetric:
            graph.symmetric.add(letter)
        graph.replace((letter, U), (inverse, U, *core))
        return letter


def _determinant_of_factors(X: Expr, Y: Expr) -> Expr:
    """det(X ⊗ Y) = det(X)^q det(Y)^p, X p×p and Y q×q (Matrix Cookbook (516))."""
    of_X = build.power(build.det(X), build.dim_size(Y.rows))
    of_Y = build.power(build.det(Y), build.dim_size(X.rows))
    return build.scale(of_X, of_Y)


def _triangle(A: Expr) -> str | None:
    """On which side of the diagonal a triangular A lies."""
    return next((side for side in ("lower", "upper") if is_(A, f"{side}_triangular")), None)


def _formed(roots: tuple[Expr, ...]) -> frozenset[Expr]:
    """The inverses that some expression needs as a matrix, not only applied to another."""
    formed: set[Expr] = set()

    def note(A: Expr) -> None:
        if isinstance(A, Scale | Transpose):
            note(A.args[-1])
        elif isinstance(A, Inverse):
            formed.add(A)

    for root in roots:
        note(root)
    for node in topological(*roots):
        is_total = isinstance(node, Inner) and isinstance(node.args[0], Ones)
        if is_total or isinstance(node, Product | Trace | Scale | Transpose | Kron):
            continue
        for arg in node.args:
            note(arg)
    return frozenset(formed)
