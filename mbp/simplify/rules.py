"""Reads rules/rewrites.toml and applies it: identities of matrices that hold by property.

A rule on a product is matched against adjacent letters of a word, a rule on one operation against
that node. A pattern variable stands for one letter of a word, or for any product of letters
inside an operation; it must have the properties that the rule declares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp

from mbp.expr import build
from mbp.expr.dims import Dim
from mbp.expr.nodes import (
    Expr,
    Frechet,
    Kernel,
    Number,
    Output,
    Product,
    Scale,
    Transpose,
    Var,
    topological,
)
from mbp.invariants.infer import is_
from mbp.rulebook import RULEBOOK, Rewrite
from mbp.simplify import words
from mbp.simplify.transposition import flip, flip_word, transpose
from mbp.simplify.words import Form, Word

Kind = tuple[type[Expr], Any]
Operation = tuple[Kind, ...]


@dataclass(frozen=True)
class Match:
    """What the variables and dimension names of a pattern stand for."""

    found: Mapping[Expr, Expr]
    dims: Mapping[sp.Symbol, Dim]


def rewrites() -> tuple[Rewrite, ...]:
    """The rewrites in force: those of rules/rewrites.toml, in its order, and those of packs."""
    return tuple(RULEBOOK.rewrites.values())


@dataclass(frozen=True)
class _WordRule:
    rule: Rewrite
    letters: Word
    anchor: int
    rhs: Expr


@cache
def _word_rules() -> dict[Operation | None, tuple[_WordRule, ...]]:
    """The rules on products, and their transposes, by the operation of the anchor letter."""
    index: dict[Operation | None, list[_WordRule]] = {}
    for rule in rewrites():
        if not isinstance(rule.lhs, Product):
            continue
        seen: set[Word] = set()
        for letters, rhs in (
            (rule.lhs.args, rule.rhs),
            (tuple(_flipped(x) for x in reversed(rule.lhs.args)), build.transpose(rule.rhs)),
        ):
            if letters in seen:
                continue
            seen.add(letters)
            anchor = next((k for k, x in enumerate(letters) if not _is_variable(x)), None)
            key = None if anchor is None else _operation(letters[anchor])
            index.setdefault(key, []).append(_WordRule(rule, letters, anchor or 0, rhs))
    return {key: tuple(found) for key, found in index.items()}


@cache
def _node_rules() -> dict[Operation, tuple[Rewrite, ...]]:
    index: dict[Operation, list[Rewrite]] = {}
    for rule in rewrites():
        if not isinstance(rule.lhs, Product):
            index.setdefault(_operation(rule.lhs), []).append(rule)
    return {key: tuple(found) for key, found in index.items()}


@cache
def _folds() -> dict[Operation | None, tuple[_WordRule, ...]]:
    index: dict[Operation | None, list[_WordRule]] = {}
    for rule in rewrites():
        if rule.fold:
            letters = rule.rhs.args
            turned = tuple(_flipped(x) for x in reversed(letters))
            for word, short in ((letters, rule.lhs), (turned, build.transpose(rule.lhs))):
                anchor = next(k for k, x in enumerate(word) if not _is_variable(x))
                index.setdefault(_operation(word[anchor]), []).append(
                    _WordRule(rule, word, anchor, short)
                )
    return {key: tuple(found) for key, found in index.items()}


def _flipped(letter: Expr) -> Expr:
    return letter if is_(letter, "symmetric") else build.transpose(letter)


def _is_variable(letter: Expr) -> bool:
    return isinstance(letter.args[0] if isinstance(letter, Transpose) else letter, Var)


def _operation(node: Expr) -> Operation:
    if isinstance(node, Transpose):
        return ((Transpose, ()), *_operation(node.args[0]))
    return ((type(node), _naming(node)),)


def _naming(node: Expr) -> tuple[Any, ...]:
    """What besides its operands and shape tells one operation from another."""
    if isinstance(node, Frechet | Kernel | Number):
        return node.data
    return node.data[:2] if isinstance(node, Output) else _words(node.data)


def _words(data: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value for value in data if isinstance(value, str | int))


# --- applying -------------------------------------------------------------------------------------


def word_rewrite(word: Word, k: int) -> tuple[int, int, Form] | None:
    """The first rule that applies with its anchor letter at k: (start, stop, what stands there)."""
    index = _word_rules()
    for key in (_operation(word[k]), None):
        for candidate in index.get(key, ()):
            found = _match_word(candidate, word, k)
            if found is not None:
                start, stop, match = found
                value = _instance(candidate.rule, candidate.rhs, match)
                if value is not None:
                    return start, stop, value
    return None


def node_rewrite(node: Expr) -> Form | None:
    """What the first rule that applies says a node with normalised operands is."""
    for rule in _node_rules().get(_operation(node), ()):
        for match in _match(rule.lhs, node, Match({}, {})):
            value = _instance(rule, rule.rhs, match)
            if value is not None:
                return value
    return None


def folded(word: Word) -> tuple[int, int, Expr] | None:
    """The first place where a rule marked `fold` applies backwards: (start, stop, short form)."""
    for k, letter in enumerate(word):
        ways = []
        for candidate in _folds().get(_operation(letter), ()):
            found = _match_word(candidate, word, k)
            if found is not None:
                start, stop, match = found
                short = build.instantiate(candidate.rhs, dict(match.found), dict(match.dims))
                ways.append((start, stop, short))
        if ways:  # the most letters, of plain operands: A⁺ᵀ rather than (Aᵀ)⁺
            return min(ways, key=_plainness)
    return None


def _plainness(way: tuple[int, int, Expr]) -> tuple[int, int, bool]:
    start, stop, short = way
    transposes = sum(isinstance(node, Transpose) for node in topological(short))
    return start - stop, transposes, not isinstance(short, Transpose)


def _instance(rule: Rewrite, rhs: Expr, match: Match) -> Form | None:
    found, dims = dict(match.found), dict(match.dims)
    for condition, prop in rule.when:
        if not is_(build.instantiate(condition, found, dims), prop):
            return None
    return words.form(build.instantiate(rhs, found, dims))


# --- matching -------------------------------------------------------------------------------------


def _match_word(rule: _WordRule, word: Word, k: int) -> tuple[int, int, Match] | None:
    for match in _match_letter(rule.letters[rule.anchor], word[k], Match({}, {})):
        stop = k + 1
        start = k
        whole: Match | None = match
        for pattern in rule.letters[rule.anchor + 1 :]:
            whole, n = _beside(pattern, word[stop:], whole, from_left=True)
            stop += n
        for pattern in reversed(rule.letters[: rule.anchor]):
            whole, n = _beside(pattern, word[:start], whole, from_left=False)
            start -= n
        if whole is not None:
            return start, stop, whole
    return None


def _beside(
    pattern: Expr, word: Word, match: Match | None, from_left: bool
) -> tuple[Match | None, int]:
    """The match extended by the letters of `word` at that end, and how many letters it takes."""
    if match is None:
        return None, 0
    bound = _bound_word(pattern, match)
    if bound is not None:
        n = len(bound)
        piece = word[:n] if from_left else word[len(word) - n :]
        return (match, n) if n and len(word) >= n and piece == bound else (None, 0)
    if not word:
        return None, 0
    found = _match_letter(pattern, word[0] if from_left else word[-1], match)
    return next(found, None), 1


def _bound_word(pattern: Expr, match: Match) -> Word | None:
    turned = isinstance(pattern, Transpose)
    variable = pattern.args[0] if turned else pattern
    if variable not in match.found:
        return None
    total = words.form(match.found[variable])
    if turned:
        total = transpose(total)
    match total.single:
        case (c, (), word) if c == 1:
            return word
    return ()


def _match_letter(pattern: Expr, letter: Expr, match: Match) -> Iterator[Match]:
    if isinstance(pattern, Transpose):
        if _is_variable(pattern):
            sign, turned = flip(letter)
            if sign == 1:
                yield from _bind(pattern.args[0], turned, match)
        elif isinstance(letter, Transpose):
            yield from _match_letter(pattern.args[0], letter.args[0], match)
    elif isinstance(pattern, Var):
        yield from _bind(pattern, letter, match)
    else:
        yield from _match(pattern, letter, match)


def _match(pattern: Expr, e: Expr, match: Match) -> Iterator[Match]:
    """All ways in which a normalised expression is an instance of the pattern."""
    if isinstance(pattern, Var):
        yield from _bind(pattern, e, match)
    elif isinstance(pattern, Number):
        if e is pattern:
            yield match
    elif isinstance(pattern, Scale):
        yield from _match_scaled(pattern, e, match)
    elif isinstance(pattern, Product):
        total = words.form(e)
        match total.single:
            case (c, (), word) if c == 1:
                yield from _match_segments(pattern.args, word, match)
    elif isinstance(pattern, Transpose) and _is_variable(pattern):
        turned = transpose(words.form(e)).expression()
        yield from _bind(pattern.args[0], turned, match)
    elif _operation(pattern) == _operation(e) and len(pattern.args) == len(e.args):
        dims = _with_dims(pattern, e, match.dims)
        if dims is not None:
            yield from _match_all(pattern.args, e.args, Match(match.found, dims))


def _match_all(patterns: Word, actual: Word, match: Match) -> Iterator[Match]:
    if not patterns:
        yield match
        return
    for found in _match(patterns[0], actual[0], match):
        yield from _match_all(patterns[1:], actual[1:], found)


def _match_scaled(pattern: Expr, e: Expr, match: Match) -> Iterator[Match]:
    c, X = pattern.args
    total = words.form(e)
    if isinstance(c, Number):
        number = words.as_fraction(c.value)
        if number < 0 and words.content(total) < 0:
            yield from _match(X, words.times_number(1 / number, total).expression(), match)
        return
    if total.single is None:
        number = words.content(total)
        scalar = words.constant(number)
        rest = words.times_number(1 / number, total)
    else:
        number, powers, word = total.single
        scalar = Form(c.rows, c.cols, {(powers, ()): number})
        rest = words.of_word(word, total.rows, total.cols)
    if scalar == words.constant(1):
        return
    for found in _bind(c, scalar.expression(), match):
        yield from _match(X, rest.expression(), found)


def _match_segments(patterns: Word, word: Word, match: Match) -> Iterator[Match]:
    if not patterns:
        if not word:
            yield match
        return
    first, others = patterns[0], patterns[1:]
    if not _is_variable(first):
        if word:
            for found in _match_letter(first, word[0], match):
                yield from _match_segments(others, word[1:], found)
        return
    bound = _bound_word(first, match)
    if bound is not None:
        if bound and word[: len(bound)] == bound:
            yield from _match_segments(others, word[len(bound) :], match)
        return
    for n in range(1, len(word) - len(others) + 1):
        sign, piece = flip_word(word[:n]) if isinstance(first, Transpose) else (1, word[:n])
        if sign < 0:
            continue
        variable = first.args[0] if isinstance(first, Transpose) else first
        for found in _bind(variable, build.matmul(*piece), match):
            yield from _match_segments(others, word[n:], found)


def _bind(variable: Expr, e: Expr, match: Match) -> Iterator[Match]:
    if variable in match.found:
        if match.found[variable] is e:
            yield match
        return
    dims = _with_dims(variable, e, match.dims)
    if dims is None:
        return
    assert isinstance(variable, Var)
    if all(is_(e, prop) for prop in variable.properties):
        yield Match({**match.found, variable: e}, dims)


def _with_dims(
    pattern: Expr, e: Expr, dims: Mapping[sp.Symbol, Dim]
) -> Mapping[sp.Symbol, Dim] | None:
    """The dimension names with those of `pattern` bound to e's; None when they disagree."""
    bound = dict(dims)
    for declared, actual in zip(pattern.shape, e.shape, strict=True):
        if declared.is_Symbol:
            if bound.setdefault(declared, actual) != actual:
                return None
        elif declared.is_Integer and declared != actual:
            return None
    return bound
