"""NumPy's vocabulary."""

from __future__ import annotations

from mbp.emit.dialect import Dialect
from mbp.emit.dialects import array

_SPECIAL = ("sigmoid", "erf", "erfc", "gamma", "loggamma", "digamma", "trigamma")

NUMPY = Dialect(
    name="numpy",
    module="np",
    templates=("array", "numpy"),
    array="Array",
    dtype="type[np.floating]",
    like="dtype={x}.dtype",
    functions={**array.functions("np"), **{name: f"_{name}({{}})" for name in _SPECIAL}},
    words={
        **array.words("np"),
        "cholesky_solve": "np.linalg.solve({A}.mT, np.linalg.solve({a}, {b}))",
        "copy": "{a}.copy()",
        "over_gaps": "_over_gaps({args}, on_tie)",
        "triangular_solve": "np.linalg.solve({a}, {b})",
        "with_diagonal": "_with_diagonal({a}, {b}, on_tie)",
    },
    calls=array.calls("np"),
    options=("rtol", "gram", "on_tie", "compute_dtype"),
)
