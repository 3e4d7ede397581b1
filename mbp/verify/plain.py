"""The plain forward: a layer's definition in torch operations, for autograd to differentiate.

It reads the definition as the user wrote it and knows nothing of derivations, so that autograd
of it is an independent witness. Matrices carry any leading batch dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import sympy as sp
import torch
from torch import Tensor

from mbp.errors import MbpError
from mbp.expr import scalar
from mbp.expr.dims import ONE, Dim, dim
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Frechet,
    Hadamard,
    Inner,
    Inverse,
    Kron,
    KronLeft,
    KronRight,
    LogDet,
    Map,
    Named,
    Number,
    Ones,
    Output,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Unvec,
    Vec,
    Zeros,
    topological,
)
from mbp.rulebook import RULEBOOK

RANK_TOLERANCE = 1e-9


def plain_forward(
    outputs: Mapping[str, Expr],
    env: Mapping[Expr, Tensor],
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """The outputs at `env`, which maps variables to tensors (*, rows, cols), scalars to (*, 1, 1).

    `sizes` gives the dimensions that no variable shows. Singular values below `RANK_TOLERANCE`
    times the largest count as zero. Raises MbpError for a node that has no plain torch form.
    """
    reader = _Reader(env, sizes or {})
    return {name: reader.value(Y) for name, Y in outputs.items()}


class _Reader:
    def __init__(self, env: Mapping[Expr, Tensor], sizes: Mapping[str, int]) -> None:
        self.sizes: dict[sp.Symbol, int] = {dim(name): size for name, size in sizes.items()}
        self.values: dict[Expr, Tensor] = dict(env)
        self.calls: dict[tuple[str, tuple[Expr, ...]], dict[str, Tensor]] = {}
        some = next(iter(env.values()))
        self.like: dict[str, Any] = {"dtype": some.dtype, "device": some.device}
        for x, value in env.items():
            for d, size in zip(x.shape, value.shape[-2:], strict=True):
                if d.is_Symbol:
                    self.sizes[d] = size

    def size(self, d: Dim) -> int:
        return int(d.xreplace(self.sizes))

    def value(self, root: Expr) -> Tensor:
        for node in topological(root):
            if node not in self.values:
                self.values[node] = self.compute(node, *(self.values[a] for a in node.args))
        return self.values[root]

    def compute(self, node: Expr, *args: Tensor) -> Tensor:
        match node:
            case Number(data=(value,)):
                return torch.full((1, 1), float(value), **self.like)
            case DimSize(data=(n,)):
                return torch.full((1, 1), float(self.size(n)), **self.like)
            case Eye(data=(n,)):
                return torch.eye(self.size(n), **self.like)
            case Ones() | Zeros():
                fill = float(isinstance(node, Ones))
                return torch.full((self.size(node.rows), self.size(node.cols)), fill, **self.like)
            case Named():
                return args[0]
            case Sum():
                return reduce(torch.add, args)
            case Product():
                return reduce(torch.matmul, args)
            case Scale() | Hadamard():
                return reduce(torch.mul, args)
            case Transpose():
                return args[0].mT
            case Map(data=("pow",)):
                return args[0] ** args[1]
            case Map(data=(name,)):
                return _entrywise(scalar.body(name), args[0], name)
            case Inverse():
                return torch.linalg.inv(args[0])
            case Det():
                return torch.linalg.det(args[0])[..., None, None]
            case LogDet():
                return torch.linalg.slogdet(args[0])[1][..., None, None]
            case Trace():
                return args[0].diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
            case Inner():
                return (args[0] * args[1]).sum((-2, -1), keepdim=True)
            case Diag():
                return torch.diag_embed(args[0][..., 0])
            case DiagVec():
                return args[0].diagonal(dim1=-2, dim2=-1)[..., None]
            case Part(data=(kind,)):
                return _part(kind, args[0])
            case Stack(data=(axis,)):
                return torch.cat(_broadcast(args), dim=-1 if axis == 1 else -2)
            case Kron():
                return _kron(*args)
            case KronLeft():
                return torch.einsum(
                    "...ikjl,...kl->...ij", _blocks(args[0], *args[1].shape[-2:]), args[1]
                )
            case KronRight():
                A, G = args
                rows, cols = G.shape[-2] // A.shape[-2], G.shape[-1] // A.shape[-1]
                return torch.einsum("...ikjl,...ij->...kl", _blocks(G, rows, cols), A)
            case Vec():
                return args[0].mT.flatten(-2)[..., None]
            case Unvec():
                rows, cols = self.size(node.rows), self.size(node.cols)
                return args[0][..., 0].unflatten(-1, (cols, rows)).mT
            case Frechet() if node.order == 0:
                return self.matrix_function(node, args[0], args[1:])
            case Output():
                return self.outputs(node, args)[node.name]
        raise MbpError(f"{node} has no plain torch form")

    def matrix_function(self, node: Frechet, A: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        q, U = torch.linalg.eigh((A + A.mT) / 2)
        symbols = [scalar.X, *(scalar.parameter(k) for k in range(len(parameters)))]
        g = sp.lambdify(symbols, node.g, modules=[_TORCH])
        value = g(q, *(c[..., 0] for c in parameters))
        return (U * torch.as_tensor(value).expand_as(q)[..., None, :]) @ U.mT

    def outputs(self, node: Output, args: tuple[Tensor, ...]) -> dict[str, Tensor]:
        key = node.rule, node.args
        if key not in self.calls:
            self.calls[key] = self.call(node, args)
        return self.calls[key]

    def call(self, node: Output, args: tuple[Tensor, ...]) -> dict[str, Tensor]:
        rule = RULEBOOK.decompositions[node.rule]
        forward = RULEBOOK.forward(node.rule)
        if forward is None:
            raise MbpError(f"{node.rule} has no forward, so there is nothing to run")
        if forward.function is None:
            env: dict[Expr, Tensor] = dict(zip(rule.inputs, args))
            names = [Y.name for Y in rule.outputs]
            return plain_forward(dict(zip(names, forward.expressions)), env)
        options = dict(forward.options)
        if forward.function == "torch.linalg.pinv":
            options["rtol"] = RANK_TOLERANCE
        function: Any = torch
        for part in forward.function.split(".")[1:]:
            function = getattr(function, part, None)
        if function is None:
            raise MbpError(f"{node.rule}: PyTorch has no function {forward.function}")
        result = function(*args, **options)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(forward.returns):
            raise MbpError(
                f"{node.rule}: {forward.function} returns {len(results)} tensors; "
                f"name them in `returns`, which has {', '.join(forward.returns)}"
            )
        values = dict(zip(forward.returns, results))
        found: dict[str, Tensor] = {}
        for Y in rule.outputs:
            value = values[Y.name] if Y.name in values else values[f"{Y.name}.T"].mT
            square = "diagonal" in Y.properties and Y.cols != ONE
            found[Y.name] = torch.diag_embed(value) if square else value
        return found


_TORCH: dict[str, Any] = {
    **{
        name: getattr(torch, name)
        for name in (
            "exp",
            "log",
            "sqrt",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "acosh",
            "atanh",
            "sign",
            "erf",
            "erfc",
            "floor",
        )
    },
    "Abs": torch.abs,
    "Heaviside": lambda x, *_: (x > 0).to(x.dtype),
    "loggamma": torch.lgamma,
    "gamma": lambda x: torch.exp(torch.lgamma(x)),
    "digamma": torch.digamma,
    "polygamma": torch.polygamma,
    "erfinv": torch.erfinv,
    "besselj": lambda n, x: _mean_over_angles(lambda t: torch.cos(n * t - x * torch.sin(t)), x),
    "besseli": lambda n, x: _mean_over_angles(
        lambda t: torch.exp(x * torch.cos(t)) * torch.cos(n * t), x
    ),
    "besselk": lambda n, x: _over_the_line(
        lambda t: torch.exp(-x * torch.cosh(t)) * torch.cosh(n * t), x
    ),
    "ceiling": torch.ceil,
    "pi": torch.pi,
    "E": torch.e,
    "Max": lambda *values: _extreme(torch.maximum, values),
    "Min": lambda *values: _extreme(torch.minimum, values),
}


_ANGLES = 256
_LINE = 16.0


def _mean_over_angles(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Bessel's integral (DLMF 10.9.2, 10.32.3); the mean of a periodic function is exact."""
    angles = (torch.arange(_ANGLES, dtype=x.dtype) + 0.5) * torch.pi / _ANGLES
    return torch.stack([f(t) for t in angles]).mean(0)


def _over_the_line(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """∫ f from 0 for an even f that vanishes beyond the line (DLMF 10.32.9), by trapezia."""
    steps = torch.linspace(0, _LINE, 2 * _ANGLES + 1, dtype=x.dtype)
    weights = torch.full_like(steps, _LINE / (2 * _ANGLES))
    weights[0] /= 2
    return torch.stack([w * f(t) for w, t in zip(weights, steps, strict=True)]).sum(0)


def _entrywise(g: sp.Expr, A: Tensor, name: str) -> Tensor:
    if name == "relu":
        return torch.relu(A)
    if name in _TORCH:
        return _TORCH[name](A)
    return torch.as_tensor(sp.lambdify([scalar.X], g, modules=[_TORCH])(A)).expand_as(A)


def _extreme(choose: Callable[[Tensor, Tensor], Tensor], values: tuple[Any, ...]) -> Tensor:
    like = next(v for v in values if isinstance(v, Tensor))
    return reduce(choose, (torch.as_tensor(v, dtype=like.dtype) for v in values))


def _part(kind: str, A: Tensor) -> Tensor:
    match kind:
        case "sym":
            return (A + A.mT) / 2
        case "skew":
            return (A - A.mT) / 2
        case "diag":
            mask = torch.eye(A.shape[-2], A.shape[-1], dtype=A.dtype, device=A.device)
            return A * mask
        case "lower" | "strictly_lower":
            return torch.tril(A, -int(kind != "lower"))
    return torch.triu(A, int(kind != "upper"))


def _broadcast(args: tuple[Tensor, ...]) -> list[Tensor]:
    batch = torch.broadcast_shapes(*(A.shape[:-2] for A in args))
    return [A.expand(*batch, *A.shape[-2:]) for A in args]


def _kron(A: Tensor, B: Tensor) -> Tensor:
    product = torch.einsum("...ij,...kl->...ikjl", A, B)
    return product.flatten(-4, -3).flatten(-2, -1)


def _blocks(G: Tensor, rows: int, cols: int) -> Tensor:
    """G as (*, i, k, j, l), entry (k, l) of its rows×cols block (i, j)."""
    return G.unflatten(-1, (-1, cols)).unflatten(-3, (-1, rows))
