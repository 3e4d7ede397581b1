"""Fuzzes the engine: `python -m tests.fuzz --examples 10000 --depth 6`; lists every failure.

Each expression is printed and parsed again, derived, held against autograd and forward mode, and
emitted as a PyTorch module that is imported, unless no input shows how large it is, or it is
finite nowhere. Ranges of seeds are independent of one another, so that a long run may be cut into
several, side by side or one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from mbp.emit import emit_text, load
from mbp.errors import MbpError
from mbp.expr.nodes import Expr, variables
from mbp.expr.parser import parse
from mbp.rulebook import RULEBOOK
from tests.agreement import derived, disagreement
from tests.strategies import VARIABLES, expressions

RANGE = 100
"""The expressions drawn from one seed."""

BEYOND = (
    "no input shows how large",  # tr(eye(n)) among matrices without an n
    "no admissible instance gives",  # the expression itself overflows everywhere
)


def failure(Y: Expr, seed: int, with_module: bool) -> str | None:
    """The first of the properties that Y breaks, in words."""
    try:
        if parse(str(Y), VARIABLES, RULEBOOK.functions) is not Y:
            return f"printing and parsing differ for {Y}"
        derivation = derived(Y)
        if (found := disagreement(derivation, seed)) is not None:
            return found
        if with_module:
            load(emit_text(derivation, "torch"), "random")
    except MbpError as refusal:
        if any(reason in str(refusal) for reason in BEYOND):
            return None
        return f"{str(refusal)[:200]} for {Y} (seed {seed})"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]} for {Y} (seed {seed})"
    return None


def main() -> int:
    """Runs the fuzzer; exit status 1 when anything failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--examples", type=int, default=10_000)
    arguments.add_argument("--depth", type=int, default=6)
    arguments.add_argument("--seed", type=int, default=0, help="where the ranges of seeds begin")
    arguments.add_argument("--modules", type=int, default=1, metavar="K",
                           help="emit and import a module for every K-th expression")  # fmt: skip
    options = arguments.parse_args()
    failures: list[str] = []
    seconds: list[float] = []
    modules = 0

    with Progress() as progress:
        task = progress.add_task("expressions", total=options.examples)
        for start in range(0, options.examples, RANGE):

            @hypothesis.seed(options.seed + start // RANGE)
            @settings(max_examples=min(RANGE, options.examples - start), deadline=None,
                      database=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(Y=expressions(depth=options.depth), seed=st.integers(0, 2**32 - 1))
            def run(Y: Expr, seed: int) -> None:
                nonlocal modules
                progress.advance(task)
                if not variables(Y):
                    return
                with_module = len(seconds) % options.modules == 0
                modules += with_module
                began = time.process_time()
                if (found := failure(Y, seed, with_module)) is not None:
                    failures.append(found)
                    progress.console.print(found, markup=False, highlight=False)
                seconds.append(time.process_time() - began)

            run()
    print(f"{len(seconds)} expressions and {modules} modules, {len(failures)} failures")
    print(f"CPU seconds each: median {statistics.median(seconds):.2f}, most {max(seconds):.1f}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
