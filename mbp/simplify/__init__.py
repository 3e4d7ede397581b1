"""Simplification: a normal form by property, and from it the form that a reader knows."""

from mbp.simplify.entry import collapse, equal, normal, readable, simplify

__all__ = ["collapse", "equal", "normal", "readable", "simplify"]
