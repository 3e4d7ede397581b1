"""A point and a smooth loss for every built-in layer: what the transforms are tried on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from mbp.emit.module import class_name
from mbp.layers import registry

DTYPE = torch.float64
_GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    """Standard normal entries, the same in every run."""
    return torch.randn(*shape, dtype=DTYPE, generator=_GENERATOR)


A, B = normal(6, 6), normal(6, 6)


def orthogonal(M: Tensor) -> Tensor:
    """exp(M − Mᵀ): an orthogonal matrix with free coordinates."""
    return torch.linalg.matrix_exp(M - M.mT)


def definite(M: Tensor) -> Tensor:
    """MMᵀ + I."""
    return M @ M.mT + torch.eye(M.shape[-1], dtype=M.dtype)


def partition(m: int, k: int) -> Tensor:
    """The indicator of k classes, row i in class i mod k."""
    return torch.eye(k, dtype=DTYPE).repeat(m // k, 1)


def of_rank_three(M: Tensor) -> Tensor:
    """M diag(1, −2, 3) Mᵀ."""
    return M @ torch.diag(torch.tensor([1.0, -2.0, 3.0], dtype=M.dtype)) @ M.mT


def entrywise(*outputs: Tensor) -> Tensor:
    """A loss of every entry of every output, linear in none."""
    return torch.stack([(Y.sin() + Y.square() / 2).sum() for Y in outputs]).sum()


def gauge_free_svd(U: Tensor, S: Tensor, V: Tensor) -> Tensor:
    """A loss of X = U S Vᵀ, its singular values and its range."""
    m, n = U.shape[-2], V.shape[-2]
    U = U[..., :n]
    weights, more = A[:m, :n].to(U.dtype), B[:m, :m].to(U.dtype)
    smooth = (U @ torch.diag_embed(S.sin()) @ V.mT * weights).sum((-2, -1))
    return (smooth + S.cos().sum(-1) + (U @ U.mT * more).sum((-2, -1))).sum()


def gauge_free_eig(U: Tensor, Q: Tensor) -> Tensor:
    """A loss of sin(X) for X = U Q Uᵀ, and of its eigenvalues."""
    n = U.shape[-1]
    smooth = (U @ torch.diag_embed(Q.sin()) @ U.mT * A[:n, :n].to(U.dtype)).sum((-2, -1))
    return (smooth + Q.cos().sum(-1)).sum()


@dataclass(frozen=True)
class Case:
    """A layer at free coordinates: `chart` takes them to its tensors, `loss` its outputs to one.

    Every curve of coordinates is an admissible curve of inputs, so that differences along it are
    a witness of the projected gradient; every loss is smooth there and free of gauges.
    """

    name: str
    free: tuple[Tensor, ...]
    chart: Callable[..., tuple[Tensor, ...]] = lambda *free: free
    numbers: Mapping[str, float] = field(default_factory=dict)
    loss: Callable[..., Tensor] = entrywise

    function: Callable[..., Tensor | tuple[Tensor, ...]] = field(init=False)

    def __post_init__(self) -> None:
        module = importlib.import_module(f"mbp.generated.{self.name}")
        object.__setattr__(self, "function", getattr(module, self.name))

    def module(self) -> nn.Module:
        """The generated module at the case's numbers."""
        module = importlib.import_module(f"mbp.generated.{self.name}")
        return getattr(module, class_name(self.name))(**self.numbers)

    def outputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The layer's outputs, one or several, as a tuple."""
        found = self.function(*tensors, **self.numbers)
        return found if isinstance(found, tuple) else (found,)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The layer's tensors at the free coordinates."""
        return tuple(x.detach() for x in self.chart(*self.free))

    @cached_property
    def differentiable(self) -> tuple[bool, ...]:
        """Which of the inputs have a gradient."""
        definition = registry()[self.name].definition
        names = (name for name in definition.inputs if name not in self.numbers)
        return tuple(name in definition.differentiable for name in names)

    def of_inputs(self, *tensors: Tensor) -> Tensor:
        """The loss as a function of the layer's tensors."""
        return self.loss(*self.outputs(*tensors))

    def of_free(self, *free: Tensor) -> Tensor:
        """The loss as a function of the free coordinates."""
        return self.of_inputs(*self.chart(*free))


_FEATURES = (normal(5, 3),)
_CUT = (normal(8, 3), normal(3, 3))

CASES = {
    case.name: case
    for case in (
        Case("svd", _FEATURES, loss=gauge_free_svd),
        Case("svd_full", _FEATURES, loss=gauge_free_svd),
        Case("eig", (normal(4, 4),), lambda M: (M + M.mT,), loss=gauge_free_eig),
        Case(
            "svd_function", (normal(3), normal(3, 3)), lambda s, M: (s, orthogonal(M)), {"eps": 0.1}
        ),
        Case("eig_function", (normal(3, 3), normal(3)), lambda M, q: (orthogonal(M), q.exp())),
        Case("o2p_svd", _FEATURES, numbers={"eps": 0.1}),
        Case("o2p_eig", _FEATURES, numbers={"eps": 0.1}),
        Case("o2p", _FEATURES, numbers={"eps": 0.1}),
        Case("power_pool", _FEATURES, numbers={"eps": 0.1, "p": 0.3}),
        Case("projector", (normal(6, 3),), lambda M: (of_rank_three(M),)),
        Case("affinity", (normal(5, 3), normal(3, 3))),
        Case(
            "normalized_affinity",
            (normal(6, 6),),
            lambda M: ((M + M.mT) ** 2 + 1, partition(6, 2).to(M.dtype)),
        ),
        Case(
            "ncuts_j1",
            _CUT,
            lambda F, M: (F**2 + 0.5, definite(M**2), partition(8, 2).to(F.dtype)),
        ),
        Case("ncuts_j2", _CUT, lambda F, M: (F, definite(M), partition(8, 2).to(F.dtype))),
        Case(
            "ncuts_j1_affinity",
            (normal(6, 3),),
            lambda M: ((M**2 + 0.3) @ (M**2 + 0.3).mT, partition(6, 2).to(M.dtype)),
        ),
        Case(
            "ncuts_j2_affinity",
            (normal(6, 3),),
            lambda M: (of_rank_three(M), partition(6, 2).to(M.dtype)),
        ),
    )
}
