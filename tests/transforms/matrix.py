"""Every transform of PyTorch as a function of a case that returns its error against a witness."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from tests.transforms.cases import Case

Tensors = Sequence[Tensor]


# --- witnesses ----------------------------------------------------------------------------------


def error(actual: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest difference relative to its tensor's largest entry; infinite where one is nan."""
    worst = 0.0
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape, f"{tuple(a.shape)} instead of {tuple(e.shape)}"
        if e.numel():
            gap = float((a - e).detach().abs().max()) / max(float(e.detach().abs().max()), 1e-3)
            worst = max(worst, gap if gap == gap else torch.inf)
    return worst


def leaves(tensors: Tensors) -> tuple[Tensor, ...]:
    """Copies that want gradients."""
    return tuple(x.detach().clone().requires_grad_() for x in tensors)


def gradients(f: Callable[..., Tensor], at: Tensors) -> tuple[Tensor, ...]:
    """By plain eager backward, zeros where f does not depend on a tensor."""
    at = leaves(at)
    found = torch.autograd.grad(f(*at), at, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, at, strict=True))


def directions(at: Tensors) -> tuple[Tensor, ...]:
    """A random direction at each tensor."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in at)


def difference(f: Callable[..., Tensors], at: Tensors, along: Tensors) -> tuple[Tensor, ...]:
    """The derivative of f along a direction by central differences, extrapolated twice."""

    def central(h: float) -> list[Tensor]:
        ahead = f(*(x + h * v for x, v in zip(at, along, strict=True)))
        behind = f(*(x - h * v for x, v in zip(at, along, strict=True)))
        return [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]

    table = [central(h) for h in (4e-3, 2e-3, 1e-3)]
    for order in (4, 16):
        table = [
            [(order * b - a) / (order - 1) for a, b in zip(wide, narrow, strict=True)]
            for wide, narrow in itertools.pairwise(table)
        ]
    return tuple(table[0])


def dot(left: Tensors, right: Tensors) -> Tensor:
    """The sum of the inner products of two lists of tensors."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()


def _numbers(case: Case) -> tuple[int, ...]:
    return tuple(range(len(case.free)))


def _slope(case: Case) -> tuple[Tensor, ...]:
    return difference(lambda *x: (case.of_free(*x),), case.free, directions(case.free))


def _curvature(case: Case) -> tuple[Tensor, ...]:
    along = directions(case.free)
    return difference(lambda *x: gradients(case.of_free, x), case.free, along)


# --- derivatives --------------------------------------------------------------------------------


def eager_backward(case: Case) -> float:
    """Against differences along a curve of admissible inputs."""
    return error([dot(gradients(case.of_free, case.free), directions(case.free))], _slope(case))


def func_grad(case: Case) -> float:
    """Against eager backward."""
    return error(grad(case.of_free, _numbers(case))(*case.free), gradients(case.of_free, case.free))


def _batch(case: Case) -> tuple[Tensor, ...]:
    return tuple(torch.stack([x, 1.1 * x]) for x in case.free)


def _vmapped(case: Case, f: Callable[..., Tensors], g: Callable[..., Tensors]) -> float:
    batch = _batch(case)
    found = vmap(f)(*batch)
    mixed = vmap(f, (0, *[None] * (len(batch) - 1)))(batch[0], *case.free[1:])
    first = (batch[0][1], *case.free[1:])
    return max(
        *(error((y[i] for y in found), g(*(x[i] for x in batch))) for i in range(2)),
        error((y[1] for y in mixed), g(*first)),
    )


def vmap_forward(case: Case) -> float:
    """Against a loop, over every input and over the first alone."""

    def f(*free: Tensor) -> tuple[Tensor, ...]:
        return case.outputs(*case.chart(*free))

    return _vmapped(case, f, f)


def vmap_of_grad(case: Case) -> float:
    """Against a loop over eager backward."""
    f = grad(case.of_free, _numbers(case))
    return _vmapped(case, f, lambda *x: gradients(case.of_free, x))


def forward_mode(case: Case) -> float:
    """jvp against differences; and on the inputs themselves against the gradient, any tangent."""
    slope = jvp(case.of_free, case.free, directions(case.free))[1]
    inputs, wanted = case.inputs, case.differentiable
    along = tuple(
        v if want else torch.zeros_like(v)
        for v, want in zip(directions(inputs), wanted, strict=True)
    )
    transposed = dot(gradients(case.of_inputs, inputs), along)
    return max(
        error([slope], _slope(case)), error([jvp(case.of_inputs, inputs, along)[1]], [transposed])
    )


def jacobian_forward(case: Case) -> float:
    """jacfwd of the outputs against jacrev."""

    def f(*free: Tensor) -> Tensor:
        outputs = case.outputs(*case.chart(*free))
        return torch.stack([case.loss(*outputs), case.loss(*(Y * 0.7 for Y in outputs))])

    numbers = _numbers(case)
    return error(jacfwd(f, numbers)(*case.free), jacrev(f, numbers)(*case.free))


def jacobian_reverse(case: Case) -> float:
    """jacrev against eager backward."""
    return error(
        jacrev(case.of_free, _numbers(case))(*case.free), gradients(case.of_free, case.free)
    )


def _second(case: Case, transform: Callable[..., Any]) -> float:
    H, along = transform(*case.free), directions(case.free)
    numbers = _numbers(case)
    found = [
        torch.stack([torch.tensordot(H[i][j], along[j], along[j].dim()) for j in numbers]).sum(0)
        for i in numbers
    ]
    return error(found, _curvature(case))


def func_hessian(case: Case) -> float:
    """jacfwd(jacrev) against differences of eager backward."""
    return _second(case, hessian(case.of_free, _numbers(case)))


def reverse_over_reverse(case: Case) -> float:
    """jacrev(jacrev) against differences of eager backward."""
    numbers = _numbers(case)
    return _second(case, jacrev(jacrev(case.of_free, numbers), numbers))


def reverse_over_forward(case: Case) -> float:
    """jacrev(jacfwd) against differences of eager backward."""
    numbers = _numbers(case)
    return _second(case, jacrev(jacfwd(case.of_free, numbers), numbers))


def double_backward(case: Case) -> float:
    """create_graph=True against differences of eager backward."""
    x = leaves(case.free)
    first = torch.autograd.grad(case.of_free(*x), x, create_graph=True)
    return error(torch.autograd.grad(dot(first, directions(x)), x), _curvature(case))


def _checked(case: Case, check: Callable[..., bool], *points: Tensors) -> float:
    return (
        0.0
        if all(check(case.of_free, leaves(x), raise_exception=False) for x in points)
        else torch.inf
    )


def all_coordinates(case: Case) -> float:
    """PyTorch's gradcheck in every coordinate, of a sample and of a batch; 0 if it passes."""
    return _checked(case, gradcheck, case.free, _batch(case))


def all_coordinates_twice(case: Case) -> float:
    """PyTorch's gradgradcheck; 0 if it passes."""
    return _checked(case, gradgradcheck, case.free)


# --- tracing ------------------------------------------------------------------------------------


def compiled(f: Callable[..., Any], backend: str = "aot_eager", **options: Any) -> Any:
    """f compiled afresh and whole."""
    torch._dynamo.reset()
    return torch.compile(f, fullgraph=True, backend=backend, **options)


def _compiled_backward(case: Case, **options: Any) -> float:
    f = compiled(case.of_free, **options)
    return max(
        error([f(*case.free)], [case.of_free(*case.free)]),
        error(gradients(f, case.free), gradients(case.of_free, case.free)),
    )


def compiled_backward(case: Case) -> float:
    """Forward and backward against eager."""
    return _compiled_backward(case)


def compiled_dynamic(case: Case) -> float:
    """The same with symbolic shapes."""
    return _compiled_backward(case, dynamic=True)


def compiled_inductor(case: Case) -> float:
    """The same as machine code."""
    return _compiled_backward(case, backend="inductor")


def compiled_grad(case: Case) -> float:
    """compile(func.grad) against eager backward."""
    f = compiled(lambda *x: grad(case.of_free, _numbers(case))(*x))
    return error(f(*case.free), gradients(case.of_free, case.free))


def compiled_vmap(case: Case) -> float:
    """compile(vmap) of the outputs against vmap."""
    f = vmap(lambda *free: case.outputs(*case.chart(*free)))
    return error(compiled(lambda *x: f(*x))(*_batch(case)), f(*_batch(case)))


def _exported(case: Case, strict: bool) -> float:
    program = torch.export.export(case.module(), case.inputs, strict=strict)
    found = program.module()(*case.inputs)
    return error(found if isinstance(found, tuple) else (found,), case.outputs(*case.inputs))


def exported_strict(case: Case) -> float:
    """The program's outputs against eager."""
    return _exported(case, True)


def exported(case: Case) -> float:
    """Not strict."""
    return _exported(case, False)


def _autocast(case: Case, layer: Callable[..., Tensors]) -> float:
    inputs = tuple(x.float() for x in case.inputs)

    def outcome(autocast: bool, f: Callable[..., Tensors]) -> tuple[Tensor, ...]:
        x = leaves(inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            outputs = f(*x)
        loss = case.loss(*outputs)
        wanted = [a for a, want in zip(x, case.differentiable, strict=True) if want]
        return (*outputs, *torch.autograd.grad(loss, wanted))

    return error(outcome(True, layer), outcome(False, case.outputs))


def autocast(case: Case) -> float:
    """float32 under bfloat16 autocast against float32 without: outputs and gradients."""
    return _autocast(case, case.outputs)


def compiled_autocast(case: Case) -> float:
    """The same compiled."""
    return _autocast(case, compiled(case.outputs))


# --- modules and memory -------------------------------------------------------------------------


def _checkpointed(case: Case, reentrant: bool) -> float:
    x = leaves(case.free)
    checkpoint(case.of_free, *x, use_reentrant=reentrant).backward()
    return error((a.grad for a in x if a.grad is not None), gradients(case.of_free, case.free))


def checkpointed(case: Case) -> float:
    """Not reentrant, against eager backward."""
    return _checkpointed(case, False)


def checkpointed_reentrant(case: Case) -> float:
    """Reentrant, against eager backward."""
    return _checkpointed(case, True)


def copied(case: Case) -> float:
    """deepcopy, pickle and torch.save of a module, and state_dict from one to the other."""
    module = case.module()
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    twins = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(stream, weights_only=False),
    ]
    for twin in twins:
        assert twin.load_state_dict(module.state_dict()) == ([], [])
        assert repr(twin) == repr(module)
    results = [twin(*case.inputs) for twin in twins]
    expected = case.outputs(*case.inputs)
    return max(error(y if isinstance(y, tuple) else (y,), expected) for y in results)


def parametrized(case: Case) -> float:
    """The layer as the parametrization of a weight: its outputs and its gradient."""

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([Y.flatten() for Y in case.outputs(x, *case.inputs[1:])])

    host = nn.Module()
    host.weight = nn.Parameter(case.inputs[0])
    parametrize.register_parametrization(host, "weight", Fixed(), unsafe=True)
    (original,) = host.parameters()
    shapes = [Y.shape for Y in case.outputs(*case.inputs)]
    flat = host.weight.split([s.numel() for s in shapes])
    case.loss(*(Y.reshape(s) for Y, s in zip(flat, shapes, strict=True))).backward()
    assert original.grad is not None
    return error([original.grad], gradients(case.of_inputs, case.inputs)[:1])


# --- inputs -------------------------------------------------------------------------------------


def some_inputs(case: Case) -> float:
    """Gradients in every subset of the inputs against those in all; the rest gets none."""
    whole = gradients(case.of_inputs, case.inputs)
    wanted = [i for i, want in enumerate(case.differentiable) if want]
    worst = 0.0
    for size in range(1, len(wanted) + 1):
        for chosen in itertools.combinations(wanted, size):
            x = [a.clone().requires_grad_(i in chosen) for i, a in enumerate(case.inputs)]
            case.of_inputs(*x).backward()
            assert all((a.grad is not None) == (i in chosen) for i, a in enumerate(x))
            worst = max(worst, error([x[i].grad for i in chosen], [whole[i] for i in chosen]))
    return worst


def _prepared(case: Case, prepare: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    return gradients(lambda *x: case.of_inputs(*map(prepare, x)), case.inputs)


def strided(case: Case) -> float:
    """Gradients at transposed and at sliced storage against those at contiguous."""

    def transposed(x: Tensor) -> Tensor:
        return x.mT.contiguous().mT if x.dim() > 1 else x

    def sliced(x: Tensor) -> Tensor:
        return torch.stack([torch.full_like(x, torch.nan), x], -1)[..., 1]

    whole = gradients(case.of_inputs, case.inputs)
    return max(error(_prepared(case, prepare), whole) for prepare in (transposed, sliced))


def expanded(case: Case) -> float:
    """The gradient through a batch expanded from one sample is the sample's, times its size."""
    whole = gradients(case.of_inputs, case.inputs)
    found = _prepared(case, lambda x: x.expand(3, 2, *x.shape))
    return error(found, (6 * g for g in whole))


def no_samples(case: Case) -> float:
    """A batch of none: outputs, both derivatives and the jvp have its shape."""
    none = tuple(x.expand(0, *x.shape) for x in case.inputs)
    x = leaves(none)
    outputs = case.outputs(*x)
    expected = [Y.expand(0, *Y.shape) for Y in case.outputs(*case.inputs)]
    wanted = [a for a, want in zip(x, case.differentiable, strict=True) if want]
    loss = sum(Y.sin().sum() for Y in outputs)
    assert isinstance(loss, Tensor)
    first = torch.autograd.grad(loss, wanted, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), wanted, allow_unused=True)
    tangents = jvp(lambda *x: case.outputs(*x), none, none)[1]
    again = (x if g is None else g for g, x in zip(second, wanted, strict=True))
    shaped = (*outputs, *tangents, *first, *again)
    return error(shaped, (*expected, *expected, *wanted, *wanted))


def nothing(case: Case) -> float:
    """Matrices without rows and columns: outputs and both derivatives have the right shape."""
    x = [
        a.new_zeros([0] * a.dim()).requires_grad_(want)
        for a, want in zip(case.inputs, case.differentiable, strict=True)
    ]
    outputs = case.outputs(*x)
    expected = [Y.new_zeros([0] * Y.dim()) for Y in case.outputs(*case.inputs)]
    wanted = [a for a in x if a.requires_grad]
    first = torch.autograd.grad(outputs, wanted, outputs, create_graph=True)
    torch.autograd.grad(first, wanted, first, allow_unused=True)
    return error((*outputs, *first), (*expected, *wanted))


# --- the matrix ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transform:
    """A column of the matrix: `check` gives the error, at most `tolerance`.

    `traced` says that it compiles or exports, which takes seconds a layer.
    """

    title: str
    check: Callable[[Case], float]
    tolerance: float = 1e-12
    traced: bool = False


DIFFERENCES = 1e-9
"""Of sixth-order differences; what is left is their rounding."""

DERIVATIVES = (
    Transform("backward", eager_backward, DIFFERENCES),
    Transform("func.grad", func_grad),
    Transform("vmap", vmap_forward),
    Transform("vmap(grad)", vmap_of_grad),
    Transform("jvp", forward_mode, DIFFERENCES),
    Transform("jacfwd", jacobian_forward),
    Transform("jacrev", jacobian_reverse),
    Transform("hessian", func_hessian, DIFFERENCES),
    Transform("jacrev(jacrev)", reverse_over_reverse, DIFFERENCES),
    Transform("jacrev(jacfwd)", reverse_over_forward, DIFFERENCES),
    Transform("double backward", double_backward, DIFFERENCES),
    Transform("gradcheck", all_coordinates),
    Transform("gradgradcheck", all_coordinates_twice),
)
TRACING = (
    Transform("compile", compiled_backward, traced=True),
    Transform("compile, dynamic", compiled_dynamic, traced=True),
    Transform("compile, inductor", compiled_inductor, traced=True),
    Transform("compile(grad)", compiled_grad, traced=True),
    Transform("compile(vmap)", compiled_vmap, traced=True),
    Transform("export", exported, traced=True),
    Transform("export, strict", exported_strict, traced=True),
    Transform("autocast", autocast, 1e-6),
    Transform("compile, autocast", compiled_autocast, 1e-6, traced=True),
)
MODULES = (
    Transform("checkpoint", checkpointed),
    Transform("checkpoint, reentrant", checkpointed_reentrant),
    Transform("copies", copied),
    Transform("parametrize", parametrized),
    Transform("requires_grad", some_inputs),
    Transform("strided", strided),
    Transform("expanded", expanded),
    Transform("no samples", no_samples),
    Transform("empty", nothing),
)


# --- what PyTorch cannot do ---------------------------------------------------------------------


def third_by_backward(case: Case) -> None:
    """Backward of a double backward."""
    x = leaves(case.free)
    first = torch.autograd.grad(case.of_free(*x), x, create_graph=True)
    then = torch.autograd.grad(dot(first, first), x, create_graph=True)
    torch.autograd.grad(dot(then, then), x)


def third_by_functions(case: Case) -> None:
    """jacrev of a hessian."""
    numbers = _numbers(case)
    jacrev(hessian(case.of_free, numbers), numbers)(*case.free)


def forward_over_forward(case: Case) -> None:
    """jacfwd of jacfwd."""
    numbers = _numbers(case)
    jacfwd(jacfwd(case.of_free, numbers), numbers)(*case.free)


def compiled_double_backward(case: Case) -> None:
    """Backward of a compiled backward."""
    x = leaves(case.free)
    first = torch.autograd.grad(compiled(case.of_free)(*x), x, create_graph=True)
    torch.autograd.grad(dot(first, first), x)


def compiled_vmap_of_grad(case: Case) -> None:
    """compile(vmap(grad))."""
    f = vmap(grad(case.of_free, _numbers(case)))
    compiled(lambda *x: f(*x))(*_batch(case))


def compiled_jvp(case: Case) -> None:
    """compile(jvp), whole."""
    along = directions(case.free)
    compiled(lambda *x: jvp(case.of_free, x, along)[1])(*case.free)


def exported_backward(case: Case) -> None:
    """Backward through an exported program."""
    program = torch.export.export(case.module(), case.inputs, strict=False).module()

    def f(*x: Tensor) -> Tensor:
        found = program(*x)
        return case.loss(*(found if isinstance(found, tuple) else (found,)))

    gradients(f, case.inputs)


@dataclass(frozen=True)
class Refusal:
    """What raises, with which words, and what to do instead."""

    title: str
    attempt: Callable[[Case], None]
    message: str
    instead: str
    traced: bool = False


REFUSED = (
    Refusal(
        "third derivatives by backward", third_by_backward, "has no third derivative",
        "two derivatives are emitted",
    ),
    Refusal(
        "third derivatives by torch.func", third_by_functions, "has no third derivative",
        "two derivatives are emitted",
    ),
    Refusal(
        "jacfwd(jacfwd), a jvp of a jvp", forward_over_forward, "has no jvp of a jvp",
        "`hessian`, `jacrev(jacfwd)` or `jacrev(jacrev)`",
    ),
    Refusal(
        "double backward of a compiled function", compiled_double_backward,
        "does not currently support double backward|not have been used in the graph",
        "leave the twice differentiated part eager; PyTorch has no compiled double backward",
        traced=True,
    ),
    Refusal(
        "compile(vmap(grad))", compiled_vmap_of_grad, "does not have vmap support",
        "`compile(grad)` of a batched loss, whose samples do not mix; PyTorch's own limit",
        traced=True,
    ),
    Refusal(
        "compile(jvp) with fullgraph=True", compiled_jvp, "would drop the layer's jvp",
        "without `fullgraph=True` it runs, eagerly, and is right", traced=True,
    ),
    Refusal(
        "backward of an exported program", exported_backward, "derivative for 'igammac",
        "export for inference; train the module itself", traced=True,
    ),
)  # fmt: skip
