"""Times every layer beside its rivals and writes the figures, a table and plots.

`python -m benchmarks.speed` writes `benchmarks/speed.json` and `docs/performance.md` with its
plots; `--quick` prints a few rows and writes nothing. Both sides run on one thread, in turn, and
the thread's own processor time is measured, so that other work on the machine counts for neither.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import paper, rivals
from benchmarks.timing import Layer, Times, interleaved

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "performance.md"

Arguments = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A layer at one size, what it is measured against, and the inputs that have a gradient."""

    layer: str
    size: str
    arguments: Callable[[], Arguments]
    rivals: dict[str, Layer]
    wrt: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Row:
    """The times of a layer and of one rival, and what each keeps for its backward pass."""

    layer: str
    size: str
    rival: str
    ours: Times
    theirs: Times

    @property
    def total(self) -> float:
        """How many times longer the rival takes."""
        return self.theirs.total / self.ours.total

    @property
    def backward(self) -> float:
        """The same for the backward pass alone."""
        return self.theirs.backward / self.ours.backward


def emitted(name: str) -> Layer:
    """The emitted layer."""
    found: Layer = getattr(importlib.import_module(f"mbp.generated.{name}"), name)
    return found


def ours(case: Case) -> Layer:
    """The emitted layer, with the case's option."""
    layer = emitted(case.layer)
    return partial(layer, gram=True) if case.size.endswith(GRAM) else layer


# --- inputs ---------------------------------------------------------------------------------------


def gaussian(*shape: int) -> Callable[[], Arguments]:
    """A matrix of normal entries."""
    return lambda: (torch.randn(*shape, dtype=torch.float64),)


def symmetric(n: int) -> Callable[[], Arguments]:
    """A symmetric matrix of normal entries."""

    def make() -> Arguments:
        A = torch.randn(n, n, dtype=torch.float64)
        return ((A + A.mT) / 2,)

    return make


def of_rank(n: int, rank: int) -> Callable[[], Arguments]:
    """A symmetric matrix of a given rank."""

    def make() -> Arguments:
        A = torch.randn(n, rank, dtype=torch.float64)
        return (A @ A.mT,)

    return make


def segmentation(m: int, d: int = 20, k: int = 8) -> Callable[[], Arguments]:
    """Positive features, a definite Λ and a random partition, so that W1 > 0."""

    def make() -> Arguments:
        F = torch.rand(m, d, dtype=torch.float64)
        Lam = torch.eye(d, dtype=torch.float64) + 0.1
        labels = torch.arange(m) % k
        E = torch.nn.functional.one_hot(labels[torch.randperm(m)], k).to(torch.float64)
        return F, Lam, E

    return make


# --- cases ----------------------------------------------------------------------------------------

LOG_RIVALS = {"eigh + autograd": rivals.log_by_eigh, "svd + autograd": rivals.log_by_svd}
OTHERS = {
    "spd_learn": rivals.log_by_spd_learn,
    "the paper, SVD": paper.log_by_svd,
    "the paper, EIG": paper.log_by_eig,
}
LOG_SIZES = (
    (32, 196, 64), (8, 784, 128), (1, 2000, 512), (8, 169, 256), (4, 196, 256), (8, 49, 512),
)  # fmt: skip
CUTS = {"ncuts_j1": rivals.normalized_cut_by_qr, "ncuts_j2": rivals.cut_by_qr}
DENSE = {
    "ncuts_j1": {
        "dense + autograd": rivals.normalized_cut_dense, "the paper": paper.normalized_cut
    },
    "ncuts_j2": {"dense + autograd": rivals.cut_dense, "the paper": paper.cut},
}  # fmt: skip
CUT_SIZES = ((1024, 20), (4096, 20), (16384, 20), (65536, 20), (4096, 10), (4096, 40), (4096, 80))
GRAM = "by Gram matrix"


def cut_case(name: str, m: int, d: int = 20, gram: bool = False) -> Case:
    """A normalized cut beside the thin QR."""
    wrt = (0, 1) if name == "ncuts_j1" else (0,)
    size = f"m = {m}, d = {d}, k = 8" + (f", {GRAM}" if gram else "")
    return Case(name, size, segmentation(m, d), {"thin QR + autograd": CUTS[name]}, wrt)


def cases() -> Iterator[Case]:
    """Everything that the document shows."""
    for shape in LOG_SIZES:
        others = OTHERS if shape[-2] > shape[-1] else {}
        yield Case("o2p", "×".join(map(str, shape)), gaussian(*shape), LOG_RIVALS | others)
    for shape in ((8, 784, 128), (8, 49, 512)):
        yield Case(
            "power_pool", "×".join(map(str, shape)), gaussian(*shape),
            {
                "eigh + autograd": rivals.power_by_eigh,
                "iSQRT-COV, 5 steps": rivals.square_root_by_newton_schulz,
            },
        )  # fmt: skip
    yield Case(
        "projector", "m = 1024, rank 20", of_rank(1024, 20),
        {"pinv(hermitian=True) + autograd": rivals.projector_by_pinv, "the paper": paper.projector},
    )  # fmt: skip
    yield Case("svd", "2000×512", gaussian(2000, 512), {"torch.linalg.svd": rivals.thin_svd})
    yield Case("eig", "512", symmetric(512), {"torch.linalg.eigh": rivals.eigenvectors})
    for name in CUTS:
        for m, d in CUT_SIZES:
            yield cut_case(name, m, d)
        for m in (1024, 65536):
            yield cut_case(name, m, gram=True)
    for name, dense in DENSE.items():
        yield replace(cut_case(name, 1024), rivals=dense)


QUICK = ("8×169×256", "m = 1024, d = 20, k = 8", "m = 65536, d = 20, k = 8")


def measured(case: Case, budget: float) -> Iterator[Row]:
    """The rows of a case."""
    torch.manual_seed(0)
    layers = [ours(case), *case.rivals.values()]
    times = interleaved(layers, case.arguments(), case.wrt, budget)
    for name, theirs in zip(case.rivals, times[1:], strict=True):
        yield Row(case.layer, case.size, name, times[0], theirs)


def exponents(rows: list[Row]) -> dict[str, dict[str, tuple[float, float]]]:
    """How the time grows with m and d, for a layer and for its rival: slopes in log-log plots."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name in CUTS:
        thin = [row for row in rows if row.layer == name and row.rival.startswith("thin")]
        exact = {_sizes(row.size): row for row in thin if GRAM not in row.size}
        along = {
            "m": {m: row for (m, d), row in exact.items() if d == 20 and m > 1024},
            "d": {d: row for (m, d), row in exact.items() if m == 4096},
        }
        found[name] = {
            dim: (
                _slope([(math.log(n), math.log(row.ours.total)) for n, row in points.items()]),
                _slope([(math.log(n), math.log(row.theirs.total)) for n, row in points.items()]),
            )
            for dim, points in along.items()
        }
    return found


def _sizes(size: str) -> tuple[int, int]:
    m, d = (int(part.split("=")[1]) for part in size.split(",")[:2])
    return m, d


def _slope(points: list[tuple[float, float]]) -> float:
    x0 = sum(x for x, _ in points) / len(points)
    y0 = sum(y for _, y in points) / len(points)
    return sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x, _ in points)


# --- memory ---------------------------------------------------------------------------------------

PEAK = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from benchmarks.speed import ours, peak_cases
number, which = int(sys.argv[1]), sys.argv[2]
case = peak_cases()[number]
layer = ours(case) if which == "ours" else next(iter(case.rivals.values()))

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))

arguments = case.arguments()
for given in ([X[..., :16, :16].clone() for X in arguments], arguments):  # the first to warm up
    leaves = [X.requires_grad_(k in case.wrt) for k, X in enumerate(given)]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = status("VmRSS")
    outputs = layer(*leaves)
    sum(Y.sum() for Y in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()
print(status("VmHWM") - before)
"""


def peak_cases() -> list[Case]:
    """What the peak memory is measured of; each against its first rival."""
    small = [case for case in cases() if case.layer not in CUTS]
    return [*small, *(cut_case(name, 1 << 20) for name in CUTS)]


def peak(number: int, which: str) -> int:
    """The bytes that a process needs beyond the inputs, gradients included (Linux)."""
    found = subprocess.run(
        [sys.executable, "-c", PEAK, str(number), which],
        check=True, capture_output=True, text=True, cwd=HERE.parent,
    ).stdout  # fmt: skip
    return int(found) * 1024


# --- writing --------------------------------------------------------------------------------------


def table(rows: list[Row]) -> Iterator[str]:
    """The rows as Markdown."""
    yield (
        "| layer | size | against | forward, ms | backward, ms | total, × | backward, × | saved |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        ours, theirs = row.ours, row.theirs
        saved = f"{ours.saved / 1e6:.2f} / {theirs.saved / 1e6:.2f} MB"
        yield (
            f"| `{row.layer}` | {row.size} | {row.rival} | {ours.forward:.2f} / "
            f"{theirs.forward:.2f} | {ours.backward:.2f} / {theirs.backward:.2f} | "
            f"{row.total:.2f} | {row.backward:.2f} | {saved} |"
        )


def document(rows: list[Row], peaks: list[tuple[Case, int, int]]) -> str:
    """docs/performance.md."""
    lines = [
        "# How fast the emitted layers are",
        "",
        "Written by `make bench`. Each layer and its rival run in turn on the same float64 inputs,",
        "each after an untimed run of its own, one thread each; the figures are medians of the",
        "thread's processor time, layer / rival, and the ratios say how many times longer the",
        "rival takes. *Saved* is what autograd keeps between the passes besides the inputs;",
        f"*{GRAM}* is the option `gram`. *The paper* is its formulas as printed but for their",
        "errors, dense where they are.",
        "",
        *table(rows),
        "",
        "## Growth of the normalized cuts",
        "",
        "The slopes of log time over log m between 4096 and 65 536, and over log d between 10 and",
        "80 at m = 4096; layer / thin QR + autograd.",
        "",
        "| layer | in m | in d |",
        "| --- | --- | --- |",
    ]
    for name, along in exponents(rows).items():
        m, d = (f"{ours:.2f} / {theirs:.2f}" for ours, theirs in along.values())
        lines.append(f"| `{name}` | {m} | {d} |")
    lines += [
        "",
        "![Time over m](performance.svg)",
        "",
        "## Peak memory",
        "",
        "What a process needs beyond the inputs, gradients included, both passes; for the cuts",
        "that is {} and {} bytes a row.".format(*(ours >> 20 for _, ours, _ in peaks[-2:])),
        "",
        "| layer | size | against | peak, MB |",
        "| --- | --- | --- | --- |",
    ]
    for case, mine, theirs in peaks:
        lines.append(
            f"| `{case.layer}` | {case.size} | {next(iter(case.rivals))} | "
            f"{mine / 1e6:.1f} / {theirs / 1e6:.1f} |"
        )
    return "\n".join([*lines, ""])


def plot(rows: list[Row], path: Path) -> None:
    """Time over m for the normalized cuts, both passes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "mbp"
    figure, axes = plt.subplots(figsize=(6, 4))
    for name in CUTS:
        thin = [row for row in rows if row.layer == name and row.rival.startswith("thin")]
        chosen = [row for row in thin if row.size.endswith("d = 20, k = 8")]
        m = [_sizes(row.size)[0] for row in chosen]
        (line,) = axes.loglog(m, [row.ours.total for row in chosen], "o-", label=name)
        axes.loglog(
            m, [row.theirs.total for row in chosen], "s--", color=line.get_color(),
            label="thin QR + autograd",
        )  # fmt: skip
    axes.set_xlabel("m")
    axes.set_ylabel("forward and backward, ms")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Measures and writes; see the module."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rows, printed only")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds a case")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for case in cases():
        if options.quick and (case.size not in QUICK or case.rivals in DENSE.values()):
            continue
        for row in measured(case, options.budget):
            rows.append(row)
            print(f"{row.layer:11} {row.size:26} {row.rival:32} {row.total:8.2f}×", flush=True)
    if options.quick:
        return
    peaks = [(case, peak(k, "ours"), peak(k, "theirs")) for k, case in enumerate(peak_cases())]
    figures: dict[str, Any] = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "rows": [
            {
                "layer": row.layer, "size": row.size, "rival": row.rival,
                "ours": vars(row.ours), "theirs": vars(row.theirs),
                "total": row.total, "backward": row.backward,
            }
            for row in rows
        ],
        "exponents": exponents(rows),
        "peak_bytes": [
            {
                "layer": case.layer, "size": case.size, "rival": next(iter(case.rivals)),
                "ours": mine, "theirs": theirs,
            }
            for case, mine, theirs in peaks
        ],
    }  # fmt: skip
    (HERE / "speed.json").write_text(json.dumps(figures, indent=1) + "\n")
    DOCUMENT.write_text(document(rows, peaks))
    plot(rows, DOCUMENT.with_suffix(".svg"))


if __name__ == "__main__":
    main()
