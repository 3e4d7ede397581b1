"""Prints what factorizations cost beside matrix products: the weights in `mbp/plan/cost.py`.

`python -m benchmarks.factorizations`: for each, the flops that a product does in the same time,
over n³ (or m n² for the tall ones, m = 16 n); one thread, medians of the thread's processor time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

SIZES = (32, 64, 128, 256)


def seconds(function: Callable[[], Any], repeats: int = 15) -> float:
    """The median of the thread's processor time, after two calls to warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return statistics.median(times[2:])


def square(n: int) -> dict[str, Callable[[], Any]]:
    """What is done with an n×n matrix, or with n right-hand sides."""
    A, B = torch.randn(n, n, dtype=torch.float64), torch.randn(n, n, dtype=torch.float64)
    S = A @ A.mT + torch.eye(n, dtype=torch.float64)
    L = torch.linalg.cholesky(S)
    LU = torch.linalg.lu_factor(A)
    return {
        "product": lambda: A @ B,
        "cholesky": lambda: torch.linalg.cholesky(S),
        "lu": lambda: torch.linalg.lu_factor(A),
        "inverse": lambda: torch.linalg.inv(A),
        "cholesky_solve": lambda: torch.cholesky_solve(B, L),
        "lu_solve": lambda: torch.linalg.lu_solve(*LU, B),
        "triangular_solve": lambda: torch.linalg.solve_triangular(L, B, upper=False),
        "eigh": lambda: torch.linalg.eigh(S),
        "svd": lambda: torch.linalg.svd(A),
    }


def tall(m: int, n: int) -> dict[str, Callable[[], Any]]:
    """What is done with an m×n matrix."""
    A, B = torch.randn(m, n, dtype=torch.float64), torch.randn(n, n, dtype=torch.float64)
    return {
        "product": lambda: A @ B,
        "qr": lambda: torch.linalg.qr(A),
        "triangle of qr": lambda: torch.linalg.qr(A, mode="r"),
        "thin svd": lambda: torch.linalg.svd(A, full_matrices=False),
    }


def weights(operations: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The time of each over half of a product's, whose flops are twice the unit."""
    times = {name: seconds(operation) for name, operation in operations.items()}
    unit = times.pop("product") / 2
    return {name: t / unit for name, t in times.items()}


def main() -> None:
    """Measures and prints; see the module."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = [weights(square(n)) | weights(tall(16 * n, n)) for n in SIZES]
    print(f"{'n':18}" + "".join(f"{n:8}" for n in SIZES))
    for name in found[0]:
        print(f"{name:18}" + "".join(f"{at[name]:8.1f}" for at in found))


if __name__ == "__main__":
    main()
