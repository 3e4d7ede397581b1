"""The variation of an implicitly defined map, derived from its defining equations (step 1)."""

from functools import cache

from mbp.derive.implicit.definition import Definition, definition
from mbp.derive.implicit.proof import Condition, Gauge, Step
from mbp.derive.implicit.solver import Solution, solution

variation_of = cache(solution)
"""`solution` of a definition, computed once."""
