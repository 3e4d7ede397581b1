"""The variety {(inputs, outputs) : equations and invariants hold} of a decomposition, in numbers.

A point is found by Gauss–Newton from a random start; the null space of the varied equations there
holds every admissible (dX, dY). Frames and pair systems play no part: this is linear algebra.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mbp.decomposition import Decomposition
from mbp.derive.variation import varied_in_letters
from mbp.errors import MbpError
from mbp.expr import build
from mbp.expr.nodes import Expr, Var, Variation
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.evaluate import Environment, evaluate

Array = NDArray[np.float64]
Values = dict[Expr, Array]

_STARTS, _STEPS = 40, 40
_TOLERANCE = 1e-8
"""Singular values below this part of the largest count as zero: the rank of exact equations."""


@dataclass(frozen=True)
class Variety:
    """A definition's equations at given sizes; `rank` is that of matrices of declared rank.

    `sizes` maps dimension names to integers.
    """

    definition: Decomposition
    sizes: Mapping[str, int]
    rank: int = 1

    @property
    def declared(self) -> tuple[Var, ...]:
        """Inputs and outputs."""
        return (*self.definition.inputs, *self.definition.outputs)

    @cached_property
    def factors(self) -> dict[Var, tuple[Var, Var]]:
        """Two factors for each matrix of declared rank, which keep it at that rank."""
        ranked = self.definition.constant_rank | {
            name for pair in self.definition.equal_rank for name in pair
        }
        return {
            x: (
                build.var(f"B_{x.name}", x.rows, self.rank),
                build.var(f"C_{x.name}", x.cols, self.rank),
            )
            for x in self.declared if x.name in ranked
        }

    @cached_property
    def letters(self) -> tuple[Var, ...]:
        """All unknowns of the variety: the declared letters and the factors."""
        return (*self.declared, *(B for pair in self.factors.values() for B in pair))

    @cached_property
    def equations(self) -> tuple[tuple[Expr, Expr], ...]:
        """Each equation as (residual, its variation)."""
        sides = list(self.definition.equations)
        for x in self.declared:
            found = (VOCABULARY[n].equation_of(x) for n in sorted(VOCABULARY.closure(x.properties)))
            sides.extend(dict.fromkeys(s for s in found if s is not None))
        sides.extend((x, build.matmul(B, C.T)) for x, (B, C) in self.factors.items())
        residuals = [build.subtract(left, right) for left, right in sides]
        return tuple((r, varied_in_letters(r)) for r in residuals)

    # --- numbers ----------------------------------------------------------------------------

    def _numbers(self, values: Values, changes: Values) -> Environment:
        return {**values, **{Variation(x): v for x, v in changes.items()}, **self.sizes}

    def _shape(self, x: Var) -> tuple[int, int]:
        sizes = {n: self.sizes[n.name] for n in (x.rows.free_symbols | x.cols.free_symbols)}
        return int(x.rows.xreplace(sizes)), int(x.cols.xreplace(sizes))

    def split(self, vector: Array) -> Values:
        """A stacked vector of entries as matrices."""
        values: Values = {}
        for x in self.letters:
            rows, cols = self._shape(x)
            values[x], vector = vector[: rows * cols].reshape(rows, cols), vector[rows * cols :]
        return values

    def _joined(self, values: Values) -> Array:
        return np.concatenate([values[x].ravel() for x in self.letters])

    def residual(self, values: Values) -> Array:
        """All equations at a point, stacked."""
        env = self._numbers(values, {})
        return np.concatenate([np.asarray(evaluate(r, env)).ravel() for r, _ in self.equations])

    def varied(self, values: Values, changes: Values) -> Array:
        """All varied equations at a point along `changes`, stacked."""
        env = self._numbers(values, changes)
        return np.concatenate([np.asarray(evaluate(v, env)).ravel() for _, v in self.equations])

    def jacobian(self, values: Values) -> Array:
        """The matrix of the varied equations in the entries of all letters."""
        count = len(self._joined(values))
        constant = np.concatenate([
            np.full(values[x].size, float("constant" in x.properties)) for x in self.letters
        ])
        columns = [
            self.varied(values, self.split(e)) if not constant[k] else None
            for k, e in enumerate(np.eye(count))
        ]
        height = len(next(c for c in columns if c is not None))
        return np.stack([np.zeros(height) if c is None else c for c in columns], axis=1)

    # --- points and directions --------------------------------------------------------------

    def point(self, rng: np.random.Generator, starts: int = _STARTS) -> Values:
        """A random point of the variety. Raises MbpError when Gauss–Newton finds none."""
        for attempt in range(starts):
            z = self._joined(self._start(rng))
            # Outputs first keeps the inputs generic; all together reaches a point more often.
            outputs = self._columns((*self.definition.outputs, *self._output_factors))
            if attempt % 2 == 0:
                z = self._solved(z, outputs)
            z = self._solved(z, np.arange(len(z)))
            values = self.split(z)
            if self._small(values) and self._admissible(values):
                return values
        raise MbpError(f"no point found that satisfies the equations of {self.definition.name}")

    def near(self, values: Values, step: Array) -> Values:
        """The point that Gauss–Newton reaches from a point moved by a stacked `step`."""
        z = self._joined(values) + step
        return self.split(self._solved(z, np.arange(len(z))))

    def completed(self, values: Mapping[Var, Array]) -> Values:
        """A point of inputs and outputs with the factors of those of declared rank."""
        found: Values = dict(values.items())
        for x, (B, C) in self.factors.items():
            U, s, V = np.linalg.svd(values[x])
            root = np.sqrt(s[: self.rank])
            found[B], found[C] = U[:, : self.rank] * root, V[: self.rank].T * root
        return found

    @property
    def _output_factors(self) -> tuple[Var, ...]:
        return tuple(B for y in self.definition.outputs for B in self.factors.get(y, ()))

    def _small(self, values: Values) -> bool:
        size = max(1.0, *(float(np.abs(X).max()) for X in values.values()))
        return bool(np.abs(self.residual(values)).max() < 1e-13 * size**2)

    @np.errstate(all="ignore")  # a step may leave the domain, where it is rejected
    def _solved(self, z: Array, moving: NDArray[np.int64]) -> Array:
        """z after damped Gauss–Newton steps in the entries `moving`."""
        for _ in range(_STEPS):
            values = self.split(z)
            if self._small(values):
                break
            r = self.residual(values)
            J = self.jacobian(values)[:, moving]
            if not (np.isfinite(r).all() and np.isfinite(J).all()):
                break
            step = np.zeros(len(z))
            step[moving] = np.linalg.lstsq(J, r, rcond=1e-10)[0]
            for damping in 0.5 ** np.arange(10):
                ahead = z - damping * step
                closer = np.linalg.norm(self.residual(self.split(ahead))) < np.linalg.norm(r)
                if closer:
                    break
            if not closer:
                break
            z = ahead
        return z

    def _start(self, rng: np.random.Generator) -> Values:
        values: Values = {}
        for x in self.letters:
            known = VOCABULARY.closure(x.properties)
            rows, cols = self._shape(x)
            Z = rng.normal(size=(rows, cols))
            if "diagonal" in known:
                Z = np.diag(np.sort(rng.uniform(0.5, 1.0 + rows, rows))[::-1])
            elif "positive_definite" in known:
                Z = Z @ Z.T / rows + np.eye(rows)
            elif known & {"lower_triangular", "upper_triangular", "invertible"}:
                Z = Z + 2 * np.eye(rows)
            elif "nonnegative" in known or "constant" in known:
                Z = np.abs(Z) + 0.5
            if "symmetric" in known:
                Z = (Z + Z.T) / 2
            values[x] = Z
        for x, (B, C) in self.factors.items():
            if x in self.definition.outputs and x.is_square:
                values[B] = values[C] = np.linalg.qr(self._range(x, values))[0]
            known = VOCABULARY.closure(x.properties)
            if "symmetric" in known:
                signs = 1.0 if "positive_semidefinite" in known else (-1.0) ** np.arange(self.rank)
                values[C] = values[B] * signs
            values[x] = values[B] @ values[C].T
        return values

    def _range(self, x: Var, values: Values) -> Array:
        # Projectors start in another matrix's range: elsewhere Gauss–Newton runs into its zero.
        for pair in self.definition.equal_rank:
            for other, (B, C) in self.factors.items():
                if {x.name, other.name} == set(pair) and other is not x:
                    return values[B] if other.rows == x.rows else values[C]
        return values[self.factors[x][0]] if x in self.factors else values[x]

    def _admissible(self, values: Values) -> bool:
        """Whether the strict inequalities hold, well away from their boundary."""
        for x in self.declared:
            known = VOCABULARY.closure(x.properties)
            X = values[x]
            entries = np.diag(X) if "diagonal" in known else X
            if "positive" in known and entries.min() < 1e-2:
                return False
            if "nonnegative" in known and entries.min() < -1e-9:
                return False
            if "positive_definite" in known and np.linalg.eigvalsh(X).min() < 1e-2:
                return False
            if "diagonal" in known:
                s = np.sort(np.abs(np.diag(X)))
                if s[0] < 1e-2 or (len(s) > 1 and np.diff(s).min() < 1e-2):
                    return False
            if "full_column_rank" in known and np.linalg.svd(X, compute_uv=False)[-1] < 1e-2:
                return False
        return all(
            int((np.linalg.svd(values[x], compute_uv=False) > 1e-2).sum()) >= self.rank
            for x in self.factors
        )

    def tangents(self, values: Values) -> Array:
        """An orthonormal basis of the admissible (dX, dY, …), one a row."""
        constant = [x for x in self.letters if "constant" in x.properties]
        J = np.concatenate([
            self.jacobian(values),
            np.eye(len(self._joined(values)))[self._columns(tuple(constant))],
        ])
        _, s, V = np.linalg.svd(J)
        return V[int((s > _TOLERANCE * s[0]).sum()) :]

    def _columns(self, letters: tuple[Var, ...]) -> NDArray[np.int64]:
        chosen: list[int] = []
        start = 0
        for x in self.letters:
            size = int(np.prod(self._shape(x)))
            if x in letters:
                chosen.extend(range(start, start + size))
            start += size
        return np.array(chosen, dtype=np.int64)

    def gauge(self, values: Values) -> Array:
        """An orthonormal basis, one a row, of the dY that the equations admit at dX = 0."""
        N = self.tangents(values)
        inputs = self._columns(self.definition.inputs)
        outputs = self._columns(self.definition.outputs)
        still = N[:, inputs]
        _, s, V = np.linalg.svd(still.T, full_matrices=True)
        free = V[int((s > _TOLERANCE).sum()) :] @ N
        _, s, V = np.linalg.svd(free[:, outputs], full_matrices=False)
        return V[s > _TOLERANCE]

    def restricted(self, values: Values) -> bool:
        """Whether the equations with outputs allow fewer dX than the inputs' own invariants."""
        inputs = self._columns(self.definition.inputs)
        moves = int(np.linalg.matrix_rank(self.tangents(values)[:, inputs], tol=_TOLERANCE))
        alone = Variety(replace(self.definition, outputs=(), equations=()), self.sizes, self.rank)
        own = sum(
            int(np.prod(self._shape(x))) for x in self.definition.inputs
            if "constant" not in x.properties
        )
        if alone.equations:
            N = alone.tangents({x: values[x] for x in alone.letters})
            columns = alone._columns(self.definition.inputs)
            own = int(np.linalg.matrix_rank(N[:, columns], tol=_TOLERANCE))
        return moves < own
