"""The one slip of the pen that explains a wrong formula, if there is one.

A slip is a transpose, sign, factor, symmetric part, … in one place of the formula's text; it
explains the fault when the formula without it holds, at least for symmetric matrices and as a
functional.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mbp.errors import MbpError
from mbp.expr.nodes import Expr, Kernel
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import FLOAT64
from mbp.referee.conditions import NOTHING, Condition, Has, Trial
from mbp.referee.judge import Deadline, Level, judged
from mbp.referee.sampling import may_be_symmetric, sample
from mbp.referee.statement import Claim, spoken_of
from mbp.referee.witness import Status, outcome

_PARTS = ("sym", "diagpart", "skew")
_DIMENSIONED = ("eye", "ones", "zeros")
_FACTORS = {"2": ast.Constant(2), "1/2": ast.parse("1/2", mode="eval").body}


Change = Iterator[tuple[str, ast.expr]]
Kinds = tuple[Callable[["_Place", Mapping[str, Expr]], Change], ...]


@dataclass(frozen=True)
class Slip:
    """What was wrong, and the mended text with what it needs and how far it is true."""

    what: str
    text: str
    conditions: tuple[Condition, ...] = ()
    level: Level = Level.HOLDS

    @property
    def is_right(self) -> bool:
        """Whether the mended formula holds as it is declared."""
        return self.level is Level.HOLDS and not self.conditions

    def __str__(self) -> str:
        when = f", when {', '.join(map(str, self.conditions))}" if self.conditions else ""
        functional = self.level is Level.FUNCTIONAL
        return f"{self.what}: {self.text}{when}{', up to a projection' if functional else ''}"


def slip(
    claim: Claim, partly: bool, deadline: Deadline, progress: Callable[[str], None]
) -> Slip | None:
    """The best single slip without which the claim is true, None if there is none.

    One that makes it hold as declared is the best. With `partly`, one will do that makes it right
    as a functional, or else for symmetric matrices.
    """
    symmetric = tuple(Has(x.name, "symmetric") for x in spoken_of(claim) if may_be_symmetric(x))
    for trial in (NOTHING, Trial(symmetric)) if partly and symmetric else (NOTHING,):
        found = None
        seeds = _telling_seeds(claim, trial)
        for what, mended in _mended(claim, _ALL if trial is NOTHING else _SCALING):
            if deadline.passed:
                return found
            progress(f"is it that {what}?")
            level = _level(mended, trial, seeds)
            enough = Level.FUNCTIONAL if partly else Level.HOLDS
            if level < enough or (found is not None and level <= found.level):
                continue
            found = Slip(what, mended.printed, _needed(mended, trial, level), level)
            if level is Level.HOLDS:
                return found
        if found is not None:
            return found
    return None


def _mended(claim: Claim, kinds: Kinds) -> Iterator[tuple[str, Claim]]:
    """The claims without one slip of the claim's text, each once."""
    seen = {claim.formula}
    for what, text in _slips(claim.text, claim.setting.names, kinds):
        try:
            mended = claim.mended(text)
        except MbpError:
            continue
        if mended.formula not in seen:
            seen.add(mended.formula)
            yield what, mended


def _level(claim: Claim, trial: Trial, seeds: list[int]) -> Level:
    """How far the claim is true; most are refuted by one of the seeds."""
    try:
        return Level.FAILS if _differs(claim, trial, seeds) else judged(claim, trial).level
    except MbpError:
        return Level.FAILS


def _needed(claim: Claim, trial: Trial, level: Level) -> tuple[Condition, ...]:
    """The conditions of the trial without those that the claim does as well without."""
    kept = list(trial.conditions)
    for condition in trial.conditions:
        fewer = [c for c in kept if c is not condition]
        if judged(claim, Trial(tuple(fewer)), rough=6, precise=1).level >= level:
            kept = fewer
    return tuple(kept)


def projected(claim: Claim, trial: Trial = NOTHING) -> str | None:
    """The claimed gradient projected onto the variations that its variable admits."""
    x, M = claim.variable.name, f"({claim.text})"
    known = VOCABULARY.closure((trial.varied(claim.variable) or claim.variable).properties)
    for prop, text in _PROJECTIONS.items():
        if prop in known:
            one = ast.unparse(ast.parse(text.format(X=x, M=M, n=claim.variable.rows), mode="eval"))
            holds = judged(claim.mended(one), trial, rough=6).level is Level.HOLDS
            return one if holds else None
    return None


_PROJECTIONS = {
    "projector": "2 * sym((eye({n}) - {X}) @ sym{M} @ {X})",
    "orthonormal_columns": "{M} - {X} @ sym({X}.T @ {M})",
    "diagonal": "diagpart{M}",
    "symmetric": "sym{M}",
    "antisymmetric": "skew{M}",
    "unit_lower_triangular": "tril({M}, -1)",
    "strictly_lower_triangular": "tril({M}, -1)",
    "lower_triangular": "tril{M}",
    "upper_triangular": "triu{M}",
}


def conforming(
    text: str, read: Callable[[str], object], names: Mapping[str, Expr]
) -> Iterator[tuple[str, str]]:
    """The single slips that make an ill-formed text conform; `read` raises where it does not."""
    for what, mended in _slips(text, names, _ALL):
        try:
            read(mended)
        except MbpError:
            continue
        yield what, mended


def _telling_seeds(claim: Claim, trial: Trial) -> list[int]:
    """Seeds of instances where the claim is plainly wrong."""
    found: list[int] = []
    for seed in range(40):
        if outcome(claim, trial, sample(claim, trial, seed, FLOAT64)).status is Status.DIFFERS:
            found.append(seed)
        if len(found) == 2:
            break
    return found


def _differs(claim: Claim, trial: Trial, seeds: list[int]) -> bool:
    return any(
        outcome(claim, trial, sample(claim, trial, seed, FLOAT64)).status is Status.DIFFERS
        for seed in seeds
    )


# --- slips of a text ------------------------------------------------------------------------------


def _slips(
    text: str, names: Mapping[str, Expr], kinds: Kinds
) -> Iterator[tuple[str, str]]:
    """What is wrong in one place of the text, with the text where it is right."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return
    places = list(_places(tree.body))
    for changes in kinds:
        for place in reversed(places) if changes is _of_part else places:
            for what, node in changes(place, names):
                yield what, _replaced(tree, place, node)


@dataclass(frozen=True)
class _Place:
    """A matrix within the tree, and the attributes and indices that lead to it."""

    node: ast.expr
    path: tuple[tuple[str, int | None], ...] = ()
    is_term: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether this is the whole formula."""
        return not self.path

    @property
    def said(self) -> str:
        """The text of the place."""
        return ast.unparse(self.node)


def _places(
    node: ast.expr, path: tuple[tuple[str, int | None], ...] = (), is_term: bool = True
) -> Iterator[_Place]:
    yield _Place(node, path, is_term)
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            adds = isinstance(op, ast.Add | ast.Sub)
            yield from _places(left, (*path, ("left", None)), adds)
            if not isinstance(op, ast.Pow):
                yield from _places(right, (*path, ("right", None)), adds)
        case ast.UnaryOp(operand=inside):
            yield from _places(inside, (*path, ("operand", None)), False)
        case ast.Attribute(value=inside):
            yield from _places(inside, (*path, ("value", None)), False)
        case ast.Call(func=ast.Name(id=name), args=args) if name not in (*_DIMENSIONED, "d"):
            for k, arg in enumerate(args):
                if not (name == "unvec" and k > 0) and not _is_text(arg):
                    yield from _places(arg, (*path, ("args", k)), False)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _replaced(tree: ast.Expression, place: _Place, node: ast.expr) -> str:
    whole = copy.deepcopy(tree)
    parent: ast.AST = whole
    steps = (("body", None), *place.path)
    for name, k in steps[:-1]:
        child = getattr(parent, name)
        parent = child if k is None else child[k]
    name, k = steps[-1]
    if k is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[k] = node
    return ast.unparse(ast.fix_missing_locations(whole))




def _of_factor(place: _Place, names: Mapping[str, Expr]) -> Change:
    node = place.node
    if isinstance(node, ast.Constant):
        if node.value != 1:
            yield f"the factor {place.said} is too much", ast.Constant(1)
        if node.value != 2:
            yield f"{place.said} should be 2", ast.Constant(2)
    elif place.is_whole or (place.is_term and not _adds(node)):
        where = "" if place.is_whole else f" before {place.said}"
        for factor, number in _FACTORS.items():
            yield f"a factor {factor} is missing{where}", ast.BinOp(number, ast.Mult(), node)


def _adds(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)


def _of_term(place: _Place, names: Mapping[str, Expr]) -> Change:
    node = place.node
    if isinstance(node, ast.BinOp) and _adds(node):
        for extra, kept in ((node.right, node.left), (node.left, node.right)):
            yield f"{ast.unparse(extra)} is too much in {place.said}", kept


def _of_transpose(place: _Place, names: Mapping[str, Expr]) -> Change:
    node = place.node
    if isinstance(node, ast.Attribute):
        yield f"{place.said} should be {ast.unparse(node.value)}", node.value
    elif isinstance(node, ast.Name | ast.Call) and not _is_part(node):
        yield f"{place.said} should be {place.said}.T", ast.Attribute(node, "T", ast.Load())
    elif place.is_whole:
        yield "the whole should be transposed", ast.Attribute(node, "T", ast.Load())


def _of_sign(place: _Place, names: Mapping[str, Expr]) -> Change:
    node = place.node
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            sign, other = ("-", ast.Sub()) if isinstance(op, ast.Add) else ("+", ast.Add())
            yield (
                f"the sign of {ast.unparse(right)} should be {sign}",
                ast.BinOp(left, other, right),
            )
        case ast.UnaryOp(op=ast.USub(), operand=inside):
            yield f"the sign of {ast.unparse(inside)} should be +", inside
    if place.is_whole and not _leads_with_minus(node):
        yield "the sign should be -", ast.UnaryOp(ast.USub(), node)


def _leads_with_minus(node: ast.expr) -> bool:
    while isinstance(node, ast.BinOp):
        node = node.left
    return isinstance(node, ast.UnaryOp)


def _is_part(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _PARTS


def _of_part(place: _Place, names: Mapping[str, Expr]) -> Change:
    node = place.node
    if isinstance(node, ast.Call) and _is_part(node):
        inside = node.args[0]
        yield f"{place.said} should be {ast.unparse(inside)}", inside
    elif not isinstance(node, ast.Constant):
        for part in _PARTS:
            yield (
                f"{part} is missing around {place.said}",
                ast.Call(ast.Name(part, ast.Load()), [node], []),
            )


def _of_kernel(place: _Place, names: Mapping[str, Expr]) -> Change:
    node = place.node
    if not isinstance(node, ast.Name) or not isinstance(names.get(node.id), Kernel):
        return
    yield f"the indices of {node.id} should be swapped", ast.Attribute(node, "T", ast.Load())
    for other, kernel in names.items():
        if isinstance(kernel, Kernel) and other != node.id:
            yield f"{node.id} should be {other}", ast.Name(other, ast.Load())


# Factors and signs may explain what a transpose does as well, so they come first; but a kernel
# that changes its sign with its indices is better explained by these.
_ALL: Kinds = (_of_kernel, _of_factor, _of_sign, _of_transpose, _of_term, _of_part)
_SCALING: Kinds = (_of_factor, _of_sign)
"""What may be told from another slip where all matrices are symmetric."""
