"""Takes the adjoints of A ⊗ B in A and in B at products that are not formed."""

from __future__ import annotations

from mbp.expr.dims import Dim
from mbp.plan.values.blocks import across_blocks, cost_across, cost_within, within_blocks
from mbp.plan.values.graph import Graph
from mbp.plan.values.sums import without_identities
from mbp.plan.values.value import Form, Value, Word

_ACTIONS = (within_blocks, cost_within), (across_blocks, cost_across)
"""How the other factor acts on blocks, and what that costs, by the place of the kept factor."""


class FactorAdjoint:
    """The adjoint of A ↦ A ⊗ B, or of B ↦ A ⊗ B, at a product of matrices.

    `kept` is the place of the factor that the adjoint gives: 0 for A, 1 for B.
    """

    def __init__(self, graph: Graph, kept: int) -> None:
        self._graph = graph
        self._kept = kept

    def at(self, word: Word, B: Value, shape: tuple[Dim, Dim]) -> Word:
        """The adjoint of X ↦ X ⊗ B (or B ⊗ X) at G = A₁ ⋯ Aₙ; X has the given shape.

        With G = U Vᵀ it is U'(B V)'ᵀ, where B acts on its side of the rows of V and U' has what is
        left of them as its rows. Where G is not thin its outer Kronecker products go out first.
        """
        graph = self._graph
        word = without_identities(graph.rewritten(word))
        if all(letter.form is Form.DIAGONAL for letter in word):
            word = (graph.product(word),)
        if len(word) == 1:
            return (self._at_letter(word[0], B, shape),)
        cut = min(range(1, len(word)), key=lambda k: graph.size(word[k].rows))
        if graph.size(word[cut].rows) >= min(graph.size(word[0].rows), graph.size(word[-1].cols)):
            if self._goes_out(word[0], B.rows, 0):
                return self._past_first(word, B, shape)
            if self._goes_out(word[-1], B.cols, 1):
                return self._past_last(word, B, shape)
        return self._contracted(graph.product(word[:cut]), graph.product(word[cut:]), B, shape)

    def _at_letter(self, G: Value, B: Value, shape: tuple[Dim, Dim]) -> Value:
        graph = self._graph
        if G.form is Form.KRONECKER and self._other(G).shape == B.shape:
            weight = graph.inner(graph.dense(self._other(G)), graph.dense(B))
            return graph.scale(weight, self._own(G))
        if G.form is Form.DIAGONAL and B.rows == B.cols:
            return graph.diagonal(self._of_diagonal(graph.column(G), B, shape[0]))
        G, B = graph.dense(G), graph.dense(B)
        if self._kept == 0:
            return graph.make("kron_left", G, B, shape=shape)
        return graph.make("kron_right", B, G, shape=shape)

    def _of_diagonal(self, d: Value, B: Value, n: Dim) -> Value:
        """The diagonal of the adjoint at [d]: the blocks of d weighted with diag(B)."""
        graph = self._graph
        if self._kept == 0:
            return graph.product((graph.reshape(d, n, B.rows), graph.diagonal_of(B)))
        blocks = graph.reshape(d, B.rows, n)
        return graph.product((graph.transpose(blocks), graph.diagonal_of(B)))

    def _contracted(self, U: Value, W: Value, B: Value, shape: tuple[Dim, Dim]) -> Word:
        """The adjoint at U W, W of few rows; B is applied to the side where that costs less."""
        graph = self._graph
        act, cost = _ACTIONS[self._kept]
        U, V = graph.dense(U), graph.transpose(graph.dense(W))
        entries = 2.0 * graph.size(shape[0]) * graph.size(shape[1]) * graph.size(U.cols)
        on_right = cost(graph, B, V) + entries * graph.size(B.rows)
        on_left = cost(graph, graph.transpose(B), U) + entries * graph.size(B.cols)
        if on_right < on_left:
            V = act(graph, B, V)
        else:
            U = act(graph, graph.transpose(B), U)
        left, right = self._unfolded(U, shape[0]), self._unfolded(V, shape[1])
        return left, graph.transpose(right)

    def _unfolded(self, X: Value, n: Dim) -> Value:
        """X with the kept index of its rows as its rows, n of them."""
        graph = self._graph
        if self._kept == 0:
            return graph.with_rows(X, n)
        return graph.transpose(graph.with_cols(graph.transpose(X), n))

    def _goes_out(self, K: Value, n: Dim, axis: int) -> bool:
        """Whether a Kronecker product splits a side of G as the adjoint does."""
        return K.form is Form.KRONECKER and self._other(K).shape[axis] == n

    def _past_first(self, word: Word, B: Value, shape: tuple[Dim, Dim]) -> Word:
        """The adjoint at (P ⊗ Q) M: P times the one at M with QᵀB for B."""
        P, Q = self._own(word[0]), self._other(word[0])
        inner = self._graph.product((self._graph.transpose(Q), B))
        return (P, *self.at(word[1:], inner, (P.cols, shape[1])))

    def _past_last(self, word: Word, B: Value, shape: tuple[Dim, Dim]) -> Word:
        """The adjoint at M (R ⊗ S): the one at M with B Sᵀ for B, times R."""
        R, S = self._own(word[-1]), self._other(word[-1])
        inner = self._graph.product((B, self._graph.transpose(S)))
        return (*self.at(word[:-1], inner, (shape[0], R.rows)), R)

    def _own(self, K: Value) -> Value:
        return K.args[self._kept]

    def _other(self, K: Value) -> Value:
        return K.args[1 - self._kept]
