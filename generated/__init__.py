"""Emitted modules, one for each built-in layer; written by `mbp emit`, never edited."""
