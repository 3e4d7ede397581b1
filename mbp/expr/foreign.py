"""What other libraries call things: the hint for a name that the grammar does not have."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from mbp.errors import MbpError
from mbp.expr import build, scalar

_HERE: Mapping[str, str] = {
    "adjoint": "A.T", "H": "A.T", "dot": "A @ B, or inner(A, B)", "cat": "hstack(A, B)",
    "concat": "hstack(A, B) or vstack(A, B)", "concatenate": "hstack(A, B) or vstack(A, B)",
    "diagonal": "diag(A)", "eigh": "eig(A)", "eigvalsh": "eig(A)[1]", "fill": "c * ones(m, n)",
    "flatten": "vec(A)", "full": "c * ones(m, n)", "I": "eye(n)", "identity": "eye(n)",
    "inverse": "inv(A)", "ln": "log(A)", "logsumexp": "log(sum(exp(x)))", "matmul": "A @ B",
    "matrix_power": "powm(A, p)", "mean": "sum(x) / tr(eye(n))", "mm": "A @ B", "mT": "A.T",
    "multiply": "A * B", "mv": "A @ x", "outer": "x @ y.T", "pow": "A ** p", "power": "A ** p",
    "prod": "exp(sum(log(x)))", "ravel": "vec(A)", "reshape": "unvec(x, m, n)",
    "slogdet": "logdet(A)", "softmax": "exp(x) / sum(exp(x))", "solve": "inv(A) @ B",
    "square": "A ** 2", "svdvals": "svd(A)[1]", "trace": "tr(A)", "transpose": "A.T",
    "vdot": "inner(x, y)", "view": "unvec(x, m, n)",
}  # fmt: skip

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "matmul": operator.matmul, "power": operator.pow,
}  # fmt: skip

_DECOMPOSITIONS = frozenset({"cholesky", "eig", "ldl", "polar", "qr", "svd"})
"""The decompositions that other libraries call as they are called here."""

_INVERSE = {f"arc{f}": f"a{f}" for f in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}


def here(name: str) -> str | None:
    """How one writes in the grammar what is called `name` elsewhere; None for what it has not."""
    name = name.removeprefix("linalg_")
    name = _INVERSE.get(name, name)
    if name in _HERE:
        return _HERE[name]
    from mbp.expr.parser import FUNCTION_NAMES

    known = name in FUNCTION_NAMES or scalar.is_readable(name)
    return f"{name}(A)" if known else None


def in_python(name: str, decompositions: Container[str] = _DECOMPOSITIONS) -> str | None:
    """The same with a decomposition called as in Python: `mbp.rule("eig")(A)` for `eigh`."""
    from mbp.expr.parser import FUNCTION_NAMES

    name = name.removeprefix("linalg_")
    hint = f"{name}(A)" if name in decompositions else here(name)
    function, _, rest = (hint or "").partition("(")
    called = function in decompositions and function not in FUNCTION_NAMES
    return f'mbp.rule("{function}")({rest}' if called else hint


def refusal(library: str, name: str) -> MbpError:
    """The error for a library's function of an expression."""
    hint = in_python(name)
    right = f"; write {hint}, with mbp's functions" if hint else ""
    return MbpError(f"{library}'s {name} computes with numbers, not with expressions{right}")


def ufunc(name: str, operands: Sequence[Any]) -> Any:
    """What NumPy's operators, as in `np.float64(2) * A`, mean for an expression.

    Raises MbpError for its other functions.
    """
    if name not in _OPERATORS:
        raise refusal("NumPy", name)
    return _OPERATORS[name](*map(build.as_expr, operands))
