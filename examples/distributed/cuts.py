"""Normalized cuts of one image whose pixels are spread over processes.

    torchrun --nproc-per-node 2 -m examples.distributed.cuts

Each process holds m/p rows of F and E. Both objectives are functions of sums over rows,
S = Fᵀ[D]⁻¹F, Y = EᵀF and n = EᵀD, with D = 1 for J₂ and the degrees for J₁: with r the rank of S,

    J = ½(r + k) − tr(S⁺ Yᵀ [n]⁻¹ Y).

The statistics and the objective are two layers that mbp derives; between them stand reductions
of d×d and k×d numbers, so that the traffic does not depend on m.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

import mbp
from mbp import Expr, diag, inv, tr

CHANNELS = 4  # d
CLASSES = 3  # k
WIDTH = 32  # of the image, whose height is m / WIDTH


@mbp.layer(F="m d", D="m positive", E="m k partition")
def statistics(F: Expr, D: Expr, E: Expr) -> dict[str, Expr]:
    """What an objective needs of the rows: S = Fᵀ[D]⁻¹F, Y = EᵀF and n = EᵀD."""
    return {"S": F.T @ inv(diag(D)) @ F, "Y": E.T @ F, "n": E.T @ D}


@mbp.layer(S="d d positive_semidefinite", Y="k d", n="k positive")
def misalignment(S: Expr, Y: Expr, n: Expr) -> dict[str, Expr]:
    """J = ½(r + k) − tr(S⁺ Yᵀ [n]⁻¹ Y), half the squared distance of two projectors."""
    ranks = tr(mbp.projector(S)) + tr(mbp.eye("k"))
    return {"J": ranks / 2 - tr(mbp.pinv(S) @ Y.T @ inv(diag(n)) @ Y)}


def summed(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """The sum of every process's x, for all of them; each x receives the sum's gradient."""
    return DTensor.from_local(x, mesh, [Partial()]).full_tensor()


def shared(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """x, which all processes hold, for use with each one's rows; x receives the summed gradient."""
    return DTensor.from_local(x, mesh, [Replicate()]).to_local(grad_placements=[Partial()])


def objective(F: Tensor, D: Tensor, E: Tensor, mesh: DeviceMesh) -> Tensor:
    """J of the rows of all processes.

    Only the range of F counts, so its columns are first made orthonormal by a constant matrix T:
    that keeps the accuracy that a Gram matrix S would lose, and drops dead directions.
    """
    with torch.no_grad():
        spectrum, V = torch.linalg.eigh(summed(statistics(F, D, E)["S"], mesh))
        alive = spectrum > len(spectrum) * torch.finfo(F.dtype).eps * spectrum[-1]
        T = V[:, alive] / spectrum[alive].sqrt()
    local = statistics(F @ T, D, E)
    J: Tensor = misalignment(*(summed(x, mesh) for x in local.values()))["J"]
    return J


def j1(F: Tensor, Lam: Tensor, E: Tensor, mesh: DeviceMesh) -> Tensor:
    """J₁ (50) of the rows of all processes, with the degrees D = F Λ Fᵀ1 > 0."""
    weights = Lam @ summed(F.sum(0), mesh)
    return objective(F, F @ shared(weights, mesh), E, mesh)


def j2(F: Tensor, Lam: Tensor, E: Tensor, mesh: DeviceMesh) -> Tensor:
    """J₂ (59) of the rows of all processes; a definite Λ does not enter it."""
    return objective(F, torch.ones_like(F[:, 0]), E, mesh)


OBJECTIVES = {"J1": j1, "J2": j2}


def network() -> nn.Module:
    """Pixels (m, 3) → positive features (m, d), the same in every process."""
    torch.manual_seed(0)
    layers = nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, CHANNELS), nn.Softplus()
    return nn.Sequential(*layers).double()


def pixels(rows: Iterable[int]) -> tuple[Tensor, Tensor]:
    """Some rows of a noisy image of three stripes, and their partition E; each row has its seed."""
    colours, labels = [], []
    for row in rows:
        generator = torch.Generator().manual_seed(row)
        label = torch.arange(WIDTH) * CLASSES // WIDTH
        noise = torch.randn(WIDTH, 3, dtype=torch.float64, generator=generator)
        colours.append(torch.eye(CLASSES, 3, dtype=torch.float64)[label] + 0.7 * noise)
        labels.append(label)
    E = nn.functional.one_hot(torch.cat(labels), CLASSES).double()
    return torch.cat(colours), E


class Traffic(TorchDispatchMode):
    """Counts the bytes that this process gives to be summed."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation; what a DTensor does inside comes back here operation by operation."""
        if any(issubclass(t, DTensor) for t in types):
            return NotImplemented
        if func is torch.ops._c10d_functional.all_reduce.default:
            self.bytes += args[0].nbytes
        return func(*args, **(kwargs or {}))


def backward(model: nn.Module, name: str, height: int, mesh: DeviceMesh) -> tuple[Tensor, int]:
    """Sets the gradients of one objective of the whole image; its value and the bytes sent."""
    rank, world = mesh.get_rank(), mesh.size()
    image, E = pixels(range(rank * height // world, (rank + 1) * height // world))
    Lam = torch.eye(CHANNELS, dtype=torch.float64)
    with Traffic() as traffic:
        weights = {key: shared(p, mesh) for key, p in model.named_parameters()}
        J = OBJECTIVES[name](functional_call(model, weights, (image,)), Lam, E, mesh)
        model.zero_grad()
        J.backward()
    return J.detach(), traffic.bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains in every process of the group; the first one prints, and saves what a step gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objective", choices=OBJECTIVES, default="J2")
    parser.add_argument("--height", type=int, default=64, help="rows of the image")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--report", type=Path, help="where to save one step at 1, 2, 4 × height")
    options = parser.parse_args(arguments)
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    first = dist.get_rank() == 0
    if options.report:
        report = []
        for name in OBJECTIVES:
            for height in (options.height * factor for factor in (1, 2, 4)):
                model = network()
                J, sent = backward(model, name, height, mesh)
                gradients = {key: p.grad for key, p in model.named_parameters()}
                report.append((name, height, J, sent, gradients))
        if first:
            torch.save(report, options.report)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(options.steps):
        J, sent = backward(model, options.objective, options.height, mesh)
        optimizer.step()
        if first and (step % 10 == 0 or step == options.steps - 1):
            m = WIDTH * options.height
            print(f"step {step:4d}   {options.objective} {J:.6f}   m = {m}   {sent} bytes sent",
                  flush=True)  # fmt: skip
    dist.barrier()  # a process that leaves early would break the connections of the others
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
