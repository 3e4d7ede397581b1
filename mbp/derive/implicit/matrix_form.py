"""From entries back to matrices: kernels, masks, complements, and introduced frames folded away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import sympy as sp

from mbp.decomposition import outputs_of
from mbp.derive.implicit.frames import (
    Columns,
    FrameError,
    Frames,
    Hidden,
    Label,
    Mark,
    Null,
    transposed,
)
from mbp.derive.implicit.pairs import Pair, PairSystems, Place, index_symbol
from mbp.derive.implicit.polynomial import matrix, properties, scalar_expr, scaled, symmetry
from mbp.expr import build
from mbp.expr.dims import ONE
from mbp.expr.nodes import DiagVec, Expr, Variation
from mbp.expr.nodes import col as kernel_col
from mbp.expr.nodes import row as kernel_row

Formula = dict[tuple[Expr | int, str], sp.Expr]
"""{(known letter, "ij" or "ji"): k(i, j)}: an unknown entry as Σ k · w."""


@dataclass(frozen=True, eq=False)
class Spectral:
    """The diagonal matrix with entries f on a label, f a function of the spectra."""

    f: sp.Expr


Atom = Mark | Spectral
Word = tuple[Atom, ...]


@dataclass
class MatrixForm:
    """Rebuilds each output's variation; `kernels` collects what Hadamard products multiply."""

    systems: PairSystems
    pairs: list[Pair]
    kernels: dict[str, Expr] = field(default_factory=dict)

    @property
    def frames(self) -> Frames:
        """The frames of the pair systems."""
        return self.systems.frames

    def variation(self, X: Expr) -> Expr:
        """dX as an expression linear in the variations of the inputs."""
        words: list[tuple[sp.Expr, Word]] = []
        grouped: list[Expr] = []
        for row in self.frames.labels(X, 0):
            for col in self.frames.labels(X, 1):
                left, right = self.frames.basis(X, 0, row), transposed(self.frames.basis(X, 1, col))
                inner: list[Expr] = []
                for mask, formula in self._masked(X, row, col):
                    for c, word in self._separable(formula, row, col) if mask == "full" else ():
                        words.append((c, (*left, *word, *right)))
                    inner.extend(self._kernel_terms(mask, formula, row, col))
                if inner:
                    grouped.append(build.matmul(
                        *(self._resolved(m) for m in left), build.add(*inner),
                        *(self._resolved(m) for m in right),
                    ))
        terms = [*grouped, *self._word_terms(words)]
        return build.add(*terms) if terms else build.zeros(*X.shape)

    def product(self, word: Word) -> Expr:
        """The word as an expression, introduced frames folded away."""
        marks = self._folded(word)
        if marks:
            return build.matmul(*(_expr(m) for m in marks))
        first = word[0]
        assert isinstance(first, Mark) and isinstance(first.atom, Expr)
        return build.eye(_expr(first).rows)

    # --- entries ----------------------------------------------------------------------------

    def _formulas(self, X: Expr, row: Label, col: Label) -> dict[str, Formula]:
        """The formulas of block (row, col): "ij", or "ij" (i > j), "ji" (i < j) and "ii"."""
        found: dict[str, Formula] = {}
        for pair in self.pairs:
            for place, line in pair.solution.items():
                if place.letter is not X:
                    continue
                for sign, target in self._mirrored(place):
                    if (target.row, target.col) == (row, col):
                        flip = target.order == "ji"
                        order = "ij" if row != col else target.order
                        found[order] = self._formula(line, sign, flip)
        return found

    def _mirrored(self, place: Place) -> Iterator[tuple[int, Place]]:
        """The entry and, where a symmetry made it stand for two, its mirror image."""
        yield 1, place
        mirror = place._replace(row=place.col, col=place.row, order=place.order[::-1])
        if mirror != place:
            same = self.systems.place(*mirror)
            if same is not None and same[1] == place:
                yield same[0], mirror

    def _formula(self, line: dict[Place, sp.Expr], sign: int, flip: bool) -> Formula:
        formula: Formula = {}
        for known, k in line.items():
            k = sign * k
            if flip:
                k = self.systems.swapped(k)
                known = known._replace(order=known.order[::-1])
                # Of a symmetric letter only one of two mirrored entries is ever used.
                placed = self.systems.place(*known)
                if placed is not None and known.row == known.col:
                    k, known = k * placed[0], placed[1]
            key = (known.letter, known.order)
            formula[key] = formula.get(key, sp.Integer(0)) + k
        return formula

    def _masked(self, X: Expr, row: Label, col: Label) -> Iterator[tuple[str, Formula]]:
        formulas = self._formulas(X, row, col)
        if row != col or row.size == ONE:
            yield "full", formulas.get("ij" if row != col else "ii", {})
            return
        low, up, equal = (formulas.get(order, {}) for order in ("ij", "ji", "ii"))
        if _same(low, up):
            poles = {key: k for key, k in low.items() if self.systems.on_diagonal(k) is None}
            regular = {key: k for key, k in low.items() if key not in poles}
            if poles:
                yield "off", poles
            if regular and not poles and self._limit(regular) == equal:
                yield "full", regular
            elif regular and (poles or any(equal.values())):
                yield "full", regular
                yield "diag", _difference(equal, self._limit(regular) or {})
            elif regular:
                yield "strictly_lower", regular
                yield "strictly_upper", regular
            else:
                yield "diag", equal
            return
        mirror = {
            (letter, order[::-1]): self.systems.swapped(k) for (letter, order), k in up.items()
        }
        for sign, part in ((1, "sym"), (-1, "skew")):
            if _same(low, {key: sign * k for key, k in mirror.items()}):
                yield f"{part} of strictly_lower", low
                yield "diag", equal
                return
        for mask, formula in (("lower", low), ("upper", up)):
            if formula and self._limit(formula) == equal:
                yield mask, formula
                equal = {}
            elif formula:
                yield f"strictly_{mask}", formula
        yield "diag", equal

    def _limit(self, formula: Formula) -> Formula | None:
        """The formula at i = j; None where an entry has a pole."""
        limit: Formula = {}
        for (letter, _), k in formula.items():
            value = self.systems.on_diagonal(k)
            if value is None:
                return None
            limit[letter, "ii"] = sp.cancel(limit.get((letter, "ii"), 0) + value)
        return {key: value for key, value in limit.items() if value != 0}

    # --- kernels ----------------------------------------------------------------------------

    def _split(self, k: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
        """(c, a(i), b(j), K(i, j)) with k = c a b K and K without separable factors."""
        rows = {index_symbol(s, "i") for s in self.frames.spectra}
        cols = {index_symbol(s, "j") for s in self.frames.spectra}
        c = a = b = K = sp.Integer(1)
        for factor in sp.Mul.make_args(sp.factor(k)):
            symbols = factor.free_symbols
            if not symbols & (rows | cols):
                c *= factor
            elif not symbols & cols:
                a *= factor
            elif not symbols & rows:
                b *= factor
            else:
                K *= factor
        numerator, denominator = (sp.expand(part) for part in sp.fraction(K))
        if self._descends(denominator):
            c, denominator = -c, sp.expand(-denominator)
        return c, a, b, numerator / denominator

    def _descends(self, denominator: sp.Expr) -> bool:
        """Whether the sign is better turned, so that 1/(s_i − s_j) and not 1/(s_j − s_i) shows."""
        i = [index_symbol(s, "i") for s in self.frames.spectra]
        lead = next((s for s in i if s in denominator.free_symbols), None)
        return lead is not None and bool(sp.Poly(denominator, lead).LC().could_extract_minus_sign())

    def _block(self, key: tuple[Expr | int, str], row: Label, col: Label) -> Columns:
        """The transformed known variation, W or Wᵀ, as a word."""
        letter, order = key
        if order == "ji":
            row, col = col, row
        if isinstance(letter, int):
            e = next(e for e in self.systems.equations if e.number == letter)
            d = matrix(scaled(sp.Integer(-1), e.lumped), e.rows, e.cols)
        else:
            d = Variation(letter)
        word = (
            *transposed(self.frames.dual(letter, 0, row)), Mark(d),
            *self.frames.dual(letter, 1, col),
        )
        return transposed(word) if order == "ji" else word

    def _separable(
        self, formula: Formula, row: Label, col: Label
    ) -> Iterator[tuple[sp.Expr, Word]]:
        for key, k in formula.items():
            c, a, b, K = self._split(k)
            if K == 1:
                yield c, (*_spectral(a), *self._block(key, row, col), *_spectral(b))

    def _kernel_terms(self, mask: str, formula: Formula, row: Label, col: Label) -> Iterator[Expr]:
        """The terms that need a mask or a Hadamard product with a kernel."""
        groups: dict[sp.Expr, list[tuple[sp.Expr, Word, tuple[Expr | int, str]]]] = {}
        for key, k in formula.items():
            c, a, b, K = self._split(k)
            if K != 1 or mask != "full":
                word = (*_spectral(a), *self._block(key, row, col), *_spectral(b))
                groups.setdefault(K, []).append((c, word, key))
        for K, terms in groups.items():
            # k antisymmetric: the paper writes Kᵀ ∘ … with K_ij = 1/(s_i − s_j).
            turned = (
                K != 1 and row == col and terms[0][0].could_extract_minus_sign()
                and sp.cancel(K + self.systems.swapped(K)) == 0
            )
            if turned:
                terms = [(-c, word, key) for c, word, key in terms]
            inner = self._inner(terms)
            if K == 1:
                yield _part(mask, inner)
                continue
            kernel = self._kernel(K, sp.Integer(0) if mask == "off" else None, row, col)
            if turned:
                kernel = build.transpose(kernel)
            result = build.hadamard(kernel, inner)
            yield result if mask in ("full", "off") else _part(mask, result)

    def _inner(self, terms: list[tuple[sp.Expr, Word, tuple[Expr | int, str]]]) -> Expr:
        if len(terms) == 2:
            (c, word, key), (d, other, second) = sorted(terms, key=lambda term: term[2][1] == "ji")
            mirror = key[0] == second[0] and key[1] == second[1][::-1]
            if mirror and abs(sp.cancel(c / d)) == 1 and self._mirror(word) == self._plain(other):
                part = "sym" if sp.cancel(c - d) == 0 else "skew"
                whole = build.part(part, build.matmul(*(self._resolved(m) for m in word)))
                return build.scale(scalar_expr(2 * c), whole)
        return build.add(*(
            build.scale(scalar_expr(c), build.matmul(*(self._resolved(m) for m in word)))
            for c, word, _ in terms
        ))

    def _plain(self, word: Word) -> list[object]:
        return [("f", self._bare(m.f)) if isinstance(m, Spectral) else _normal(m) for m in word]

    def _mirror(self, word: Word) -> list[object]:
        return self._plain(tuple(
            m if isinstance(m, Spectral) else m.T for m in reversed(word)
        ))

    def _bare(self, f: sp.Expr) -> sp.Expr:
        """A function of one index as a function of the spectra."""
        return f.xreplace({
            index_symbol(s, index): s for s in self.frames.spectra for index in "ij"
        })

    def _kernel(self, K: sp.Expr, diagonal: sp.Expr | None, row: Label, col: Label) -> Expr:
        operands: list[Expr] = []
        names: dict[sp.Expr, sp.Expr] = {}
        for s, vector in self.frames.spectra.items():
            i, j = index_symbol(s, "i"), index_symbol(s, "j")
            if K.free_symbols & {i, j}:
                names |= {i: kernel_row(len(operands)), j: kernel_col(len(operands))}
                operands.append(vector)
        for c in sorted(K.free_symbols - set(names), key=str):
            names[c] = kernel_row(len(operands))
            operands.append(scalar_expr(c))
        node = build.kernel(K.xreplace(names), diagonal, tuple(operands), row.size, col.size)
        if node not in self.kernels.values():
            self.kernels["K" if not self.kernels else f"K{len(self.kernels) + 1}"] = node
        return node

    # --- words ------------------------------------------------------------------------------

    def _word_terms(self, words: list[tuple[sp.Expr, Word]]) -> list[Expr]:
        """The words folded, and a word with its transpose joined to 2 (·)_sym."""
        folded = [(c, self._folded(word)) for c, word in words]
        terms = []
        while folded:
            c, word = folded.pop(0)
            mirror = tuple(_normal(m.T) for m in reversed(word))
            twin = next(
                (k for k, (d, other) in enumerate(folded) if other == mirror and d == c), None
            )
            product_ = build.matmul(*(_expr(m) for m in word))
            if twin is not None and mirror != word:
                if any(isinstance(m.atom, Variation) and m.transposed for m in word):
                    word = mirror
                folded.pop(twin)
                c, product_ = 2 * c, build.sym(build.matmul(*(_expr(m) for m in word)))
            terms.append(build.scale(scalar_expr(c), product_))
        return terms

    def _folded(self, word: Word) -> tuple[Mark, ...]:
        """The word with pieces of introduced frames replaced by functions of the letters."""
        atoms = list(word)
        done: list[Mark] = []
        while atoms:
            atom = atoms.pop(0)
            if isinstance(atom, Mark) and isinstance(atom.atom, Null):
                other = atoms.pop(0) if atoms else None
                if atom.transposed or other != atom.T:
                    raise FrameError("a complement is left over")
                done.append(Mark(self._complement(atom.atom)))
            elif isinstance(atom, Mark) and isinstance(atom.atom, Hidden) and not atom.transposed:
                count = next(
                    (k for k, b in enumerate(atoms) if not isinstance(b, Spectral)), len(atoms)
                )
                chain = None
                if count < len(atoms):
                    f = sp.Mul(*(self._bare(b.f) for b in atoms[:count] if isinstance(b, Spectral)))
                    chain = self._function(atom, f, atoms[count])
                if chain is None:
                    done.append(Mark(self._resolved(atom)))
                elif count == 0 and self._absorbed(atom, done[-1:], atoms[1:2]):
                    del atoms[:1]
                else:
                    done.extend(chain)
                    del atoms[: count + 1]
            elif isinstance(atom, Spectral) or isinstance(atom.atom, Hidden):
                done.append(Mark(self._resolved(atom)))
            else:
                done.append(_normal(atom))
        return self._cancelled([self._named_inverse(m) for m in done])

    def _absorbed(self, left: Mark, before: list[Mark], after: list[Atom]) -> bool:
        """Whether F Fᵀ stands beside a letter with that range, and changes nothing."""
        assert isinstance(left.atom, Hidden)
        for marks, side in ((before, 1), (after, 0)):
            for mark in marks:
                if isinstance(mark, Mark) and mark.atom in self.frames.cores:
                    core = self.frames.cores[mark.atom]
                    which = side ^ int(mark.transposed)
                    if set(core) == {left.atom.label} and self.frames.basis(
                        mark.atom, which, left.atom.label
                    ) == (left,):
                        return True
        return False

    def _complement(self, null: Null) -> Expr:
        inside = [
            self._folded((*F, *transposed(G))) for F, G in null.columns
        ]
        terms = [build.matmul(*(_expr(m) for m in word)) for word in inside]
        return build.subtract(build.eye(null.rows), build.add(*terms))

    def _function(self, left: Mark, f: sp.Expr, right: Atom) -> list[Mark] | None:
        """Letters whose product is left · f · right, of at most three factors; None if none."""
        if isinstance(right, Spectral) or not right.transposed:
            return None
        assert isinstance(left.atom, Hidden)
        label = left.atom.label
        if f == 1 and left == right.T and left.atom.whole is not None and left.atom.whole.is_square:
            return []
        chains: list[tuple[Mark, sp.Expr, list[Mark]]] = [(left, sp.Integer(1), [])]
        edges = list(self._functions(label))
        for _ in range(3):
            longer = []
            for (end, value, chain), (start, core, mark, out) in product(chains, edges):
                if start != (end,):
                    continue
                if out == (right.T,) and sp.cancel(value * core - f) == 0:
                    return [*chain, mark]
                if len(out) == 1:
                    longer.append((out[0], value * core, [*chain, mark]))
            chains = longer
        return None

    def _functions(self, label: Label) -> Iterator[tuple[Columns, sp.Expr, Mark, Columns]]:
        """Letters that are diagonal on `label` and vanish elsewhere, then A⁺ of the introduced."""
        frames = self.frames
        for X, core in frames.cores.items():
            if set(core) == {label}:
                for which in (0, 1):
                    yield (
                        frames.basis(X, which, label), core[label],
                        _normal(Mark(X, bool(which))), frames.basis(X, 1 - which, label),
                    )
        for X, core in frames.cores.items():
            hidden = any(isinstance(m.atom, Hidden) and m.atom.letter is X
                         for m in frames.basis(X, 0, label)) if set(core) == {label} else False
            if hidden:
                inverse = (
                    build.inv(X) if X.is_square and X not in frames.setting.constant_rank
                    else outputs_of("generalized_inverse", X)[0]
                )
                for which in (0, 1):
                    yield (
                        frames.basis(X, 1 - which, label), 1 / core[label],
                        _normal(Mark(inverse, bool(which))), frames.basis(X, which, label),
                    )

    def _named_inverse(self, mark: Mark) -> Mark:
        """A letter in place of an inverse that it is: Y for A⁻¹ where A Y = I."""
        for X, core in self.frames.cores.items():
            if all(value == 1 for value in core.values()) and len(core) == 1:
                label = next(iter(core))
                word = (
                    *self.frames.basis(X, 0, label), *transposed(self.frames.basis(X, 1, label))
                )
                if word == (mark,) and mark.atom is not X:
                    return Mark(X)
                if word == (mark.T,) and mark.atom is not X:
                    return _normal(Mark(X, True))
        return mark

    def _cancelled(self, marks: list[Mark]) -> tuple[Mark, ...]:
        """QᵀQ = I dropped for orthonormal columns, and QQᵀ = I for orthogonal matrices."""
        kept: list[Mark] = []
        for mark in marks:
            if kept and _inverse(kept[-1], mark):
                kept.pop()
                continue
            if kept and isinstance(mark.atom, Expr) and kept[-1] == mark.T:
                known = properties(mark.atom)
                if "orthogonal" in known or (
                    "orthonormal_columns" in known and not mark.transposed
                ):
                    kept.pop()
                    continue
            kept.append(mark)
        return tuple(kept)

    def _resolved(self, atom: Atom) -> Expr:
        """A piece of a frame or a function of the spectrum as an expression."""
        if isinstance(atom, Spectral):
            return self._diagonal(self._bare(atom.f))
        if isinstance(atom.atom, Hidden):
            if atom.atom.whole is None:
                raise FrameError(f"the frame of {atom.atom.letter} does not fold away")
            return _expr(Mark(atom.atom.whole, atom.transposed))
        if isinstance(atom.atom, Null):
            raise FrameError("a complement is left over")
        return _expr(atom)

    def _diagonal(self, f: sp.Expr) -> Expr:
        """diag(f(s)) as an expression; powers of one spectrum as powers of its matrix."""
        factors = []
        for base, power in f.as_powers_dict().items():
            vector = self.frames.spectra.get(base)
            if isinstance(vector, DiagVec) and power in (-2, -1, 1, 2):
                S = vector.args[0] if power > 0 else build.inv(vector.args[0])
                factors.extend([S] * abs(int(power)))
            else:
                arguments = {s.name: v for s, v in self.frames.spectra.items()}
                names = {s: sp.Symbol(s.name) for s in self.frames.spectra}
                for c in base.free_symbols - set(names):
                    names[c] = sp.Symbol(f"c{len(arguments)}")
                    arguments[names[c].name] = scalar_expr(c)
                body = (base**power).xreplace(names)
                factors.append(build.diag_matrix(build.map_scalar(body, **arguments)))
        return build.matmul(*factors)


def _part(mask: str, A: Expr) -> Expr:
    outer, _, inner = mask.rpartition(" of ")
    A = build.part(inner, A)
    return build.scale(build.number(2), build.part(outer, A)) if outer else A


def _spectral(f: sp.Expr) -> Word:
    return () if f == 1 else (Spectral(f),)


def _normal(mark: Mark) -> Mark:
    """The mark with the transpose of a symmetric letter, or of its variation, dropped."""
    if not mark.transposed or not isinstance(mark.atom, Expr):
        return mark
    letter = mark.atom.args[0] if isinstance(mark.atom, Variation) else mark.atom
    return Mark(mark.atom) if symmetry(letter) > 0 else mark


def _expr(mark: Mark) -> Expr:
    assert isinstance(mark.atom, Expr)
    return build.transpose(mark.atom) if mark.transposed else mark.atom


def _inverse(left: Mark, right: Mark) -> bool:
    X, Y = _expr(left), _expr(right)
    return X.is_square and X.shape == Y.shape and build.inv(X) is Y


def _same(a: Formula, b: Formula) -> bool:
    return a.keys() == b.keys() and all(sp.cancel(a[key] - b[key]) == 0 for key in a)


def _difference(a: Formula, b: Formula) -> Formula:
    keys = dict.fromkeys([*a, *b])
    found = {key: sp.cancel(a.get(key, 0) - b.get(key, 0)) for key in keys}
    return {key: value for key, value in found.items() if value != 0}
