"""Witnesses: numeric values, admissible instances and finite differences, none of them derived."""
