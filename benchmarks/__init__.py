"""Measurements of the emitted layers against what one would write today."""
