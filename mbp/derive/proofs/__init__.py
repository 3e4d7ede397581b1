"""Where rules come from, as lines of a proof: `implicit` (a decomposition's own derivation, told
from its solution), `stages` (that and the matrix function's, in the letters of a layer)."""
