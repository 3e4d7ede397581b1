"""The variation of an implicitly defined map, derived from its defining equations (step 1).

In reading order, what is given standing in `mbp.decomposition`: `polynomial` (equations as
words), `equations` (those that are solved), `unknowns` (in whose terms), `frames` (in which
coefficients are diagonal), `cores` (those diagonals), `pairs` (the scalar system for each pair of
entries), `matrix_form` (back to matrices), `conditions` (where it holds and what stays free),
`operator` (where no frames help), `solver` (which outputs, words and frames together). Whether
equations determine their outputs is counted in `derive.determinacy`; `derive.proofs` tells it all.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mbp.decomposition import Decomposition

if TYPE_CHECKING:
    from mbp.derive.implicit.solver import Solution


@cache
def variation_of(rule: Decomposition) -> Solution:
    """The solution of a definition, computed once."""
    # Most expressions hold no decomposition, and the solver is a third of what there is to import.
    from mbp.derive.implicit.solver import solution

    return solution(rule)
