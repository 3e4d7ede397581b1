"""Projectors onto ranges and generalised inverses, as words of what they are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sympy as sp

from mbp.decomposition import outputs_of
from mbp.expr import build
from mbp.expr.dims import ONE, Dim
from mbp.expr.nodes import Expr, Output, Product, Sum, Var, fold, topological
from mbp.expr.text import text
from mbp.invariants.infer import is_
from mbp.plan.lowering.operands import Operands
from mbp.plan.values.graph import Graph, Spelling
from mbp.plan.values.value import Form, Value, Word
from mbp.rulebook import RULEBOOK
from mbp.simplify import normal, readable


@dataclass(frozen=True)
class Range:
    """Words for Π_A, A⁺, the projector Π_Aᵀ onto the row space and (AᵀA)⁺, and the rank of A."""

    projector: Word
    pinv: Word
    row_projector: Word
    gram_inverse: Word
    rank: Value

    def word(self, node: Output) -> Word:
        """The word of Π_A or of A⁺, whichever the node is."""
        return self.projector if projects(node) else self.pinv

    def transposed(self, graph: Graph) -> Range:
        """The range of Aᵀ."""
        pinv = graph.mirrored(self.pinv)
        return Range(self.row_projector, pinv, self.projector, (*pinv, *self.pinv), self.rank)


class Ranges:
    """The ranges of one graph, each found once, that of Aᵀ with that of A.

    That of a symmetric A comes from its eigenvectors. Another's comes from an orthonormal frame
    where one of `outputs`, the layer's own, is its generalised inverse, or if `forms_frames`;
    otherwise by least squares where these do.
    """

    def __init__(
        self, graph: Graph, operands: Operands, outputs: Iterable[Expr], forms_frames: bool
    ) -> None:
        self._graph = graph
        self._operands = operands
        self._inverted = {A.args[0] for A in topological(*outputs) if inverts(A)}
        self._forms_frames = forms_frames
        self._found: dict[Expr, Range] = {}
        self._fitted: list[tuple[Value, Value, Value, Range]] = []

    def of(self, A: Expr) -> Range:
        """The range of A."""
        return self._of(A, self._graph.dense(self._operands.value(A)))

    def _of(self, A: Expr, formed: Value) -> Range:
        """The range of A, which is computed as `formed`."""
        if A not in self._found:
            turned, graph = build.transpose(A), self._graph
            is_wide = graph.size(A.rows) < graph.size(A.cols)
            if turned in self._found or (is_wide and not is_(A, "symmetric")):
                other = self._of(turned, graph.transpose(formed))
                self._found[A] = other.transposed(graph)
            else:
                self._found[A] = self._new(A, formed)
        return self._found[A]

    def form_frames(self) -> None:
        """Takes the frame of each range for all that is lowered from now on."""
        self._forms_frames = True
        for P, X, Z, framed in self._fitted:
            self._graph.spell(P, Spelling(framed.projector))
            self._graph.spell(X, Spelling(framed.pinv))
            self._graph.spell(Z, Spelling(framed.row_projector))
            self._graph.replace((X, self._graph.transpose(X)), framed.gram_inverse)

    def _new(self, A: Expr, formed: Value) -> Range:
        if is_(A, "symmetric"):
            return self._spectral(A, formed)
        framed = self._framed(A, formed)
        takes_frame = self._forms_frames or self._is_inverted(A)
        return framed if takes_frame else self._by_least_squares(A, formed, framed)

    def _is_inverted(self, A: Expr) -> bool:
        return A in self._inverted or build.transpose(A) in self._inverted

    def _spectral(self, A: Expr, formed: Value) -> Range:
        """The range of a symmetric A from its eigenvectors there: Π = V Vᵀ, A⁺ = V [μ] Vᵀ."""
        graph = self._graph
        call = graph.make("range_frame", formed, shape=(ONE, ONE), form=Form.CALL)
        r = _rank_of(A)
        graph.suppose(r, max(1, graph.size(A.rows) // _RANK_SHARE))
        V = graph.make("item", call, data=(0, "V"), shape=(A.rows, r))
        raw = graph.make("item", call, data=(1, "mu"), shape=(r, r), form=Form.RAW)
        mu = graph.make("column", raw, shape=(r, r), form=Form.DIAGONAL)
        rank = graph.make("item", call, data=(2, "rank"), shape=(ONE, ONE))
        Vt = graph.transpose(V)
        return Range((V, Vt), (V, mu, Vt), (V, Vt), (V, mu, mu, Vt), rank)

    def _framed(self, A: Expr, formed: Value) -> Range:
        """The range from an orthonormal frame: Π = Q N Qᵀ, A⁺ = M Qᵀ, Π_Aᵀ = V Vᵀ."""
        graph = self._graph
        p = min(A.shape, key=graph.size)
        call = graph.make(
            "orthogonal_frame", formed, data=(self._is_inverted(A),), shape=(ONE, ONE),
            form=Form.CALL,
        )  # fmt: skip
        columns = (A.cols, p)
        shapes = {"Q": (A.rows, p), "N": (p, p), "M": columns, "V": columns, "rank": (ONE, ONE)}
        Q, N, M, V, rank = self._items(call, shapes)
        graph.symmetric.add(N)
        Qt = graph.transpose(Q)
        if self._is_inverted(A):
            graph.note_orthonormal(Q)
        self._scaled(formed, M, (Q, N))  # A M = Q N
        Mt, Vt = graph.transpose(M), graph.transpose(V)
        return Range((Q, N, Qt), (M, Qt), (V, Vt), (M, Mt), rank)

    def _items(self, call: Value, shapes: Mapping[str, tuple[Dim, Dim]]) -> Iterator[Value]:
        """What a call returns, by name."""
        for k, (name, shape) in enumerate(shapes.items()):
            yield self._graph.make("item", call, data=(k, name), shape=shape)

    def _by_least_squares(self, A: Expr, formed: Value, framed: Range) -> Range:
        """The range by least squares: A M K = Π, M K = A⁺ for K = (A M)⁺, A M never formed.

        A product that applies neither to few columns takes the frame.
        """
        graph = self._graph
        p = min(A.shape, key=graph.size)
        call = graph.make("right_frame", formed, shape=(ONE, ONE), form=Form.CALL)
        shapes = {"V": (A.cols, p), "mu": (p, ONE), "counts": (p, ONE)}
        V, mu, counts = self._items(call, shapes)
        M = graph.product((V, graph.diagonal(mu)))
        K = graph.pinv(formed, M)
        P = graph.make("range_projector", formed, shape=(A.rows, A.rows))
        X = graph.make("range_pinv", formed, shape=(A.cols, A.rows))
        Z = graph.make("row_projector", formed, shape=(A.cols, A.cols))
        graph.symmetric |= {P, Z}
        forming = 4.0 * graph.size(A.rows) * graph.size(p) ** 2
        fitted = (formed, M, K)
        graph.spell(
            P, Spelling(fitted), Spelling(graph.mirrored(fitted)),
            Spelling(framed.projector, forming),
        )  # fmt: skip
        graph.spell(X, Spelling((M, K)), Spelling(framed.pinv, forming))
        graph.spell(Z, Spelling((V, graph.diagonal(counts), graph.transpose(V))))
        gram_inverse = X, graph.transpose(X)
        graph.replace(gram_inverse, (M, graph.transpose(M)))
        self._scaled(formed, X, (P,))  # A A⁺ = Π
        self._fitted.append((P, X, Z, framed))
        return Range((P,), (X,), (Z,), gram_inverse, graph.sum(counts))

    def _scaled(self, formed: Value, right: Value, product: Word) -> None:
        """Notes Y B = D⁻¹ A B for A = D Y, where A B is the product of other letters."""
        if formed.op == "scale_rows":
            D, Y = formed.args
            inverse = self._graph.diagonal(self._graph.reciprocal(self._graph.column(D)))
            self._graph.replace((Y, right), (inverse, *product))


def of_factors(e: Expr) -> Expr:
    """e with the ranges in it those of factors: (AᵀA)⁺ as A⁺A⁺ᵀ, Π of A⁺ᵀ as that of A.

    The product AᵀA has the square of A's condition.
    """

    def rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
        same = build.rebuild(node, args)
        if not (isinstance(same, Output) and has_range(same)) or isinstance(same.args[0], Var):
            return same
        word = readable(normal(same))
        return same if isinstance(word, Sum) else word

    return fold(e, rebuilt)


def by_classes(node: Output) -> Expr | None:
    """The projector onto the range of E or of D E, or their generalised inverse, by class totals.

    E is a partition and D a diagonal of positive entries.
    """
    if not has_range(node):
        return None
    *weights, E = node.args[0].args if isinstance(node.args[0], Product) else node.args
    if not is_(E, "partition") or not all(is_(D, "diagonal") for D in weights):
        return None
    word = normal(node)
    outputs = (A for A in topological(word) if isinstance(A, Output))
    return None if any(map(has_range, outputs)) else _for_empty_classes(word, E)


def _for_empty_classes(word: Expr, E: Expr) -> Expr:
    """The word with 1/n for n rows in a class and 1 for none, where E has a column of zeros."""
    one = build.ones(E.cols, 1)
    rows = build.matmul(build.transpose(E), build.ones(E.rows, 1))
    at_least_one = build.add(one, build.apply("relu", build.subtract(rows, one)))
    inverse = build.number(-1)
    counted = {build.power(rows, inverse): build.power(at_least_one, inverse)}
    return build.substitute(word, counted)


def has_range(node: Output) -> bool:
    """Whether the node follows from the range of its operand: Π_A or A⁺."""
    return projects(node) or inverts(node)


def inverts(node: Expr) -> bool:
    """Whether the node is the generalised inverse of its operand."""
    return isinstance(node, Output) and outputs_of("generalized_inverse", *node.args[:1])[0] is node


def projects(node: Output) -> bool:
    """Whether the node is the orthogonal projector onto its operand's range, A A⁺ by its rule."""
    forward = RULEBOOK.forward(node.rule)
    if forward is None or forward.function is not None or len(node.args) != 1:
        return False
    (A,) = RULEBOOK.decompositions[node.rule].inputs
    return forward.expressions == (build.matmul(A, *outputs_of("generalized_inverse", A)),)


def _rank_of(A: Expr) -> sp.Symbol:
    """The rank of A as a dimension that is known at run time only."""
    return sp.Symbol(f"rank({text(A)})", integer=True, positive=True)


_RANK_SHARE = 8
"""A square matrix whose range matters is taken to have this many times its rank in rows."""
