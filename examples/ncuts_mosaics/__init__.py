"""Normalized cuts of texture mosaics: features trained through J1 and J2 against baselines."""
