"""Spectra of symmetric matrices, each found once, and the matrix functions taken from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sympy as sp

from mbp.errors import MbpError
from mbp.expr import build, scalar
from mbp.expr.dims import ONE
from mbp.expr.nodes import Expr, Eye, Frechet, Inverse, Kron, Product, Scale, Sum
from mbp.invariants.infer import is_
from mbp.plan.definitions.kronecker import kronecker_sum
from mbp.plan.lowering import divided
from mbp.plan.lowering.operands import Operands
from mbp.plan.values.graph import Graph
from mbp.plan.values.sums import Term, assembled
from mbp.plan.values.value import Form, Value, Word


class Spectrum(NamedTuple):
    """[λ] and U of A = U [λ] Uᵀ, all n×n; no U where it is I."""

    lam: Value
    U: Value | None

    def turned(self, graph: Graph, core: Value) -> Word:
        """The word U core Uᵀ."""
        return (core,) if self.U is None else (self.U, core, graph.transpose(self.U))


class Spectra:
    """The spectra of one graph; those of a matrix of spectra known follow from them.

    `by_svd` are matrices X whose XᵀX takes its spectrum from the singular values of X, not from
    XᵀX itself.
    """

    def __init__(self, graph: Graph, operands: Operands, by_svd: frozenset[Expr]) -> None:
        self._graph = graph
        self._operands = operands
        self._by_svd = by_svd
        self._found: dict[Expr, Spectrum] = {}

    def of(self, A: Expr) -> Spectrum:
        """The spectrum of a symmetric A."""
        if A not in self._found:
            self._found[A] = self._new(A)
        return self._found[A]

    def inverse(self, A: Expr) -> Word:
        """A⁻¹ = U [1/λ] Uᵀ."""
        graph, spectrum = self._graph, self.of(A)
        reciprocals = graph.reciprocal(graph.column(spectrum.lam))
        return spectrum.turned(graph, graph.diagonal(reciprocals))

    def function(self, node: Frechet) -> Word:
        """U (kernel ∘ UᵀXU) Uᵀ as factors (`Frechet`)."""
        graph, n = self._graph, node.rows
        spectrum = self.of(node.args[0])
        at = graph.column(spectrum.lam)
        symbols = self._parameters(node.parameters)
        symbols[divided.ZERO] = graph.make("zeros", shape=(ONE, ONE))
        if node.order == 0:
            column = graph.entrywise(divided.value(node.g), {scalar.X: at, **symbols}, (n, ONE))
            return spectrum.turned(graph, graph.diagonal(column))
        inner = [self._in_frame(X, spectrum.U) for X in node.directions]
        if node.order == 1:
            if inner[0].form is Form.DIAGONAL:
                slope = divided.slope(node.g)
                column = graph.entrywise(slope, {scalar.X: at, **symbols}, (n, ONE))
                return spectrum.turned(graph, graph.hadamard(graph.diagonal(column), inner[0]))
            points = {divided.X1: at, divided.X2: graph.transpose(at)}
            kernel = graph.entrywise(divided.first(node.g), {**points, **symbols}, (n, n))
            graph.parity[kernel] = 1
            return spectrum.turned(graph, graph.hadamard(kernel, inner[0]))
        if node.order == 2:
            kernel = divided.second(node.g)
            used = [c for c in symbols if kernel.has(c)]
            paths = graph.make(
                "paths", at, *(graph.dense(X) for X in inner), *(symbols[c] for c in used),
                data=(kernel, tuple(used)), shape=(n, n),
            )  # fmt: skip
            return spectrum.turned(graph, paths)
        raise MbpError(f"no target computes derivatives of order {node.order} of {node.g}")

    def singular_frame(self, X: Expr) -> tuple[Value, Value]:
        """[σ] and all columns of V, both n×n, whichever shape X (m×n) has."""
        graph = self._graph
        n = X.cols
        operand = graph.dense(self._operands.value(X))
        call = graph.make("svd_frame", operand, shape=(ONE, ONE), form=Form.CALL)
        XV = graph.make("item", call, data=(0, "US"), shape=X.shape)
        s = graph.make("item", call, data=(1, "s"), shape=(n, n), form=Form.RAW)
        V = graph.make("item", call, data=(2, "V"), shape=(n, n))
        graph.know((operand, V), XV)
        sigma = graph.make("column", s, shape=(n, n), form=Form.DIAGONAL)
        return sigma, V

    def _parameters(self, parameters: Iterable[Expr]) -> dict[sp.Symbol, Value]:
        return {scalar.parameter(k): self._operands.value(c) for k, c in enumerate(parameters)}

    def _in_frame(self, X: Expr, U: Value | None) -> Value:
        """UᵀXU."""
        if U is None:
            return self._operands.value(X)
        terms = self._operands.terms(X)
        if len(terms) > 1:
            terms = [Term((self._operands.value(X),))]
        turned = [Term((self._graph.transpose(U), *t.word, U), t.number, t.scalars) for t in terms]
        return assembled(self._graph, turned, X.shape)

    def _new(self, A: Expr) -> Spectrum:
        graph, value = self._graph, self._operands.value
        if A.is_scalar:
            return Spectrum(graph.diagonal(value(A)), None)
        if is_(A, "diagonal"):
            return Spectrum(value(A), None)
        split = kronecker_sum(A)
        if split is not None:
            return self._of_factors(*split, divided.X1 + divided.X2)
        match A:
            case Kron(args=(X, Y)) if is_(X, "symmetric") and is_(Y, "symmetric"):
                return self._of_factors(X, Y, divided.X1 * divided.X2)
            case Frechet() if A.order == 0:
                lam, U = self.of(A.args[0])
                points = {scalar.X: graph.column(lam), **self._parameters(A.parameters)}
                return Spectrum(graph.diagonal(graph.entrywise(A.g, points, (A.rows, ONE))), U)
            case Inverse(args=(X,)):
                lam, U = self.of(X)
                return Spectrum(graph.diagonal(graph.reciprocal(graph.column(lam))), U)
            case Scale(args=(c, X)):
                lam, U = self.of(X)
                return Spectrum(graph.scale(value(c), lam), U)
            case Sum():
                shifts = [term for term in A.args if _is_multiple_of_eye(term)]
                rest = [term for term in A.args if term not in shifts]
                if shifts:
                    lam, U = self.of(rest[0] if len(rest) == 1 else Sum(*rest))
                    return Spectrum(graph.add(lam, *(value(term) for term in shifts)), U)
            case Product(args=(left, X)) if X in self._by_svd and left is build.transpose(X):
                sigma, V = self.singular_frame(X)
                return Spectrum(graph.hadamard(sigma, sigma), V)
        return self._decomposed(A)

    def _decomposed(self, A: Expr) -> Spectrum:
        """The spectrum of A from an eigenproblem of its own."""
        graph = self._graph
        operand = graph.dense(self._operands.value(A))
        call = graph.make("eigh", operand, shape=A.shape, form=Form.CALL)
        q = graph.make("item", call, data=(0,), shape=A.shape, form=Form.RAW)
        lam = graph.make("column", q, shape=A.shape, form=Form.DIAGONAL)
        if is_(A, "positive_semidefinite"):
            lam = graph.make("nonnegative", lam, shape=A.shape, form=Form.DIAGONAL)
        U = graph.make("item", call, data=(1,), shape=A.shape)
        graph.note_orthonormal(U)
        return Spectrum(lam, U)

    def _of_factors(self, X: Expr, Y: Expr, joined: sp.Expr) -> Spectrum:
        """The spectrum of X ⊗ Y, of eigenvalues x_i y_j, or of X ⊗ I + I ⊗ Y, of x_i + y_j.

        Both have the eigenvectors U ⊗ V of X and Y (Horn and Johnson, Topics, 4.2.12, 4.4.5).
        """
        graph = self._graph
        (x, U), (y, V) = self.of(X), self.of(Y)
        points = {divided.X1: graph.column(x), divided.X2: graph.transpose(graph.column(y))}
        table = graph.entrywise(joined, points, (X.rows, Y.rows))
        n = sp.expand(X.rows * Y.rows)
        lam = graph.diagonal(graph.reshape(table, n, ONE))
        if U is None and V is None:
            return Spectrum(lam, None)
        U, V = U or graph.eye(X.rows), V or graph.eye(Y.rows)
        frame = graph.kron(U, V)
        for F in (U, V, frame):
            graph.note_orthonormal(F)
        return Spectrum(lam, frame)


def _is_multiple_of_eye(A: Expr) -> bool:
    return isinstance(A.args[1] if isinstance(A, Scale) else A, Eye)
