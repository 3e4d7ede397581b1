"""Expressions as numbers, in float64 and 50 digits, at random admissible instances."""
