"""What the engine itself says of a claim: a proof by the normal form, and the right formula."""

from __future__ import annotations

from collections.abc import Mapping

from mbp.definition import Definition
from mbp.derive.derivation import Derivation
from mbp.derive.deriver import derive
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.nodes import Expr, Kernel, Output, Var, Variation, topological
from mbp.expr.text import text
from mbp.present.entries import entries
from mbp.present.page import Page, page
from mbp.referee.statement import Claim, Measure
from mbp.rulebook import RULEBOOK
from mbp.simplify import equal, simplify


def is_proven(claim: Claim) -> bool:
    """Whether the normal forms of both sides are one, derivatives as the engine derives them."""
    if claim.relation != "==" or claim.given is not None:
        return False
    if any(isinstance(node, Measure) for node in topological(*claim.sides)):
        return False
    try:
        return equal(_derived(claim), _expanded(claim, claim.formula))
    except (MbpError, RecursionError):
        return False


def right_formula(claim: Claim) -> str | None:
    """The right side of the claim as the engine derives it; None where it cannot."""
    if claim.relation != "==" or claim.given is not None:
        return None
    try:
        if claim.target is None:
            derivation = _derivation(claim)
            assert claim.wrt is not None
            return _printed(claim, page(derivation, masks=True), claim.wrt)
        if isinstance(claim.target, Variation) and not isinstance(claim.target.args[0], Var):
            outputs = {"Y": claim.target.args[0]}
            derivation = derive(Definition("claimed", claim.setting.inputs, outputs))
            return _printed(claim, page(derivation, masks=True), None)
        return text(simplify(_derived(claim)), _letters(claim))
    except (MbpError, RecursionError):
        return None


def _derivation(claim: Claim) -> Derivation:
    setting = claim.setting
    return derive(setting.definition, setting.cotangents)


def _derived(claim: Claim) -> Expr:
    if claim.target is None:
        return _derivation(claim).gradients[claim.variable.name]
    return _expanded(claim, claim.target)


def _expanded(claim: Claim, A: Expr) -> Expr:
    """A with every d(…) of an expression spelled out in the variations of the inputs."""
    found: dict[Expr, Expr] = {}
    for node in topological(A):
        if isinstance(node, Variation) and not isinstance(node.args[0], Var):
            derivation = derive(Definition("claimed", claim.setting.inputs, {"Y": node.args[0]}))
            found[node] = derivation.variations["Y"]
    for name, G in claim.setting.gradients.items():
        if name in topological(A):
            found[name] = _derivation(claim).gradients[G]
    return build.substitute(A, found)


def _letters(claim: Claim) -> dict[Expr, str]:
    # A letter for an input or a transpose would hide nothing worth hiding.
    names = claim.setting.names
    return {A: name for name, A in names.items() if A.args and not isinstance(A, Var)}


def _printed(claim: Claim, shown: Page, wrt: str | None) -> str:
    """A derived formula in the claim's letters, and what its further letters stand for."""
    A = shown.variations["Y"] if wrt is None else shown.gradients[wrt]
    hoisted = {node: name for node, name in shown.names.items() if not _is_one_call(node)}
    names = {**hoisted, **_letters(claim)}
    return _defining(text(A, names), A, claim, names)


def spelled_out(claim: Claim, formula: str) -> str:
    """A formula in the letters of the claim's setting, and what those stand for."""
    names = {A: name for name, A in claim.setting.names.items()}
    return _defining(formula, claim.setting.parse(formula), claim, names)


def _is_one_call(node: Expr) -> bool:
    return isinstance(node, Output) and len(RULEBOOK.decompositions[node.rule].outputs) == 1


def _defining(formula: str, A: Expr, claim: Claim, names: Mapping[Expr, str]) -> str:
    """The text of A and after it the definitions of the letters that the claim does not know."""
    spoken = set(topological(*claim.sides))
    known = {name for name, node in claim.setting.names.items() if node in spoken}
    letters = [node for node in topological(A) if isinstance(node, Kernel | Output)]
    new = [node for node in letters if names.get(node, "") not in {"", *known}]
    return "; ".join([formula, *(_definition(node, names) for node in new)])


def _definition(node: Expr, names: Mapping[Expr, str]) -> str:
    if isinstance(node, Kernel):
        entry, diagonal = entries(node, names).text
        return f"{names[node]}: entry(i, j) = {entry}, diagonal = {diagonal}"
    return f"{names[node]} = {text(node, {A: name for A, name in names.items() if A is not node})}"
