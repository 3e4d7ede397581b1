"""Fuzzes the engine: `python -m tests.fuzz --examples 10000 --depth 6`; lists every failure."""

from __future__ import annotations

import argparse
import sys

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from mbp.expr.nodes import Expr, variables
from mbp.rulebook import RULEBOOK
from tests.agreement import disagreement
from tests.strategies import VARIABLES, expressions


def failure(Y: Expr, seed: int) -> str | None:
    """The first of the properties that Y breaks, in words."""
    from mbp.expr.parser import parse

    try:
        if parse(str(Y), VARIABLES, RULEBOOK.functions) is not Y:
            return f"printing and parsing differ for {Y}"
        return disagreement(Y, seed)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]} for {Y} (seed {seed})"


def main() -> int:
    """Runs the fuzzer; exit status 1 when anything failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--examples", type=int, default=10_000)
    arguments.add_argument("--depth", type=int, default=6)
    options = arguments.parse_args()
    failures: list[str] = []
    with Progress() as progress:
        task = progress.add_task("expressions", total=options.examples)

        @settings(max_examples=options.examples, deadline=None, database=None,
                  phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(Y=expressions(depth=options.depth), seed=st.integers(0, 2**32 - 1))
        def run(Y: Expr, seed: int) -> None:
            progress.advance(task)
            if variables(Y) and (found := failure(Y, seed)) is not None:
                failures.append(found)

        run()
    for line in failures:
        print(line)
    print(f"{options.examples} expressions, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
