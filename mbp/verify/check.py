"""`mbp check`: a generated module against witnesses that know nothing of its derivation.

forward       the outputs against the plain forward
autograd      the gradient against autograd of the plain forward
differences   the gradient against central differences along admissible directions
dot product   ⟨G, L(dX)⟩ = ⟨L*(G), dX⟩ of the emitted variation and adjoint
gauge         whether any loss on the outputs is blind to what the equations leave free
gradcheck     torch's own check, through a smooth parametrisation of the admissible set
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mbp.errors import MbpError
from mbp.expr.dims import ONE
from mbp.expr.nodes import Expr, Output, Var, topological
from mbp.invariants.infer import declared
from mbp.numeric.arithmetic import FLOAT64
from mbp.numeric.instances import (
    Curve,
    curve,
    deficient_ranks,
    is_fixed,
    random_point,
    random_sizes,
    random_variation,
    size_test,
)
from mbp.rulebook import RULEBOOK
from mbp.verify.admissible import unmet_condition
from mbp.verify.bridge import emitted_function
from mbp.verify.differences import BasePoint, Instance, directional_derivatives
from mbp.verify.forwards import contradictions
from mbp.verify.gauge import gauged, invariant, motions, verdict
from mbp.verify.magnitude import magnitude
from mbp.verify.parametrise import parametrise
from mbp.verify.plain import plain_forward
from mbp.verify.unforwarded import EquationInstance, has_all_forwards

if TYPE_CHECKING:
    from mbp.api import Layer

TOLERANCES: Mapping[str, float] = {
    "forward": 1e-9,
    "autograd": 1e-9,
    "differences": 1e-6,
    "dot product": 1e-9,
    "gradcheck": 0.5,
    "gauge": 0.5,
    "equations": 1e-9,
}
"""The largest relative error that passes; gradcheck and gauge answer 0 or 1."""

BATCHES: tuple[tuple[int, ...], ...] = ((), (3,))
ATTEMPTS = 1000
_CANCELLED = 1e-2
"""An output counts as no smaller than this part of its terms: rounding errors are of their size."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """The worst relative error of one input's gradient against one witness, over all sizes."""

    layer: str
    input: str
    witness: str
    error: float

    @property
    def tolerance(self) -> float:
        """The largest error that passes."""
        return TOLERANCES[self.witness]

    @property
    def passed(self) -> bool:
        """Whether the error is within its tolerance; NaN is not."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """What `check` found: a row for each input and witness."""

    layer: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.passed for row in self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __str__(self) -> str:
        lines = [
            f"{row.layer:<22}{row.input:<8}{row.witness:<14}{row.error:10.1e}"
            f"  {'ok' if row.passed else 'FAILED'}"
            for row in self.rows
        ]
        return "\n".join([*lines, *self.notes])


def check(layer: Layer, progress: Progress | None = None, target: str = "torch") -> Report:
    """Verifies the module of `layer` generated for a target, batched and not, in float64.

    Where a decomposition has no forward, so that there is no module, verifies the derivation from
    the defining equations (`mbp.verify.unforwarded`).
    Sizes cover square, tall and wide inputs where the layer allows them; the report notes which are
    left out because the derivation does not hold there. `progress` is told what is being checked.
    Raises MbpError when no admissible instance can be found.
    """
    say = progress or (lambda what: None)
    emitted = has_all_forwards(layer)
    worst: dict[tuple[str, str], float] = {}
    moves, has_gradient = False, True
    contradicted: set[str] = set()
    rng = np.random.default_rng(0)
    choices, left_out = _admissible(layer, _size_choices(layer, rng))
    for sizes in choices:
        for batch in BATCHES if emitted else ((),):
            say(f"{layer.name} ({_sizes_text(sizes)}, batch {batch})")
            instance: _Instance | EquationInstance
            if emitted:
                instance = _Instance(layer, sizes, batch, rng, target)
                contradicted.update(instance.contradictions())
            else:
                instance = EquationInstance(layer, sizes, rng)
            for key, error in instance.errors():
                worst[key] = max(worst.get(key, 0.0), float("inf") if np.isnan(error) else error)
            moves = moves or instance.moves
            has_gradient = has_gradient and (instance.has_gradient or not instance.moves)
    notes = [] if emitted else [f"{layer.name}: no forward, so no module to check"]
    notes += [*left_out, *sorted(contradicted)]
    notes += verdict(layer.name, layer.derive().gauges, moves, has_gradient)
    rows = [Row(layer.name, x, witness, error) for (x, witness), error in worst.items()]
    order = list(layer.definition.inputs)
    return Report(layer.name, tuple(sorted(rows, key=lambda row: order.index(row.input))),
                  tuple(notes))  # fmt: skip


def _size_choices(layer: Layer, rng: np.random.Generator) -> list[dict[str, int]]:
    """A few assignments of the dimensions: every order that is possible, and all of them equal."""
    found: dict[tuple[int, ...], dict[str, int]] = {}
    exprs = [*layer.definition.inputs.values(), *layer.definition.outputs.values()]
    for _ in range(24):
        sizes = random_sizes(exprs, rng, smallest=3)
        ranking = tuple(np.argsort(list(sizes.values())))
        found.setdefault(ranking, sizes)
    choices = list(found.values())[:3]
    names, fits = size_test(exprs)
    equal = dict.fromkeys(names, 4)
    # As many classes as samples leave nothing to a partition, and no gradient to compare.
    grouped = any("partition" in x.properties for x in layer.definition.inputs.values())
    if len(names) > 1 and fits(equal) and not grouped:
        choices.append(equal)
    return choices


def _admissible(
    layer: Layer, choices: list[dict[str, int]]
) -> tuple[list[dict[str, int]], list[str]]:
    """The sizes at which the derivation holds, and what is to be said of the others.

    All of them where it holds at none: a layer that is never admissible is not to pass.
    """
    unmet = [(sizes, unmet_condition(layer, sizes)) for sizes in choices]
    kept = [sizes for sizes, condition in unmet if condition is None]
    said = "was not checked" if kept else "is checked, but its derivation does not hold,"
    notes = [
        f"{layer.name} {said} at {_sizes_text(sizes)}, where nothing meets: {condition}"
        for sizes, condition in unmet if condition is not None
    ]
    return kept or choices, notes


def _sizes_text(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


class _Instance:
    """One random admissible point of a layer, with random cotangents, in torch and float64."""

    def __init__(
        self, layer: Layer, sizes: Mapping[str, int], batch: tuple[int, ...],
        rng: np.random.Generator, target: str,
    ) -> None:  # fmt: skip
        self.layer = layer
        self.definition = layer.definition
        self.sizes = sizes
        self.rng = rng
        self.batch = batch
        self.function = emitted_function(layer, target)
        self.ranks = deficient_ranks(tuple(self.definition.outputs.values()), sizes)
        self.values = self._sampled()
        self.torch_values: dict[Expr, Tensor] = {
            x: self._stacked(x, points) for x, points in self.values.items()
        }
        self.expected = plain = self.plain(self.torch_values)
        self.cotangents = {
            name: torch.from_numpy(rng.normal(size=value.shape)) for name, value in plain.items()
        }
        self.gauged = bool(gauged(list(self.definition.outputs.values())))
        self.moves = False
        self.has_gradient = not self.gauged or self._made_invariant()
        self.magnitudes = self._magnitudes()
        self.size = sum(float(G.norm()) * self.magnitudes[Y] for Y, G in self.cotangents.items())

    def _magnitudes(self) -> dict[str, float]:
        """Each output's norm, or where its terms cancel `_CANCELLED` times theirs."""
        outputs = self.definition.outputs
        nodes = list(topological(*outputs.values()))
        values = self.plain_values(dict(enumerate(nodes)))
        norms = {node: float(values[k].norm()) for k, node in enumerate(nodes)}
        found = {}
        for name, Y in outputs.items():
            terms = magnitude(Y, norms)
            found[name] = max(norms[Y], _CANCELLED * terms) if np.isfinite(terms) else norms[Y]
        return found

    def _sampled(self) -> dict[Var, list[np.ndarray]]:
        """Points of every input, one per batch element, at which the outputs are finite."""
        count = int(np.prod(self.batch))
        points: dict[Var, list[np.ndarray]] = {x: [] for x in self.definition.inputs.values()}
        fixed = {
            x: random_point(x, self.sizes, self.rng) for x in points if x.is_scalar and is_fixed(x)
        }
        for _ in range(count):
            for _ in range(ATTEMPTS):
                point = {
                    x: fixed[x] if x in fixed
                    else random_point(x, self.sizes, self.rng, rank=self.ranks.get(x))
                    for x in points
                }  # fmt: skip
                outputs = self.plain({x: torch.from_numpy(X) for x, X in point.items()})
                if all(bool(torch.isfinite(value).all()) for value in outputs.values()):
                    break
            else:
                raise MbpError(f"{self.layer.name}: no admissible instance has finite outputs")
            for x, X in point.items():
                points[x].append(X)
        return points

    def _stacked(self, x: Var, points: list[np.ndarray]) -> Tensor:
        if x.is_scalar and is_fixed(x):
            return torch.from_numpy(points[0])
        return torch.from_numpy(np.stack(points)).reshape(*self.batch, *points[0].shape)

    def plain(self, values: Mapping[Expr, Tensor]) -> dict[str, Tensor]:
        """The definition's outputs as matrices, by plain torch operations."""
        try:
            return plain_forward(self.definition.outputs, values, self.sizes)
        except RuntimeError:  # an input outside the domain, such as W1 < 0
            return {"outside": torch.tensor(float("nan"))}

    def _made_invariant(self) -> bool:
        """Takes from the cotangents what they have along the gauges; whether anything is left.

        A loss G : Y with what is left does not change to first order as the outputs move along
        what the defining equations leave free, so that it has a gradient.
        """
        left = True
        for index in np.ndindex(*self.batch):
            given = {name: G[index].numpy() for name, G in self.cotangents.items()}
            moving = motions(list(self.definition.outputs.values()), self.base(index))
            self.moves |= moving.shape[1] > 0
            for name, G in invariant(given, moving).items():
                left &= moving.shape[1] < sum(G.size for G in given.values())
                self.cotangents[name][index] = torch.from_numpy(G)
        return left

    def base(self, index: tuple[int, ...]) -> BasePoint:
        """A point of the batch, with the outputs of decompositions that torch gives there."""
        count = list(np.ndindex(*self.batch)).index(index)
        env: dict[Any, Any] = {**self.sizes}
        env |= {x: points[count] for x, points in self.values.items()}
        theirs = {
            key: tuple(Y.expand(*self.batch, -1, -1)[index].numpy() for Y in values)
            for key, values in self.decomposed.items()
        }
        return BasePoint(env, FLOAT64, theirs)

    @cached_property
    def decomposed(self) -> dict[tuple[str, tuple[Expr, ...]], list[Tensor]]:
        """The outputs of every decomposition in the layer, by plain torch operations."""
        found: dict[tuple[str, tuple[Expr, ...]], list[Tensor]] = {}
        for node in topological(*self.definition.outputs.values()):
            if isinstance(node, Output) and (node.rule, node.args) not in found:
                outputs = self.plain_values(dict(enumerate(RULEBOOK.call(node.rule, *node.args))))
                found[node.rule, node.args] = list(outputs.values())
        return found

    def plain_values(self, exprs: Mapping[int, Expr]) -> dict[int, Tensor]:
        """The values of some expressions of the inputs."""
        named = {str(k): A for k, A in exprs.items()}
        values = plain_forward(named, self.torch_values, self.sizes)
        return {int(k): value for k, value in values.items()}

    def contradictions(self) -> Iterator[str]:
        """What the forwards of decompositions deny of their definitions at the first sample."""
        index = next(np.ndindex(*self.batch))
        return contradictions(list(self.definition.outputs.values()), self.base(index))

    def generated(self, values: Mapping[Expr, Tensor]) -> dict[str, Tensor]:
        """The generated module's outputs, as matrices."""
        inputs = self.definition.inputs.items()
        arguments = {name: _argument(x, values[x]) for name, x in inputs}
        result = self.function(**arguments)
        results = result if isinstance(result, tuple) else (result,)
        pairs = zip(self.definition.outputs.items(), results, strict=True)
        return {name: self._with_signs(name, Y, _matrix(Y, value)) for (name, Y), value in pairs}

    def _with_signs(self, name: str, Y: Expr, value: Tensor) -> Tensor:
        """A decomposition's vectors with the signs of the plain forward's: a discrete gauge."""
        if not (isinstance(Y, Output) and {"orthogonal", "orthonormal_columns"} & declared(Y)):
            return value
        signs = (value.detach() * self.expected[name]).sum(-2, keepdim=True).sign()
        return value * torch.where(signs == 0, 1.0, signs)

    def loss(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """G : Y, summed over outputs and batch."""
        return torch.stack([(G * outputs[name]).sum() for name, G in self.cotangents.items()]).sum()

    def errors(self) -> Iterator[tuple[tuple[str, str], float]]:
        """(input, witness) and the relative error there."""
        forward = self._forward_error()
        for name in self.definition.differentiable:
            x = self.definition.inputs[name]
            if not self.has_gradient:
                yield (name, "gauge"), 1.0
                continue
            if self.gauged:
                yield (name, "gauge"), 0.0
            yield (name, "forward"), forward
            gradient = self._gradient(x, self.generated)
            against_autograd = self._against_autograd(x)
            if against_autograd is not None:
                yield (name, "autograd"), against_autograd
            yield (name, "differences"), self._against_differences(x, gradient)
            yield (name, "dot product"), self._dot_product(x, gradient)
            yield (name, "gradcheck"), self._gradcheck(x)

    def _forward_error(self) -> float:
        """The largest error of an output, relative to its size."""
        found = self.generated(self.torch_values)
        errors = []
        for name, value in self.expected.items():
            size = max(self.magnitudes[name], float(found[name].norm()))
            errors.append(float((found[name] - value).norm()) / size if size else 0.0)
        return float(np.max(errors))  # nan if one is

    def _gradient(
        self, x: Var, forward: Callable[[Mapping[Expr, Tensor]], dict[str, Tensor]]
    ) -> Tensor:
        X = self.torch_values[x].clone().requires_grad_()
        return _derivative(self.loss(forward({**self.torch_values, x: X})), X)

    def _moved(
        self, x: Var, forward: Callable[[Mapping[Expr, Tensor]], dict[str, Tensor]]
    ) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
        theta, X = parametrise(x, self.torch_values[x], x in self.ranks)
        return theta, lambda t: forward({**self.torch_values, x: X(t)})

    def _scale(self, x: Var, *sizes: float) -> float:
        """What an error is relative to: the gradients, or where they vanish the loss over x."""
        reach = 1e-2 * self.size / max(float(self.torch_values[x].norm()), 1e-12)
        return max(*sizes, reach, float(np.finfo(float).tiny))

    def _against_autograd(self, x: Var) -> float | None:
        """The distance of the gradients in θ; None where autograd itself has no answer.

        It has none where it is not finite, and along a gauge, where torch ignores the cotangent.
        """
        if self.gauged:
            return None
        gradients = []
        for forward in (self.generated, self.plain):
            theta, moved = self._moved(x, forward)
            theta.requires_grad_()
            gradients.append(_derivative(self.loss(moved(theta)), theta))
        mine, theirs = gradients
        if not torch.isfinite(theirs).all():
            return None
        size = self._scale(x, float(mine.norm()), float(theirs.norm()))
        return float((mine - theirs).norm()) / size

    def _against_differences(self, x: Var, gradient: Tensor) -> float:
        """Against differences of the definition along one admissible curve for each sample."""
        expected, variations = 0.0, []
        for k, index in enumerate(np.ndindex(*self.batch)):
            point = {y: points[k] for y, points in self.values.items()}
            direction = {y: np.zeros_like(Y) for y, Y in point.items()}
            direction[x] = random_variation(x, point[x], self.rng)
            curves: dict[Var, Curve] = {y: curve(y, Y, direction[y]) for y, Y in point.items()}
            instance = Instance(FLOAT64, self.sizes, point, direction, curves)
            outputs = self.definition.outputs
            derivatives = directional_derivatives(
                list(outputs.values()), instance, self.base(index)
            )
            for name, dY in zip(outputs, derivatives, strict=True):
                expected += float((self.cotangents[name][index].numpy() * dY).sum())
            variations.append(direction[x])
        found = float((gradient * self._stacked(x, variations)).sum())
        return abs(found - expected) / self._scale(x, abs(found), abs(expected))

    def _dot_product(self, x: Var, gradient: Tensor) -> float:
        dX = self._stacked(x, [random_variation(x, X, self.rng) for X in self.values[x]])
        X = self.torch_values[x]
        dY = torch.func.jvp(lambda X: self.generated({**self.torch_values, x: X}), (X,), (dX,))[1]
        left, right = float(self.loss(dY)), float((gradient * dX).sum())
        return abs(left - right) / self._scale(x, abs(left), abs(right))

    def _gradcheck(self, x: Var) -> float:
        theta, moved = self._moved(x, self.generated)
        # The tolerances are absolute, for a gradient of the size 1.
        size = max(1.0, self.size / max(float(self.torch_values[x].norm()), 1e-12))
        passed = torch.autograd.gradcheck(
            lambda t: self.loss(moved(t)) / size, (theta.requires_grad_(),), raise_exception=False
        )
        return 0.0 if passed else 1.0


def _derivative(loss: Tensor, X: Tensor) -> Tensor:
    """dL/dX by autograd, zero where the loss does not depend on X."""
    if not loss.requires_grad:
        return torch.zeros_like(X)
    (gradient,) = torch.autograd.grad(loss, X, allow_unused=True, materialize_grads=True)
    return gradient


def _is_diagonal(A: Expr) -> bool:
    return "diagonal" in declared(A) and A.cols != ONE


def _argument(x: Var, X: Tensor) -> Tensor | float:
    """A matrix as the generated module takes it."""
    if x.is_scalar:
        return float(X) if is_fixed(x) else X[..., 0, 0]
    if _is_diagonal(x):
        return X.diagonal(dim1=-2, dim2=-1)
    return X[..., 0] if x.cols == ONE else X


def _matrix(Y: Expr, value: Tensor) -> Tensor:
    """A result of the generated module as a matrix."""
    if Y.is_scalar:
        return value[..., None, None]
    if _is_diagonal(Y):
        return torch.diag_embed(value)
    return value[..., None] if Y.cols == ONE else value
