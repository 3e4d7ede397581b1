"""The variation of an implicitly defined map, derived from its defining equations (step 1).

In reading order: `definition` (what is given), `polynomial` (equations as words), `frames` (in
which coefficients are diagonal), `cores` (those diagonals), `pairs` (the scalar system for each
pair of entries), `matrix_form` (back to matrices), `solver` (which outputs, words and frames
together), `determined` (whether numbers agree), `operator` (where no frames help), `proof` (what
is reported).
"""

from functools import cache

from mbp.derive.implicit.definition import Definition, definition
from mbp.derive.implicit.proof import Condition, Gauge
from mbp.derive.implicit.solver import Solution, solution

variation_of = cache(solution)
"""`solution` of a definition, computed once."""
