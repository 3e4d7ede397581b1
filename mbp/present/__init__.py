"""Derivations for readers: text, Markdown, LaTeX, one HTML page, and JSON for programs."""

from __future__ import annotations

from mbp.derive.derivation import Derivation


def to_text(derivation: Derivation) -> str:
    """The proof in the expression grammar, each line's justification at its right."""
    from mbp.present import text

    return text.rendered(derivation)


def to_markdown(derivation: Derivation) -> str:
    """The proof as Markdown with the formulas as LaTeX between dollar signs."""
    from mbp.present import markdown

    return markdown.rendered(derivation)


def to_latex(derivation: Derivation) -> str:
    """The proof as a LaTeX section; the document needs the package amsmath."""
    from mbp.present import latex

    return latex.rendered(derivation)


def to_html(derivation: Derivation, *, fragment: bool = False) -> str:
    """The proof as one self-contained page with MathML, or as its content alone."""
    from mbp.present import html

    return html.rendered(derivation, fragment=fragment)


def to_json(derivation: Derivation) -> str:
    """The derivation as one JSON object, every formula in the expression grammar."""
    from mbp.present import json

    return json.rendered(derivation)


def to_latex_display(derivation: Derivation) -> str:
    """Variations, gradients and definitions alone, as displays that a notebook's MathJax reads."""
    from mbp.present import latex

    return latex.displayed(derivation)
