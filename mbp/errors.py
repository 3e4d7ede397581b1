"""The one exception that bad input raises, with the place of the fault when there is a text."""

from __future__ import annotations


class MbpError(ValueError):
    """Bad input: what is wrong, where, and what would be right.

    `text` and `column` (0-based), when given, put a caret under the faulty part of an expression.
    """

    def __init__(self, message: str, *, text: str | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.column = column

    def __str__(self) -> str:
        if self.text is None or self.column is None:
            return self.message
        return f"{self.message}\n  {self.text}\n  {' ' * self.column}^"

    def at(self, text: str, column: int) -> MbpError:
        """The same error with its place, unless it already has one."""
        if self.text is not None:
            return self
        return type(self)(self.message, text=text, column=column)


class ShapeError(MbpError):
    """Shapes that do not conform; the message names both."""


class PropertyError(MbpError):
    """Unknown or contradictory properties of a matrix."""


class RuleError(MbpError):
    """A rules file that cannot be used; the message names file, entry and reason."""
