"""Where the variations of decompositions and of matrix functions come from, as lines of a proof."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from mbp.derive.derivation import Step
from mbp.derive.implicit import variation_of
from mbp.derive.variation import is_constant, letters_at, varied_down_to, vary
from mbp.expr import build, scalar
from mbp.expr.nodes import Expr, Frechet, Output
from mbp.invariants.infer import is_
from mbp.rulebook import RULEBOOK
from mbp.simplify import collapse, simplify


def decomposition_proof(stage: Output) -> list[Step]:
    """From the defining equations of a decomposition to its kernels, in the letters at hand."""
    # It imports the solver, which only a decomposition needs.
    from mbp.derive.proofs.implicit import BACK, proof

    rule = RULEBOOK.decompositions[stage.rule]
    replacement, dims = letters_at(stage, build.variation)
    letters = {str(x): replacement[x] for x in (*rule.inputs, *rule.outputs)}

    def actual(side: Expr) -> Expr:
        return build.instantiate(side, replacement, dims)

    steps = [Step(None, None, heading=f"From the defining equations of {stage.rule}")]
    for step in proof(variation_of(rule)):
        if step.by == (BACK,):  # the deriver's own line for each output
            continue
        here = step.rewritten(actual)
        if here.entries is not None:
            here = replace(here, entries=replace(here.entries, letters=letters))
        steps.append(here)
    return steps


def matrix_function_proof(stage: Frechet) -> list[Step]:
    """From g(A) = U g(Q) Uᵀ to the divided difference of g, in which the poles cancel (43).

    The eigenvectors' and the eigenvalues' paths, each with its kernel, are varied by the rule of
    the eigenvalue problem and collapsed to one kernel.
    """
    A = stage.args[0]
    # The argument of a matrix function is symmetric even where its form no longer shows it.
    U, Q = RULEBOOK.call("eig", A if is_(A, "symmetric") else build.sym(A))
    parameters = {
        c: build.var(f"c{k}", 1, 1, ("constant",)) for k, c in enumerate(stage.parameters)
    }
    spelled = U @ build.frechet(stage.g, Q, tuple(parameters.values())) @ U.T
    varied = varied_down_to(spelled, {U, Q}).variation
    paths = {build.variation(output): vary(output, build.variation).variation for output in (U, Q)}
    substituted = build.substitute(varied, paths)
    back: dict[Expr, Expr] = {constant: c for c, constant in parameters.items()}

    exponents = [
        build.scale(
            build.variation(c),
            build.frechet(sp.diff(stage.g, scalar.parameter(k)), A, stage.parameters),
        )
        for k, c in enumerate(stage.parameters)
        if not is_constant(c)
    ]

    def shown(side: Expr) -> Expr:
        return build.substitute(side, back)

    def whole(side: Expr) -> Expr:
        return build.add(shown(side), *exponents)

    dY = build.variation(stage)
    return [
        Step(None, None, heading="The function of a symmetric matrix"),
        Step(A, U @ Q @ U.T, ("definition",), "eigenvalues and eigenvectors"),
        Step(stage, shown(spelled), ("definition",), "g acts on the eigenvalues"),
        Step(dY, whole(simplify(varied)), ("product rule",), "(43)"),
        Step(dY, whole(simplify(substituted)), ("variation of eig",), "both paths, with poles"),
        Step(dY, whole(collapse(substituted)), ("divided difference",), "the poles cancel"),
    ]
