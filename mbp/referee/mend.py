"""The one slip of the pen that explains a wrong formula, if there is one.

A slip is a transpose, sign, factor, symmetric part, … in one place of the formula's text; it
explains the fault when the formula without it holds.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mbp.errors import MbpError
from mbp.expr.nodes import Expr, Kernel
from mbp.referee.conditions import NOTHING, Trial
from mbp.referee.judge import Deadline, Level, judged
from mbp.referee.sampling import sample
from mbp.referee.statement import Claim
from mbp.referee.witness import Status, outcome
from mbp.verify.arithmetic import FLOAT64

_PARTS = ("sym", "diagpart", "skew")
_DIMENSIONED = ("eye", "ones", "zeros")
_FACTORS = {"2": ast.Constant(2), "1/2": ast.parse("1/2", mode="eval").body}


@dataclass(frozen=True)
class Slip:
    """What was wrong, the mended text and the claim that it makes."""

    what: str
    text: str
    claim: Claim

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


def slip(
    claim: Claim, deadline: Deadline, progress: Callable[[str], None], trial: Trial = NOTHING
) -> Slip | None:
    """The first single slip without which the claim holds, None if there is none."""
    seeds = _telling_seeds(claim, trial)
    for what, text in _slips(claim.text, claim.setting.names):
        if deadline.passed:
            return None
        try:
            mended = claim.mended(text)
        except MbpError:
            continue
        if mended.formula is claim.formula or _differs(mended, trial, seeds):
            continue
        progress(f"trying whether {what}")
        if judged(mended, trial, rough=6, precise=2).level is Level.HOLDS:
            return Slip(what, text, mended)
    return None


def conforming(
    text: str, read: Callable[[str], object], names: Mapping[str, Expr]
) -> Iterator[tuple[str, str]]:
    """The single slips that make an ill-formed text conform; `read` raises where it does not."""
    for what, mended in _slips(text, names):
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
        outcome(claim, trial, sample(claim, trial, seed, FLOAT64)).status is not Status.AGREES
        for seed in seeds
    )


# --- slips of a text ------------------------------------------------------------------------------


def _slips(text: str, names: Mapping[str, Expr]) -> Iterator[tuple[str, str]]:
    """What is wrong in one place of the text, with the text where it is right."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return
    places = list(_places(tree.body))
    # Factors and signs may explain what a transpose does as well, so they come first.
    for changes in (_of_factor, _of_sign, _of_transpose, _of_kernel, _of_part):
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


Change = Iterator[tuple[str, ast.expr]]


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
    if place.is_whole and not isinstance(node, ast.UnaryOp):
        yield "the sign should be -", ast.UnaryOp(ast.USub(), node)


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
    for other, kernel in names.items():
        if isinstance(kernel, Kernel) and other != node.id:
            yield f"{node.id} should be {other}", ast.Name(other, ast.Load())
