"""Times functions side by side: interleaved, warm, the passes apart, medians and peaks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Layer = Callable[..., Any]


@dataclass(frozen=True)
class Times:
    """Median milliseconds of the passes, and what autograd keeps between them, in bytes."""

    forward: float
    backward: float
    saved: int

    @property
    def total(self) -> float:
        """Both passes."""
        return self.forward + self.backward


def interleaved(
    layers: Sequence[Layer], arguments: tuple[Tensor, ...], wrt: Sequence[int], budget: float
) -> list[Times]:
    """The layers' times on the same arguments, one run of each in turn for `budget` seconds.

    An untimed run of the same layer comes before each, so that none finds the caches as the other
    left them.
    """
    cotangents = [_cotangents(layer, arguments) for layer in layers]
    runs: list[list[tuple[float, float]]] = [[] for _ in layers]
    start = time.perf_counter()
    while len(runs[0]) < 3 or (time.perf_counter() - start < budget and len(runs[0]) < 200):
        for k, layer in enumerate(layers):
            _once(layer, arguments, wrt, cotangents[k])
            runs[k].append(_once(layer, arguments, wrt, cotangents[k]))
    found = []
    for layer, passes in zip(layers, runs, strict=True):
        forward, backward = (
            1e3 * statistics.median(column) for column in zip(*passes[1:], strict=True)
        )
        found.append(Times(forward, backward, saved_bytes(layer, arguments, wrt)))
    return found


def _leaves(arguments: tuple[Tensor, ...], wrt: Sequence[int]) -> list[Tensor]:
    return [x.detach().requires_grad_(k in wrt) for k, x in enumerate(arguments)]


def _outputs(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _cotangents(layer: Layer, arguments: tuple[Tensor, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(Y.shape, dtype=Y.dtype, generator=generator)
        for Y in _outputs(layer(*arguments))
    ]


def _once(
    layer: Layer, arguments: tuple[Tensor, ...], wrt: Sequence[int], cotangents: list[Tensor]
) -> tuple[float, float]:
    leaves = _leaves(arguments, wrt)
    start = time.thread_time()
    outputs = _outputs(layer(*leaves))
    middle = time.thread_time()
    torch.autograd.grad(outputs, [leaves[k] for k in wrt], cotangents, allow_unused=True)
    return middle - start, time.thread_time() - middle


def saved_bytes(layer: Layer, arguments: tuple[Tensor, ...], wrt: Sequence[int]) -> int:
    """The bytes that autograd keeps for the backward pass, the arguments aside."""
    given = {x.untyped_storage().data_ptr() for x in arguments}
    kept: dict[int, int] = {}

    def pack(X: Tensor) -> Tensor:
        storage = X.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return X

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda X: X):
        outputs = _outputs(layer(*_leaves(arguments, wrt)))
    del outputs
    return sum(kept.values())


class Allocations(TorchDispatchMode):
    """Records the entries of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs the operation and notes the size of what it returns."""
        out = func(*args, **(kwargs or {}))
        for Y in out if isinstance(out, tuple | list) else (out,):
            if isinstance(Y, Tensor):
                self.largest = max(self.largest, Y.untyped_storage().nbytes() // Y.element_size())
        return out
