"""Runs all problems: `python -m tests.language [--compiled] [NAME…]`; lists what is not right."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from rich.progress import track

from tests.language.problems import PROBLEMS, wrong, wrong_compiled


def main() -> int:
    """Runs the problems; exit status 1 when one is not right."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--compiled", action="store_true", help="the emitted modules as well")
    options = arguments.parse_args()
    chosen = [p for p in PROBLEMS if not options.names or p.name.split(":")[0] in options.names
              or p.name in options.names]  # fmt: skip
    seconds = []
    failures = []
    for problem in track(chosen, "problems", disable=not sys.stderr.isatty()):
        began = time.perf_counter()
        try:
            found = wrong(problem)
            seconds.append(time.perf_counter() - began)
            if found is None and options.compiled:
                found = wrong_compiled(problem)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found is not None:
            failures.append(f"{problem.name}  {problem.text}\n    {found}")
    print("\n".join(failures))
    print(f"{len(chosen)} problems, {len(failures)} not right; derivation and evaluation take "
          f"{np.median(seconds):.2f} s at the median, {max(seconds):.1f} s at most")  # fmt: skip
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
