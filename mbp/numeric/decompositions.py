"""The numeric forward of decompositions, in either arithmetic, by what their rule names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mbp.expr.nodes import Expr, Output, Var
from mbp.numeric.arithmetic import Arithmetic, Array
from mbp.numeric.solving import Evaluate, Solver
from mbp.rulebook import RULEBOOK

Function = Callable[..., tuple[Array, ...]]

_FUNCTIONS: dict[str, Function] = {
    "svd": lambda at, A: _svd(at, A),
    "svdvals": lambda at, A: (at.svd(A)[1],),
    "eigh": lambda at, A: at.eigh(A),
    "eigvalsh": lambda at, A: (at.eigh(A)[0],),
    "cholesky": lambda at, A: (at.cholesky(A),),
    "qr": lambda at, A: at.qr(A),
    "inv": lambda at, A: (at.inverse(A),),
    "pinv": lambda at, A: (at.pinv(A),),
    "det": lambda at, A: (at.matrix([[at.determinant(A)]]),),
    "solve": lambda at, A, B: (at.inverse(A) @ B,),
}
"""What `torch.linalg` calls by these names, by mathematical definition; spectra are columns."""


def _svd(at: Arithmetic, A: Array) -> tuple[Array, ...]:
    U, s, V = at.svd(A)
    return U, s, V.T


def outputs_of(
    node: Output,
    inputs: tuple[Array, ...],
    at: Arithmetic,
    sizes: Mapping[str, int],
    evaluate: Evaluate,
) -> tuple[Array, ...]:
    """All outputs of the decomposition that `node` is one of, at the given inputs.

    Diagonal outputs are matrices. A decomposition whose rule says no forward that is known here
    is solved from its equations. Raises MbpError when no solution is found.
    """
    rule = RULEBOOK.decompositions[node.rule]
    forward = RULEBOOK.forward(node.rule)
    if forward is not None and forward.function is None:
        env: dict[Expr, Array] = dict(zip(rule.inputs, inputs, strict=True))
        return tuple(evaluate(forward.expressions, env, at))
    name = "" if forward is None else (forward.function or "").rpartition(".")[2]
    if forward is None or name not in _FUNCTIONS:
        return Solver(rule, inputs, sizes, at, evaluate).solution()
    results = dict(zip(forward.returns, _FUNCTIONS[name](at, *inputs), strict=True))
    return tuple(_output(Y, results, inputs, rule.inputs, at) for Y in rule.outputs)


def _output(
    Y: Var,
    results: Mapping[str, Array],
    inputs: tuple[Array, ...],
    names: tuple[Var, ...],
    at: Arithmetic,
) -> Array:
    value = results[Y.name] if Y.name in results else results[f"{Y.name}.T"].T
    if value.shape[1] == 1 and Y.rows == Y.cols:
        D = at.zeros(len(value), len(value))
        for k, entry in enumerate(value[:, 0]):
            D[k, k] = entry
        value = D
    sizes = {
        dim: size
        for x, A in zip(names, inputs, strict=True)
        for dim, size in zip(x.shape, A.shape, strict=True)
    }
    # The thin form of a decomposition is the leading part of its full form.
    rows, cols = (
        int(dim) if dim.is_Integer else sizes.get(dim, size)
        for dim, size in zip(Y.shape, value.shape, strict=True)
    )
    return value[:rows, :cols]
