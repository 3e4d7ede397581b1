"""Witnesses: what a derivation and an emitted module are held against, none of it derived."""
