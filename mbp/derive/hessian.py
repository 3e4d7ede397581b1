"""Second derivatives: the variation of a gradient, as an operator in dX or as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, product

import sympy as sp

from mbp.definition import Definition
from mbp.derive.adjoint import holds_variation, move
from mbp.derive.derivation import Derivation, Step
from mbp.derive.deriver import derive, second
from mbp.errors import MbpError
from mbp.expr import build, scalar
from mbp.expr.dims import ONE
from mbp.expr.nodes import (
    Diag,
    DiagVec,
    Expr,
    Frechet,
    Hadamard,
    Part,
    Product,
    Scale,
    Sum,
    Transpose,
    Var,
    Variation,
    topological,
)
from mbp.invariants.infer import is_
from mbp.simplify import simplify

HALF = sp.Rational(1, 2)
MOST_FACTORS = 4
"""Matrix powers up to this exponent are varied factor by factor."""


def hessian_vector_product(definition: Definition, wrt: str) -> Expr:
    """d(∂f/∂x), linear in d(x), of the one scalar output of `definition`.

    Raises MbpError unless there is exactly one output and it is a scalar.
    """
    outputs = definition.outputs
    if len(outputs) != 1 or not all(Y.is_scalar for Y in outputs.values()):
        raise MbpError("a Hessian is that of one scalar expression")
    first = derive(definition, {name: build.number(1) for name in outputs})
    gradient = Definition(f"{definition.name}_gradient", definition.inputs,
                          {f"grad_{wrt}": first.gradients[wrt]}, definition.defaults)  # fmt: skip
    return simplify(_multiplied_out(derive(gradient, letter="H").variations[f"grad_{wrt}"]))


def _multiplied_out(e: Expr) -> Expr:
    """e with the derivatives of integer powers as products, which read as in a textbook."""
    products: dict[Expr, Expr] = {}
    for node in topological(e):
        if not isinstance(node, Frechet) or not node.order or node.parameters:
            continue
        if (p := _integer_power(node)) is not None:
            A, *X = (build.substitute(arg, products) for arg in node.args)
            products[node] = _power_derivative(A, X, p)
    return build.substitute(e, products)


def hessian(definition: Definition, wrt: str) -> Expr:
    """The Hessian in `wrt`: an n×n matrix for a column or scalar, else the operator in d(X)."""
    operator = hessian_vector_product(definition, wrt)
    x = definition.inputs[wrt]
    if x.cols != ONE:
        return operator
    matrix = matrix_of(operator, x)
    return operator if matrix is None else simplify(matrix)


def second_derivative(first: Derivation) -> Derivation:
    """The derivation of a gradient's backward pass; in one column its variation is M d(x).

    M is the Hessian; where none can be written the variation stays the operator in d(x).
    """
    found = second(first)
    names = first.definition.differentiable
    if len(names) != 1 or first.cotangents or first.definition.inputs[names[0]].cols != ONE:
        return found
    x, gradient = first.definition.inputs[names[0]], f"grad_{names[0]}"
    M = matrix_of(_multiplied_out(found.variations[gradient]), x)
    if M is None:
        return found
    line = Step(
        build.variation(build.var(gradient, *x.shape)), simplify(M) @ build.variation(x),
        ("linearity",), "the Hessian is the matrix before the variation", "The Hessian",
    )  # fmt: skip
    assert line.rhs is not None
    return replace(found, variations={gradient: line.rhs}, steps=(*found.steps, line))


def matrix_of(linear: Expr, x: Var) -> Expr | None:
    """The matrix M with `linear` = M d(x) for columns, or None where none can be written."""
    dx = build.variation(x)
    known: dict[Expr, bool] = {}
    holds_variation(linear, known)
    if not known[linear]:
        return build.zeros(linear.rows, x.rows)
    if linear.is_scalar and linear is not dx:
        row = _gradient_of(linear, dx, known)
        return None if row is None else build.transpose(row)
    match linear:
        case Variation():
            return build.eye(x.rows)
        case Sum():
            return _all(*(matrix_of(term, x) for term in linear.args))
        case Scale(args=(c, X)) if not known[c]:
            M = matrix_of(X, x)
            return None if M is None else build.scale(c, M)
        case Scale(args=(c, X)):
            row = matrix_of(c, x)
            return None if row is None else build.matmul(X, row)
        case Hadamard():
            active = next(A for A in linear.args if known[A])
            others = [A for A in linear.args if A is not active]
            M = matrix_of(active, x)
            return None if M is None else build.diag_matrix(build.hadamard(*others)) @ M
        case DiagVec(args=(A,)):
            return _of_diagonal(A, x, known)
        case Product():
            return _of_product(linear, x, known)
    return None


def _of_product(linear: Product, x: Var, known: dict[Expr, bool]) -> Expr | None:
    k = next(k for k, A in enumerate(linear.args) if known[A])
    active, after = linear.args[k], linear.args[k + 1 :]
    M = _of_image(active, build.matmul(*after), x, known) if after else matrix_of(active, x)
    if M is None:
        return None
    before = linear.args[:k]
    return build.matmul(*before, M) if before else M


def _of_image(A: Expr, v: Expr, x: Var, known: dict[Expr, bool]) -> Expr | None:
    """The matrix M with A v = M d(x), for A linear in d(x) and a constant column v."""
    if not holds_variation(A, known):
        return None
    if A.cols == ONE:
        M = matrix_of(A, x)
        return None if M is None else build.scale(v, M)
    match A:
        case Sum():
            return _all(*(_of_image(term, v, x, known) for term in A.args))
        case Scale(args=(c, X)) if not known[c]:
            M = _of_image(X, v, x, known)
            return None if M is None else build.scale(c, M)
        case Scale(args=(c, X)):
            row = matrix_of(c, x)
            return None if row is None else build.matmul(X, v, row)
        case Transpose(args=(a,)) if a.cols == ONE:
            return matrix_of(build.inner(a, v), x)
        case Transpose(args=(X,)):
            turned = _transposed(X)
            return None if turned is None else _of_image(turned, v, x, known)
        case Diag(args=(a,)):
            return matrix_of(build.hadamard(v, a), x)
        case Part(data=("sym" | "skew" as kind,), args=(X,)):
            turned = _transposed(X)
            if turned is None:
                return None
            both = build.add(X, turned) if kind == "sym" else build.subtract(X, turned)
            return _of_image(build.scale(build.number(HALF), both), v, x, known)
        case Product():
            return matrix_of(build.matmul(A, v), x)
        case Hadamard():
            active = next(B for B in A.args if known[B])
            rest = build.hadamard(*(B for B in A.args if B is not active))
            return _of_masked(rest, active, v, x, known)
    return None


def _of_masked(E: Expr, A: Expr, v: Expr, x: Var, known: dict[Expr, bool]) -> Expr | None:
    """M with (E ∘ A) v = M d(x): (E ∘ p qᵀ) v = p ∘ E (q ∘ v) = [p] E [v] q."""
    holds_variation(A, known)
    match A:
        case Sum():
            return _all(*(_of_masked(E, term, v, x, known) for term in A.args))
        case Scale(args=(c, X)) if not known[c]:
            M = _of_masked(E, X, v, x, known)
            return None if M is None else build.scale(c, M)
        case Part(data=("sym" | "skew" as kind,), args=(X,)):
            turned = _transposed(X)
            if turned is None:
                return None
            both = build.add(X, turned) if kind == "sym" else build.subtract(X, turned)
            return _of_masked(E, build.scale(build.number(HALF), both), v, x, known)
        case Product():
            for k in range(1, len(A.args)):
                left, right = build.matmul(*A.args[:k]), build.matmul(*A.args[k:])
                if left.cols == ONE:
                    q = build.transpose(right)
                    if holds_variation(left, known):
                        return matrix_of(build.hadamard(E @ build.hadamard(q, v), left), x)
                    M = matrix_of(q, x)
                    front = build.diag_matrix(left) @ E @ build.diag_matrix(v)
                    return None if M is None else front @ M
            k = next(k for k, B in enumerate(A.args) if known[B])
            if isinstance(A.args[k], Sum):
                words = ((*A.args[:k], term, *A.args[k + 1 :]) for term in A.args[k].args)
                return _all(*(_of_masked(E, build.matmul(*word), v, x, known) for word in words))
            if isinstance(A.args[k], Diag) and 0 < k < len(A.args) - 1:
                left, right = build.matmul(*A.args[:k]), build.matmul(*A.args[k + 1 :])
                M = matrix_of(A.args[k].args[0], x)
                scaled = E @ build.diag_matrix(v) @ build.transpose(right)
                return None if M is None else build.hadamard(left, scaled) @ M
    return None


def _of_diagonal(A: Expr, x: Var, known: dict[Expr, bool]) -> Expr | None:
    """M with diag(A) = M d(x): the diagonal of B [a] C is (B ∘ Cᵀ) a."""
    n = A.rows
    return _of_masked(build.eye(n), A, build.ones(n), x, known) if known[A] else None


def _transposed(A: Expr) -> Expr | None:
    """Aᵀ with the transposes at the factors."""
    match A:
        case Sum():
            return _all(*map(_transposed, A.args))
        case Scale(args=(c, X)):
            turned = _transposed(X)
            return None if turned is None else build.scale(c, turned)
        case Product():
            return build.matmul(*(build.transpose(factor) for factor in reversed(A.args)))
        case Transpose(args=(X,)):
            return X
    return A if is_(A, "symmetric") else None


def _integer_power(A: Frechet) -> int | None:
    p = A.g.exp if A.g.is_Pow and A.g.base == scalar.X else None
    return int(p) if p is not None and p.is_Integer and abs(p) <= MOST_FACTORS else None


def _power_derivative(A: Expr, X: Sequence[Expr], p: int) -> Expr:
    """The derivative of Aᵖ along X₁, …, X_q in this order: Σ Aᵃ X₁ Aᵇ X₂ … over a + b + … = p − q.

    For p < 0 it is (−1)^q Σ A⁻ᵃ X₁ A⁻ᵇ X₂ … over a + b + … = q − p with each exponent at least 1.
    """
    q = len(X)
    least, total = (0, p - q) if p > 0 else (1, q - p)
    factor = A if p > 0 else build.inv(A)
    words = []
    for powers in product(range(least, max(total, 0) + 1), repeat=q + 1):
        if sum(powers) == total:
            word = [[factor] * powers[0], *([x, *[factor] * n] for x, n in zip(X, powers[1:]))]
            words.append(build.matmul(*chain.from_iterable(word)))
    derivative = build.add(*words) if words else build.zeros(*A.shape)
    return build.negate(derivative) if p < 0 and q % 2 else derivative


def _all(*matrices: Expr | None) -> Expr | None:
    found = [M for M in matrices if M is not None]
    return build.add(*found) if len(found) == len(matrices) else None


def _gradient_of(scalar: Expr, dx: Expr, known: dict[Expr, bool]) -> Expr | None:
    """r with scalar = r : dx, by the identities of step 2."""
    pending: dict[Expr, list[Expr]] = {scalar: [build.number(1)]}
    for node in reversed(list(topological(scalar))):
        if node not in pending or node is dx:
            continue
        total = build.add(*pending.pop(node))
        active = tuple(k for k, A in enumerate(node.args) if known[A])
        for moved in move(node, total, active):
            pending.setdefault(moved.operand, []).append(moved.cotangent)
    return build.add(*pending[dx]) if set(pending) == {dx} else None
