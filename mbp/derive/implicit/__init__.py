"""The variation of an implicitly defined map, derived from its defining equations (step 1).

In reading order, what is given standing in `mbp.decomposition`: `polynomial` (equations as
words), `frames` (in which coefficients are diagonal), `cores` (those diagonals), `pairs` (the
scalar system for each pair of entries), `matrix_form` (back to matrices), `solver` (which outputs,
words and frames together), `determined` (whether numbers agree), `variety` (those numbers),
`operator` (where no frames help), `proof` (what is reported).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mbp.decomposition import Decomposition

if TYPE_CHECKING:
    from mbp.derive.implicit.solver import Solution

BACK = "back in matrix form"
"""What justifies the last line of a proof: the solution of every system, put together."""


@cache
def variation_of(rule: Decomposition) -> Solution:
    """The solution of a definition, computed once."""
    # Most expressions hold no decomposition, and the solver is a third of what there is to import.
    from mbp.derive.implicit.solver import solution

    return solution(rule)
