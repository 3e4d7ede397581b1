"""Lowers expressions to values: one rule for each kind of node."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from mbp.errors import MbpError
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
    topological,
)
from mbp.invariants.infer import declared, is_
from mbp.plan.lowering.calls import called, expression, is_eigh, is_svd, position
from mbp.plan.lowering.inverses import Inverses
from mbp.plan.lowering.kernels import kernel
from mbp.plan.lowering.norms import norm_power
from mbp.plan.lowering.powers import in_powers_only, in_products, integer_power, is_cheap_along
from mbp.plan.lowering.ranges import Ranges, by_classes, has_range, projects
from mbp.plan.lowering.spectra import Spectra
from mbp.plan.spelling.complements import complement, is_range
from mbp.plan.spelling.passes import Passes
from mbp.plan.spelling.residual import by_residuals
from mbp.plan.values.factor_adjoint import FactorAdjoint
from mbp.plan.values.graph import Graph
from mbp.plan.values.sums import Term, assembled, pays_to_distribute, with_diagonals_gathered
from mbp.plan.values.value import APPLIED_SQUARE, Form, Value, Word


class Lowering:
    """Lowers expressions into one graph, so that whatever they share is computed once.

    `vectors` are the variables that the caller passes as the vector of a diagonal; `by_svd` are
    matrices X whose XᵀX takes its spectrum from the singular values of X, not from XᵀX itself.
    With `forms_frames` an orthonormal frame of each range is formed, where otherwise least squares
    do what they can. `norms` are squares of norms, in normal form, whose roots have the derivative
    0 at 0.
    """

    def __init__(
        self,
        graph: Graph,
        passes: Passes,
        vectors: frozenset[Var],
        by_svd: frozenset[Expr],
        forms_frames: bool,
        norms: frozenset[Expr],
    ) -> None:
        self.graph = graph
        self._passes = passes
        roots = passes.roots
        self.framed = by_svd - {
            A.args[0]
            for A in topological(*roots)
            if isinstance(A, Output) and is_svd(A) and position(A) == 0
        }
        """Those of `by_svd` of which only σ and V are used: they may be wide."""
        self._vectors = vectors
        self._norms = norms
        self.ranges = Ranges(graph, self, passes.outputs, forms_frames)
        self._nodes = frozenset(topological(*roots))
        self._done: dict[Expr, Value] = {}
        self._in_frame_only = _in_frame_only(roots)
        self._in_powers_only = in_powers_only(roots)
        decomposed = _decomposed(passes.outputs) - self._in_powers_only
        self._spectra = Spectra(graph, self, by_svd)
        self._inverses = Inverses(graph, self, self._spectra, self.ranges, roots, decomposed)
        self._words: dict[Expr, list[Term]] = {}
        self.hints: dict[Value, str] = {}
        """What values are called where they are given a name."""

    def value(self, node: Expr) -> Value:
        """The value of an expression; raises MbpError for what no target computes."""
        if node not in self._done:
            self._done[node] = self._lower(node)
        return self._done[node]

    def named(self, name: str, value: Value) -> Var:
        """A variable that stands for a value in expressions."""
        x = build.var(name, *value.shape)
        self._done[x] = value
        return x

    # --- one rule a node --------------------------------------------------------------------

    def _lower(self, node: Expr) -> Value:
        graph = self.graph
        match node:
            case Var():
                return self._read(node, node.name)
            case Variation(args=(Var() as x,)):
                return self._read(x, f"d{x.name}", tangent=True)
            case Named(args=(X,)):
                value = self.value(X)
                self.hints.setdefault(value, node.name)
                return value
            case Number(data=(value,)):
                return graph.number(value)
            case DimSize(data=(n,)):
                return graph.make("size", data=(n,), shape=(ONE, ONE), form=Form.NUMBER)
            case Eye(data=(n,)):
                return graph.eye(n)
            case Ones() | Zeros():
                return graph.make("ones" if isinstance(node, Ones) else "zeros", shape=node.shape)
            case Sum() | Product() | Frechet() | Kron() | KronLeft() | KronRight() | Scale():
                return assembled(graph, self._new_terms(node), node.shape)
            case Part(data=(("sym" | "skew"),)):
                return assembled(graph, self._new_terms(node), node.shape)
            case Transpose(args=(X,)):
                return self.value(X) if is_(X, "symmetric") else graph.transpose(self.value(X))
            case Hadamard():
                return graph.hadamard(*(self.value(factor) for factor in node.args))
            case Map():
                return self._map(node)
            case Inverse(args=(A,)):
                inverse = graph.product(self._inverses.of(A))
                return inverse if inverse.form is Form.DIAGONAL else graph.dense(inverse)
            case Det() | LogDet():
                return self._inverses.determinant(node)
            case Trace(args=(Output() as P,)) if projects(P) and by_classes(P) is None:
                return self.ranges.of(P.args[0]).rank
            case Trace(args=(X,)):
                return self._trace(X)
            case Inner(args=(Eye(), X)) | Inner(args=(X, Eye())):
                return self._trace(X)
            case Inner():
                return self._inner(node)
            case Diag(args=(v,)):
                return graph.diagonal(self.value(v))
            case DiagVec(args=(A,)):
                return self._diagonal_of(A)
            case Part(data=(kind,), args=(A,)):
                return self._part(kind, A)
            case Stack(data=(axis,)):
                blocks = [graph.block(self.value(block)) for block in node.args]
                return graph.make("stack", *blocks, data=(axis,), shape=node.shape)
            case Vec(args=(A,)):
                return graph.reshape(graph.transpose(self.value(A)), *node.shape)
            case Unvec(args=(x,)):
                return graph.transpose(graph.reshape(self.value(x), node.cols, node.rows))
            case Output():
                return self._output(node)
            case Kernel():
                return kernel(graph, node, [self.value(operand) for operand in node.args])
        raise MbpError(f"no target computes {node} yet")

    # --- leaves ---------------------------------------------------------------------------

    def _read(self, x: Var, name: str, tangent: bool = False) -> Value:
        """A variable as the caller passes it; only its declared structure is read."""
        graph = self.graph
        if x.is_scalar and "constant" in x.properties:
            return graph.make("input", data=(name,), shape=x.shape, form=Form.NUMBER)
        if x in self._vectors:
            raw = graph.make("input", data=(name,), shape=x.shape, form=Form.RAW)
            return graph.make("column", raw, shape=x.shape, form=Form.DIAGONAL)
        if x.cols == ONE:
            raw = graph.make("input", data=(name,), shape=x.shape, form=Form.RAW)
            return graph.make("column", raw, shape=x.shape)
        raw = graph.make("input", data=(name,), shape=x.shape)
        properties = declared(x)
        if "unit_lower_triangular" in properties and not tangent:
            strict = graph.make("part", raw, data=("strictly_lower",), shape=x.shape)
            return graph.add(strict, graph.eye(x.rows))
        if "partition" in properties and not tangent:
            return graph.partition(raw)
        for kind, names in _STRUCTURE.items():
            if properties.intersection(names):
                return graph.part(kind, raw)
        return raw

    # --- products and inverses --------------------------------------------------------------

    def terms(self, node: Expr) -> list[Term]:
        """`node` as a sum of words; a product is distributed over a sum where that is cheaper."""
        if node not in self._words:
            whole = node in self._passes.residuals
            self._words[node] = [Term((self.value(node),))] if whole else self._new_terms(node)
        return self._words[node]

    def _new_terms(self, node: Expr) -> list[Term]:
        graph = self.graph
        match node:
            case Sum() if (found := self._complement(node)) is not None:
                return [found]
            case Sum():
                return with_diagonals_gathered(
                    [term for arg in node.args for term in self.terms(arg)]
                )
            case Scale(args=(c, X)):
                number, factors = build.scalar_factors(c)
                if X.is_scalar:
                    factors, X = [*factors, X], build.number(1)
                scalars = tuple(self.value(factor) for factor in factors)
                inner = self.terms(X) if X.args else [Term((self.value(X),))]
                return [term.scaled(number, scalars) for term in inner]
            case Transpose(args=(X,)) if is_(X, "symmetric"):
                return self.terms(X)
            case Transpose(args=(Sum() | Product() | Frechet() | Kron() | Output() as X,)):
                return [term.mirrored(graph) for term in self.terms(X)]
            case Transpose(args=(Inverse() as X,)) if self._inverses.is_applied(X):
                return [Term(graph.mirrored(self._inverses.of(X.args[0])))]
            case Inverse(args=(A,)) if self._inverses.is_applied(node):
                return [Term(self._inverses.of(A))]
            case Frechet() if node.args[0] in self._in_powers_only and node.order == 0:
                return [Term(self._power(node))]
            case Frechet() if node.args[0] in self._in_powers_only and is_cheap_along(node):
                return self.terms(in_products(node))
            case Frechet():
                return [Term(self._spectra.function(node))]
            case Output() if (terms := self._output_terms(node)) is not None:
                return terms
            case Product():
                return self._product_terms(node)
            case Kron(args=(A, B)):
                return [Term((graph.kron(self._letter(A), self._letter(B)),))]
            case KronLeft(args=(G, B)):
                return self._factor_adjoint(0, G, B, node.shape)
            case KronRight(args=(A, G)):
                return self._factor_adjoint(1, G, A, node.shape)
            case Part(data=("sym",), args=(Frechet() as X,)) if X.order == 1:
                direction = self._symmetric_part(X.directions[0])
                return self.terms(build.frechet(X.g, X.args[0], X.parameters, direction))
            case Part(data=(("sym" | "skew") as kind,), args=(X,)):
                return with_diagonals_gathered(
                    [part for term in self.terms(X) for part in term.parts(graph, kind)]
                )
        value = self.value(node)
        is_column = value.cols == ONE and not value.is_scalar
        if value.op == "add" and is_column and len({v.shape for v in value.args}) == 1:
            return [Term((term,)) for term in value.args]
        return [] if value.op == "zeros" else [Term((value,))]

    def _letter(self, X: Expr) -> Value:
        """X as one letter of a word, an inverse as one that is applied."""
        terms = self.terms(X)
        word = terms[0].word if len(terms) == 1 and terms[0] == Term(terms[0].word[:1]) else ()
        return word[0] if word and self.graph.in_full(word) == word else self.value(X)

    def _factor_adjoint(self, kept: int, G: Expr, B: Expr, shape: tuple[Dim, Dim]) -> list[Term]:
        """The adjoint of A ⊗ B in A (`kept` 0) or B at each term of G, those formed as one."""
        adjoint, other = FactorAdjoint(self.graph, kept), self._letter(B)
        terms = self.terms(G)
        formed = [t for t in terms if len(t.word) == 1 and t.word[0].form is Form.MATRIX]
        if len(formed) > 1:
            whole = Term((assembled(self.graph, formed, G.shape),))
            terms = [*(t for t in terms if t not in formed), whole]
        return [Term(adjoint.at(t.word, other, shape), t.number, t.scalars) for t in terms]

    def _complement(self, node: Expr) -> Term | None:
        """±(I − Π) as one letter, where it is not to be expanded."""
        found = complement(node)
        if found is None or found[1] not in self._passes.complemented:
            return None
        sign, P = found
        return Term((self.graph.complement(self._projector(P)),), sp.Integer(sign))

    def _projector(self, P: Expr) -> Word:
        """The word of the projector onto a range."""
        return self.ranges.of(P.args[0]).projector

    def _symmetric_part(self, X: Expr) -> Expr:
        """sym(X), of X = A M Aᵀ as A sym(M) Aᵀ where sym(M) is computed anyway."""
        if isinstance(X, Product) and len(X.args) == 3:
            A, M, B = X.args
            if B is build.transpose(A) and build.sym(M) in self._nodes:
                return build.matmul(A, build.sym(M), B)
        return build.sym(X)

    def _product_terms(self, node: Product) -> list[Term]:
        sign, factors = 1, node.args
        if node not in self._passes.residuals:
            sign, factors = by_residuals(factors, self._passes.projected)
        sums = (F for F in factors if F not in self._passes.residuals)
        nested = next(filter(_is_nested, sums), None)
        if sign == 1 and nested is not None and ONE in node.shape:
            k = factors.index(nested)
            around = factors[:k], factors[k + 1 :]
            products = (build.matmul(*around[0], term, *around[1]) for term in nested.args)
            return [term for product in products for term in self.terms(product)]
        terms = [Term((), sp.Integer(sign))]
        for k, factor in enumerate(factors):
            options = self.terms(factor)
            after = self._word_of(factors[k + 1 :])
            before = terms[0].word if terms else ()
            if len(options) > 1 and not pays_to_distribute(
                self.graph, before, options, factor.shape, after
            ):
                options = [Term((self.value(factor),))]
            terms = [left.times(right) for left in terms for right in options]
        return terms

    def _word_of(self, factors: tuple[Expr, ...]) -> tuple[Value, ...]:
        """The word of a product for its cost, a factor that is a sum standing for itself."""
        word: tuple[Value, ...] = ()
        for k, factor in enumerate(factors):
            terms = self.terms(factor)
            if len(terms) == 1:
                word += terms[0].word
            else:
                shape = factor.shape
                word += (self.graph.make("stand_in", data=(k,), shape=shape),)
        return word

    def _trace(self, X: Expr) -> Value:
        graph = self.graph
        traces = [t.of(graph, graph.trace_of_product(t.word)) for t in self.terms(X)]
        return graph.add(*traces) if traces else graph.number(sp.Integer(0))

    def _inner(self, node: Inner) -> Value:
        A, B = node.args
        graph = self.graph
        if A is B and isinstance(A, Product) and any(map(self._complement, A.args)):
            return self._square(A)
        left = [term.mirrored(graph) for term in self.terms(A)]
        right = self.terms(B)
        if isinstance(A, Ones) and any(v.form in APPLIED_SQUARE for t in right for v in t.word):
            return self.value(build.matmul(build.ones(ONE, B.rows), B, build.ones(B.cols)))
        formed = sum(graph.cost(t.word) for t in (*left, *right))
        pairs = [a.times(b) for a in left for b in right]
        single = len(pairs) == 1 and A is not B and not isinstance(A, Ones)
        if A is B:
            formed /= 2 * _SQUARES
        if single or sum(graph.trace_cost(t.word) for t in pairs) < formed:
            total = graph.add(*(t.of(graph, graph.trace_of_product(t.word)) for t in pairs))
            cancels = A is B and len(pairs) > 1
            return graph.make("nonnegative", total, shape=node.shape) if cancels else total
        return graph.inner(self.value(A), self.value(B))

    def _square(self, X: Product) -> Value:
        """‖X‖², of X = Q N Qᵀ Y with a projector Q N Qᵀ that of N to H = QᵀY: tr Hᵀ N H."""
        graph = self.graph
        word = tuple(letter for factor in X.args for letter in self._letters(factor))
        left, right = (self._projector(P) if is_range(P) else () for P in (X.args[0], X.args[-1]))
        word = word[max(len(left) - 1, 0) : len(word) - max(len(right) - 1, 0)]
        H = graph.dense(graph.product(word))
        return graph.inner(H, graph.product((*left[1:-1], H, *right[1:-1])))

    def _letters(self, factor: Expr) -> Word:
        """A factor as a word of its own, but for its sign."""
        terms = self.terms(factor)
        is_word = len(terms) == 1 and abs(terms[0].number) == 1 and not terms[0].scalars
        return terms[0].word if is_word else (self.value(factor),)

    def _diagonal_of(self, A: Expr) -> Value:
        """The diagonal of A as a column; of a product without forming the product."""
        graph = self.graph
        columns = [t.of(graph, graph.diagonal_of_product(t.word)) for t in self.terms(A)]
        return graph.add(*columns) if columns else graph.make("zeros", shape=(A.rows, ONE))

    def _part(self, kind: str, A: Expr) -> Value:
        if kind == "diag" and A.is_square:
            return self.graph.diagonal(self._diagonal_of(A))
        return self.graph.part(kind, self.value(A))

    # --- elementwise ------------------------------------------------------------------------

    def _map(self, node: Map) -> Value:
        A = self.value(node.args[0])
        if (norm := norm_power(node, self._norms)) is not None:
            graph, square = self.graph, self.value(norm.square)
            nowhere_zero = graph.make("zero_as_infinite", square, shape=square.shape)
            power = graph.power(nowhere_zero, graph.number(norm.p))
            return graph.scale(graph.number(sp.Integer(norm.sign)), power)
        if node.name == "pow":
            p = self.value(node.args[1])
            if A.form is Form.DIAGONAL and p.op == "number" and p.data[0] > 0:
                return self.graph.diagonal(self.graph.power(self.graph.column(A), p))
            return self.graph.power(self.graph.dense(A), p)
        if node.name == "sqrt" and A.form is not Form.DIAGONAL:
            return self.graph.power(A, self.graph.number(sp.Rational(1, 2)))
        if A.form is Form.DIAGONAL and scalar.body(node.name).subs(scalar.X, 0) == 0:
            return self.graph.diagonal(self.graph.map(node.name, self.graph.column(A)))
        return self.graph.map(node.name, self.graph.dense(A))

    # --- powers and outputs ------------------------------------------------------------------

    def _power(self, node: Frechet) -> Word:
        """An integer power as a word of factors or inverses, without an eigenproblem."""
        p = integer_power(node)
        assert p is not None
        A = node.args[0]
        return ((self.value(A),) if p > 0 else self._inverses.of(A)) * abs(p)

    # --- decompositions -----------------------------------------------------------

    def _output_terms(self, node: Output) -> list[Term] | None:
        """The words of an output that class totals, a range or an expression gives."""
        totals = by_classes(node)
        if totals is not None:
            return self.terms(totals)
        if has_range(node):
            return [Term(self.ranges.of(node.args[0]).word(node))]
        defined = expression(node)
        return None if defined is None else self.terms(defined)

    def _output(self, node: Output) -> Value:
        terms = self._output_terms(node)
        if terms is not None:
            return assembled(self.graph, terms, node.shape)
        if is_svd(node) and node.args[0] in self.framed:
            return self._spectra.singular_frame(node.args[0])[position(node) - 1]
        if is_eigh(node) and node.args[0] in self._in_frame_only:
            lam, U = self._spectra.of(node.args[0])
            if U is not None and U.form is Form.MATRIX:
                return lam if "diagonal" in node.properties else U
        return called(self.graph, node, [self.value(arg) for arg in node.args])


_SQUARES = 2
"""How much expanding ‖A − B‖² must save, for the expansion cancels as A and B meet."""

_STRUCTURE = {
    "sym": ("symmetric",),
    "skew": ("antisymmetric",),
    "strictly_lower": ("strictly_lower_triangular", "unit_lower_triangular"),
    "lower": ("lower_triangular",),
    "upper": ("upper_triangular",),
}


def _in_frame_only(roots: tuple[Expr, ...]) -> frozenset[Expr]:
    """The matrices of which functions are wanted, and no kernel that has a pole at a tie."""
    nodes = tuple(topological(*roots))
    if any(isinstance(node, Kernel) for node in nodes):
        return frozenset()
    return frozenset(node.args[0] for node in nodes if isinstance(node, Frechet))


def _decomposed(outputs: Iterable[Expr]) -> frozenset[Expr]:
    """The matrices that have a function among the outputs."""
    functions = (A for A in topological(*outputs) if isinstance(A, Frechet))
    return frozenset(A.args[0] for A in functions if not is_(A.args[0], "diagonal"))


def _is_nested(A: Expr) -> bool:
    """Whether A is a sum with products of sums, which a vector is carried into term by term."""
    if not isinstance(A, Sum):
        return False
    words = (build.coefficient(term)[1] for term in A.args)
    return any(isinstance(F, Sum) for word in words if isinstance(word, Product) for F in word.args)
