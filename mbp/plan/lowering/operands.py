"""What the parts of the lowering ask of the whole: the value of any expression."""

from __future__ import annotations

from typing import Protocol

from mbp.expr.nodes import Expr, Var
from mbp.plan.values.sums import Term
from mbp.plan.values.value import Value


class Operands(Protocol):
    """Lowers the operands of a node."""

    def value(self, node: Expr) -> Value:
        """The value of an expression; raises MbpError for what no target computes."""

    def terms(self, node: Expr) -> list[Term]:
        """The expression as a sum of words."""

    def named(self, name: str, value: Value) -> Var:
        """A variable that stands for a value in expressions."""
