"""Writes docs/torch.md: `python -m tests.transforms` tries every transform on every layer."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import Progress

from tests.transforms.cases import CASES
from tests.transforms.matrix import DERIVATIVES, MODULES, REFUSED, TRACING, Transform

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"

SECTIONS = (("Derivatives", DERIVATIVES), ("Tracing", TRACING), ("Modules and inputs", MODULES))

OPENING = """# The layers in PyTorch

Written by `python -m tests.transforms`, with PyTorch {version} on a CPU: each number is the error
that a transform showed on a layer, relative to the largest entry of its witness. The tests repeat
them, the tracing for a few layers. Everything is float64 but autocast, where float32 inputs under
bfloat16 autocast are compared with float32 without it.
"""

CLOSING = """## What does not work, and what to do instead

Each of these raises; nothing here gives a wrong number. Tried on {layers}.

{refused}

- A compiled function that is differentiated twice raises; `torch.autograd.grad` with
  `allow_unused=True` may answer `None` instead, as it does for `torch.exp`.
- `torch.export` and `torch.compile` of forward mode would differentiate the decomposition inside
  a layer, which is wrong near equal singular values. That is why the layer refuses both.
- `on_tie="raise"` looks at values, which no trace can: inside `torch.compile` and `torch.export`
  it acts like `"nan"`, under `vmap` PyTorch raises.

## Several processes

- `torchrun --nproc-per-node 2 -m examples.distributed.data_parallel` trains under
  `DistributedDataParallel`; the gradients of a step are those of one process with the whole
  batch, to 1e-10.
- `torchrun --nproc-per-node 2 -m examples.distributed.cuts` spreads the rows of one image. J₁ and
  J₂ need only sums over rows of d×d and k×d numbers, so each process sends, forward and backward,
  2d² + kd + k numbers for J₂ and 2d more for J₁, besides the gradients of the network's weights,
  whatever m is. Value and gradient are those of the whole image to 1e-10 on 1, 2 and 4 processes.
  A first sum makes the columns of F orthonormal: at a condition number of 1e6 the gradient then
  agrees with `ncuts_j2` to 2e-10, where the plain Gram matrix has lost every digit. Directions
  below √(d ε) of the largest singular value, some 1e-8, count as dead.

## How a layer is built

- A layer is a `torch.autograd.Function` whose backward is a second one with its own derived
  backward. What the forward pass keeps for the backward is an output marked non-differentiable.
- The jvp is the derived variation, in eager mode; it takes the admissible part of any tangent, so
  that it is the transpose of the gradient. Its own backward is made of the two backward programs.
- Autocast is off inside, forward and backward; half precision is computed in float32.
- Modules hold no parameters and no buffers: `state_dict` is empty, constants are attributes.
"""


def cell(transform: Transform, name: str) -> str:
    """The error, in bold where it is too large or the transform failed."""
    try:
        found = transform.check(CASES[name])
    except Exception as problem:
        print(f"{name}, {transform.title}: {problem}", file=sys.stderr)
        return "**failed**"
    if found > transform.tolerance:
        return f"**{found:.0e}**"
    return "0" if found == 0 else f"{found:.0e}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def meaning(transform: Transform) -> str:
    """What the column says, from its function."""
    return f"- {transform.title}: {(transform.check.__doc__ or '').strip()}"


def refused(names: Sequence[str]) -> str:
    """The table of refusals, each tried on some layers."""
    rows = []
    for refusal in REFUSED:
        for name in names:
            try:
                refusal.attempt(CASES[name])
            except Exception as error:
                assert any(part in str(error) for part in refusal.message.split("|")), error
            else:
                raise AssertionError(f"{refusal.title} did not raise for {name}")
        words = refusal.message.split("|")[0]
        rows.append([refusal.title, f"“{words}”", refusal.instead])
    return table(["attempt", "what is raised", "instead"], rows)


def main() -> int:
    """The page on disk; 1 where a transform misses its tolerance."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parts = [OPENING.format(version=torch.__version__.split("+")[0])]
    with Progress(transient=True) as progress:
        whole = progress.add_task("transforms", total=sum(len(s) for _, s in SECTIONS) * len(CASES))
        for title, transforms in SECTIONS:
            rows = []
            for name in CASES:
                rows.append([f"`{name}`"])
                for transform in transforms:
                    progress.update(whole, description=f"{name}: {transform.title}", advance=1)
                    rows[-1].append(cell(transform, name))
            meanings = "\n".join(meaning(transform) for transform in transforms)
            head = ["layer", *(transform.title for transform in transforms)]
            parts.append(f"## {title}\n\n{table(head, rows)}\n\n{meanings}\n")
    names = ("eig", "o2p", "ncuts_j2")
    layers = ", ".join(f"`{name}`" for name in names)
    parts.append(CLOSING.format(layers=layers, refused=refused(names)))
    page = "\n".join(parts)
    PAGE.write_text(page, encoding="utf-8")
    return int("**" in page)


if __name__ == "__main__":
    sys.exit(main())
