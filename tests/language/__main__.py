"""Runs all problems: `python -m tests.language [--compiled] [NAME…]`; lists what is not right."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.progress import track

from tests.language.problems import PROBLEMS, Problem, wrong, wrong_compiled


def told(check: Callable[[Problem], str | None], problem: Problem) -> str | None:
    """What the check finds, or how it fails."""
    try:
        return check(problem)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> int:
    """Runs the problems; exit status 1 when one is not right."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--compiled", action="store_true", help="the emitted modules as well")
    options = arguments.parse_args()
    chosen = [p for p in PROBLEMS if not options.names or p.name.split(":")[0] in options.names
              or p.name in options.names]  # fmt: skip
    if not chosen:
        arguments.error(f"no problem is called {' or '.join(options.names)}")
    seconds = []
    failures = []
    for problem in track(chosen, "problems", disable=not sys.stderr.isatty()):
        began = time.perf_counter()
        found = told(wrong, problem)
        seconds.append(time.perf_counter() - began)
        if found is None and options.compiled:
            found = told(wrong_compiled, problem)
        if found is not None:
            failures.append(f"{problem.name}  {problem.text}\n    {found}")
    print("\n".join(failures))
    print(f"{len(chosen)} problems, {len(failures)} not right; derivation and evaluation take "
          f"{np.median(seconds):.2f} s at the median, {max(seconds):.1f} s at most")  # fmt: skip
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
