"""Reads a matrix as a multiple of a Gram matrix and one of the identity: A = c FᵀF + εI."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from mbp.expr import build
from mbp.expr.nodes import Expr, Eye, Product, Sum
from mbp.invariants.infer import is_, is_palindrome, transposed
from mbp.rulebook import RULEBOOK
from mbp.simplify import simplify


class Part(NamedTuple):
    """A word H and S with H = S F, so that H g(FᵀF) = S g(FFᵀ) F."""

    word: tuple[Expr, ...]
    S: Expr


class Gram(NamedTuple):
    """c FᵀF + εI, and the words that are parts of F, itself to begin with."""

    c: Expr
    F: Expr
    shift: Expr
    parts: tuple[Part, ...]


def letters(F: Expr) -> tuple[Expr, ...]:
    """The factors of a product."""
    return F.args if isinstance(F, Product) else (F,)


def mirrored(word: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The factors of the transposed product."""
    return tuple(transposed(A) for A in reversed(word))


def as_gram(A: Expr) -> Gram | None:
    """A as c FᵀF + εI with an F that may have fewer rows than columns.

    HᵀMH has F = RH for a root M = RᵀR, and c₁F₁ᵀF₁ + c₂F₂ᵀF₂ with cᵢ > 0 that of
    [√c₁F₁; √c₂F₂]. None where a root is not known to be differentiable.
    """
    front, total = build.coefficient(A)
    summands = total.args if isinstance(total, Sum) else (total,)
    terms = [build.coefficient(build.scale(front, term)) for term in summands]
    shifts = [c for c, body in terms if isinstance(body, Eye)]
    found = [_of_word(c, body) for c, body in terms if not isinstance(body, Eye)]
    grams = [gram for gram in found if gram is not None]
    if not grams or len(grams) < len(found):
        return None
    whole = grams[0] if len(grams) == 1 else _stacked(grams)
    if whole is None or whole.F.cols.free_symbols & whole.F.rows.free_symbols:
        return None
    return whole._replace(shift=build.add(*shifts) if shifts else whole.shift)


def _of_word(c: Expr, word: Expr) -> Gram | None:
    """c HᵀMH, where M has a root."""
    if not isinstance(word, Product) or not is_palindrome(word.args):
        return None
    half, middle = len(word.args) // 2, len(word.args) % 2
    a, R = build.number(1), build.eye(word.args[half].rows)
    if middle:
        front, M = build.coefficient(word.args[half])
        found = _root(M)
        if found is None:
            return None
        a, R = build.scale(front, found[0]), found[1]
    F = build.matmul(R, *word.args[half + middle :])
    parts = [Part(letters(F), build.eye(F.rows))]
    if middle and R is not word.args[half]:
        parts.append(Part(word.args[half:], build.scale(a, build.transpose(R))))
    return Gram(build.scale(a, c), F, build.number(0), tuple(parts))


def _root(M: Expr) -> tuple[Expr, Expr] | None:
    """a and R of a semidefinite M = a RᵀR where R is a differentiable function of M."""
    if is_(M, "projector"):
        return build.number(1), M
    if not is_(M, "positive_definite"):
        return _centring_root(M)
    if is_(M, "diagonal"):
        root = build.apply("sqrt", build.diag_vector(M))
        return build.number(1), build.diag_matrix(root)
    (L,) = RULEBOOK.call("cholesky", M)
    return build.number(1), build.transpose(L)


def _centring_root(M: Expr) -> tuple[Expr, Expr] | None:
    """a and R = C[√v] of M = a([v] − vvᵀ/1ᵀv), v > 0, with C the projector across √v."""
    terms = [build.coefficient(term) for term in (M.args if isinstance(M, Sum) else ())]
    diagonal = [(c, D) for c, D in terms if is_(D, "diagonal")]
    rest = [(b, X) for b, X in terms if not is_(X, "diagonal")]
    if len(diagonal) != 1 or len(rest) != 1:
        return None
    ((a, D),), ((b, X),) = diagonal, rest
    v = build.diag_vector(D)
    if X is not build.matmul(v, build.transpose(v)) or not is_(v, "positive"):
        return None
    if not build.is_zero(simplify(build.add(build.scale(b, build.sum_of(v)), a))):
        return None
    root = build.apply("sqrt", v)
    unit = build.power(build.sumsq(root), build.number(-1))
    across = build.scale(unit, build.matmul(root, build.transpose(root)))
    C = build.subtract(build.eye(v.rows), across)
    return a, build.matmul(C, build.diag_matrix(root))


def _stacked(grams: list[Gram]) -> Gram | None:
    """Σ cᵢFᵢᵀFᵢ as the Gram matrix of the Fᵢ on top of each other, if the cᵢ have one sign."""
    c = grams[0].c
    weights = [build.number(1)] * len(grams)
    if any(gram.c is not c for gram in grams):
        c = build.number(1 if is_(c, "positive") else -1)
        weights = [build.scale(c, gram.c) for gram in grams]
    if not all(is_(weight, "positive") for weight in weights):
        return None
    roots = [build.power(a, build.number(sp.Rational(1, 2))) for a in weights]
    F = build.vstack(*(build.scale(a, gram.F) for a, gram in zip(roots, grams, strict=True)))
    parts = [Part((F,), build.eye(F.rows))]
    for k, (a, gram) in enumerate(zip(roots, grams, strict=True)):
        chosen = build.scale(build.power(a, build.number(-1)), _selection(grams, k))
        parts += [Part(word, build.matmul(S, chosen)) for word, S in gram.parts]
    return Gram(c, F, build.number(0), tuple(parts))


def _selection(grams: list[Gram], chosen: int) -> Expr:
    """[0 I 0], which takes one of the blocks from those on top of each other."""
    rows = [gram.F.rows for gram in grams]
    return build.hstack(
        *(build.eye(n) if k == chosen else build.zeros(rows[chosen], n) for k, n in enumerate(rows))
    )
