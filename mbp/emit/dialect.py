"""What a target's library calls things; a new target is one such table and a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mbp.errors import MbpError


@dataclass(frozen=True)
class Dialect:
    """The vocabulary of one target: format strings by operation.

    `module` is what its library is imported as, `templates` the folders of its own helpers,
    later ones first, `array` and `dtype` its types and `like` the keywords of a new array.
    `functions` are elementwise, by the grammar's name or SymPy's, with one hole {}. In `words`
    the holes are {a}, {b}, {c} for the operands, {A}, {B} for operands that bind like a name,
    {rows} and {cols} for the value's size, {x} for the array whose dtype and device new arrays
    take and {like} for those two as keywords; an operation may have further holes of its own.
    `calls` are the decompositions, by the torch function that a rule names; the holes are
    {function} and {args}. `options` are the run-time options that the target knows. `has_lu`
    says whether an LU factorization can be kept and solved with later, `has_in_place` whether an
    array can be added to or multiplied in its own storage.
    """

    name: str
    module: str
    templates: tuple[str, ...]
    array: str
    dtype: str
    like: str
    functions: Mapping[str, str]
    words: Mapping[str, str]
    calls: Mapping[str, str]
    options: tuple[str, ...]
    has_lu: bool = False
    has_in_place: bool = False

    def word(self, operation: str) -> str:
        """The format string of an operation; raises MbpError where the target has none."""
        if operation not in self.words:
            raise MbpError(f"the {self.name} target cannot print {operation}")
        return self.words[operation]

    @property
    def _public(self) -> list[str]:
        return [name for name in self.functions if name.islower()]

    def function(self, name: str) -> str:
        """The format string of an elementwise function; raises MbpError likewise."""
        if name not in self.functions:
            raise MbpError(
                f"the {self.name} target has no function {name}; "
                f"write it in terms of others, which are {', '.join(sorted(self._public))}"
            )
        return self.functions[name]

    def call(self, function: str, hermitian: bool) -> str:
        """The format string for the torch function that a rule names; raises MbpError likewise."""
        for key in (f"{function} hermitian", function) if hermitian else (function,):
            if key in self.calls:
                return self.calls[key]
        if "" not in self.calls:
            raise MbpError(f"the {self.name} target has nothing that does what {function} does")
        return self.calls[""]
