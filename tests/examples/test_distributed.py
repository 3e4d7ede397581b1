"""Layers over several processes take the step that one process would take with all the data."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from examples.distributed import cuts, data_parallel
from mbp.generated.ncuts_j1 import ncuts_j1
from mbp.generated.ncuts_j2 import ncuts_j2

ROOT = Path(__file__).parents[2]
WHOLE = {"J1": ncuts_j1, "J2": ncuts_j2}


def run_rank(rank, world, port, work, *arguments):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    work(*arguments)


def run(world, work, *arguments):
    """`work` in each of `world` processes, which fork from this one and so start at once."""
    for layer in (cuts.statistics, cuts.misalignment):
        layer.compile()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    torch.multiprocessing.start_processes(
        run_rank, (world, port, work, *arguments), world, start_method="fork"
    )


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What a step gave on 1, 2 and 4 processes."""
    found = {}
    for world in (1, 2, 4):
        path = tmp_path_factory.mktemp("reports") / f"{world}.pt"
        run(world, cuts.main, ["--steps", "2", "--height", "8", "--report", str(path)])
        found[world] = torch.load(path)
    return found


def whole(name, height):
    """The objective of the whole image by the generated layer, and its gradients."""
    model = cuts.network()
    image, E = cuts.pixels(range(height))
    J = WHOLE[name](model(image), torch.eye(cuts.CHANNELS, dtype=torch.float64), E)
    J.backward()
    return J.detach(), {key: p.grad for key, p in model.named_parameters()}


@pytest.mark.parametrize("world", [1, 2, 4])
def test_spread_rows_give_the_loss_and_gradient_of_the_whole_image(reports, world):
    assert len(reports[world]) == 6
    for name, height, J, _, gradients in reports[world]:
        expected, slopes = whole(name, height)
        torch.testing.assert_close(J, expected, rtol=1e-10, atol=0)
        for key, slope in slopes.items():
            torch.testing.assert_close(gradients[key], slope, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["J1", "J2"])
def test_traffic_depends_on_neither_rows_nor_processes(reports, name):
    sent = {row[3] for world in (2, 4) for row in reports[world] if row[0] == name}
    d, k = cuts.CHANNELS, cuts.CLASSES
    weights = sum(p.numel() for p in cuts.network().parameters())
    degrees = 2 * d if name == "J1" else 0
    assert sent == {8 * (weights + d * d + (d * d + k * d + k) + degrees)}


def features():
    """Eight rows in two classes; the third channel is dead, the fourth repeats the first."""
    F = torch.rand(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    return torch.cat([F, torch.zeros(8, 1), F[:, :1]], 1).double()


PARTITION = torch.eye(2, dtype=torch.float64).repeat(4, 1)
Lam = torch.eye(4, dtype=torch.float64)


def half_of_the_features(name, folder):
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    rows = slice(4 * mesh.get_rank(), 4 * mesh.get_rank() + 4)
    F = features()[rows].requires_grad_()
    cuts.OBJECTIVES[name](F, Lam, PARTITION[rows], mesh).backward()
    torch.save(F.grad, folder / f"{mesh.get_rank()}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["J1", "J2"])
def test_dead_and_repeated_channels_leave_the_gradient_right(name, tmp_path):
    run(2, half_of_the_features, name, tmp_path)
    F = features().requires_grad_()
    WHOLE[name](F, Lam, PARTITION).backward()
    found = torch.cat([torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)])
    torch.testing.assert_close(found, F.grad, rtol=1e-10, atol=1e-10)


def test_a_data_parallel_step_is_the_step_of_one_process(tmp_path):
    path = tmp_path / "gradients.pt"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "examples.distributed.data_parallel", "--steps", "1", "--gradients", str(path),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    model = data_parallel.network()
    data_parallel.backward(model, 0, 32)
    gradients = torch.load(path)
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-10, atol=1e-12)
