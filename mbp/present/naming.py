"""Picks names for the kernels, the outputs of decompositions and the intermediates of a proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count

import sympy as sp

from mbp.expr.dims import dim_names
from mbp.expr.nodes import Expr, Kernel, Named, Output, Var, Variation, topological
from mbp.expr.parser import FUNCTION_NAMES
from mbp.expr.text import text
from mbp.present.lower import is_mask

_INLINE = ("pinv", "projector")
_SHORT = 12
_INTERMEDIATE = list("ABCDEFHNPRTWYZ")


def named(
    roots: Iterable[Expr],
    inputs: Mapping[str, Var],
    outputs: Mapping[str, Expr],
    cotangents: Mapping[str, Var],
    given: Mapping[str, Expr],
) -> dict[str, Expr]:
    """Names for every kernel, decomposition output and named intermediate below `roots`.

    They come operands first. A layer's output keeps its name, then what the derivation has `given`
    a name keeps it, then the rule's letters serve, all outputs of one call with the same number. No
    name is that of an input, of a cotangent, of a dimension or of a function of the grammar.
    """
    nodes = [node for node in topological(*roots) if _wants_name(node)]
    taken = {*outputs, *(G.name for G in cotangents.values())}
    taken |= names_in(*roots, *inputs.values(), *outputs.values())
    found: dict[Expr, str] = {}
    for name, node in outputs.items():
        if isinstance(node, Output):
            found.setdefault(node, name)
    for name, node in given.items():
        if name not in taken and node in nodes:
            found.setdefault(node, name)
            taken.add(name)
    for node in nodes:
        if node in found:
            continue
        if isinstance(node, Kernel | Named):
            wish = node.name if isinstance(node, Named) else _letter(node)
            found[node] = next(name for name in _numbered(wish) if name not in taken)
            taken.add(found[node])
            continue
        call = [A for A in nodes if isinstance(A, Output) and _is_same_call(A, node)]
        call = [A for A in call if A not in found]
        suffix = next(s for s in _suffixes() if not taken & {f"{A.name}{s}" for A in call})
        for A in call:
            found[A] = f"{A.name}{suffix}"
            taken.add(found[A])
    return {found[node]: node for node in nodes}


def abbreviated(roots: Iterable[Expr], known: Iterable[Expr], taken: set[str]) -> dict[str, Expr]:
    """Letters for the long expressions whose variation a proof takes, other than those `known`."""
    skip = set(known)
    found: dict[str, Expr] = {}
    for node in topological(*roots):
        if isinstance(node, Variation) and node not in skip and _is_long(node.args[0]):
            X = node.args[0]
            own = [X.name] if isinstance(X, Output) else _INTERMEDIATE
            letters = (f"{letter}{suffix}" for suffix in _suffixes() for letter in own)
            found[next(name for name in letters if name not in taken and name not in found)] = X
    return found


def names_in(*roots: Expr) -> set[str]:
    """The names that mean something below `roots`: variables, dimensions and the grammar's own."""
    nodes = list(topological(*roots))
    variables = {node.name for node in nodes if isinstance(node, Var)}
    dims = dim_names(*(n for node in nodes for n in node.shape))
    return {*variables, *dims, "i", "j", "d", "G", "pi", *FUNCTION_NAMES}


def _wants_name(node: Expr) -> bool:
    if isinstance(node, Kernel | Named):
        return True
    if not isinstance(node, Output):
        return False
    return node.rule not in _INLINE or _is_long(node.args[0])


def _is_long(node: Expr) -> bool:
    return len(text(node)) > _SHORT


def _is_same_call(A: Output, B: Expr) -> bool:
    return isinstance(B, Output) and A.rule == B.rule and A.args == B.args


def _letter(kernel: Kernel) -> str:
    # The paper's K has a zero diagonal; L is the Loewner matrix of a matrix function; M a mask.
    if is_mask(kernel):
        return "M"
    return "K" if kernel.diagonal == sp.Integer(0) else "L"


def _suffixes() -> Iterator[str]:
    return chain([""], map(str, count(1)))


def _numbered(letter: str) -> Iterator[str]:
    return (f"{letter}{suffix}" for suffix in _suffixes())
