"""Runs an emitted module of any target as a torch function, so that one check serves all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mbp.definition import Definition

if TYPE_CHECKING:
    from mbp.api import Layer

Results = Tensor | tuple[Tensor, ...]


def emitted_function(layer: Layer, target: str) -> Callable[..., Any]:
    """The layer of the module that is emitted for `target`, on tensors by name."""
    module = layer.compile(target)
    if target == "torch":
        return getattr(module, layer.name)
    return as_torch(module, layer.definition)


def as_torch(module: ModuleType, layer: Definition) -> Callable[..., Results]:
    """The layer of an emitted NumPy or JAX module on tensors, with its own vjp and jvp.

    The arguments are the layer's inputs by name. Differentiable once, in both modes.
    """
    names = list(layer.inputs)
    arrays = [name for name, x in layer.inputs.items() if not _is_number(x)]
    numbers = [name for name in names if name not in arrays]

    class Plain(torch.autograd.Function):
        """A function of arrays, below every transform: constant to torch."""

        @staticmethod
        def forward(function: Callable[..., Any], *given: Any) -> Any:
            with _double_precision():
                found = function(*(X.detach().numpy() for X in given))
            results = found if isinstance(found, tuple) else (found,)
            return tuple(torch.from_numpy(np.array(X)) for X in results)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            ctx.mark_non_differentiable(*output)

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(functions: tuple[Callable[..., Any], ...], *given: Any) -> Any:
            return Plain.forward(functions[0], *given)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            _, ctx.backward_function, ctx.forward_function = inputs[0]
            ctx.save_for_backward(*inputs[1:])
            ctx.save_for_forward(*inputs[1:])

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> tuple[Tensor | None, ...]:
            found = Plain.apply(ctx.backward_function, *ctx.saved_tensors, *cotangents)
            gradients = dict(zip(layer.differentiable, found, strict=True))
            return (None, *(gradients.get(name) for name in arrays))

        @staticmethod
        def jvp(ctx: Any, _: None, *tangents: Any) -> Any:
            along = [
                torch.zeros_like(X) if dX is None else dX
                for name, X, dX in zip(arrays, ctx.saved_tensors, tangents, strict=True)
                if name in layer.differentiable
            ]
            return Plain.apply(ctx.forward_function, *ctx.saved_tensors, *along)

    def function(**inputs: Any) -> Results:
        constants = {name: inputs[name] for name in numbers}
        functions = (getattr(module, layer.name), module.vjp, module.jvp)
        bound = tuple(partial(f, **constants) for f in functions)
        results: tuple[Tensor, ...] = Bridge.apply(bound, *(inputs[name] for name in arrays))
        return results[0] if len(results) == 1 else results

    return function


def _is_number(x: Any) -> bool:
    return bool(x.is_scalar and "constant" in x.properties)


def _double_precision() -> AbstractContextManager[Any]:
    """Where JAX is in use, it computes in float64 as it is asked to."""
    jax = sys.modules.get("jax")
    return nullcontext() if jax is None else jax.enable_x64(True)
