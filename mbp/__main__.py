"""`python -m mbp` is the program `mbp`."""

import sys

from mbp.cli import main

sys.exit(main())
