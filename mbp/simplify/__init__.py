"""Simplification: a normal form by property, and from it the form that a reader knows."""

from mbp.simplify.simplify import collapse, equal, normal, readable, simplify

__all__ = ["collapse", "equal", "normal", "readable", "simplify"]
