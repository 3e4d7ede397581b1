"""An independent reader of `derive --format json`: evaluates its texts with NumPy alone."""

import numpy as np

ELEMENTWISE = {name: getattr(np, name) for name in ("exp", "log", "sqrt", "tanh", "abs", "sign")}


def _column(values):
    return np.asarray(values, dtype=float).reshape(-1, 1)


def _of_symmetric(g):
    def function(A, *more):
        values, U = np.linalg.eigh((A + A.T) / 2)
        return (U * g(values, *more)) @ U.T

    return function


def _eig(A):
    values, U = np.linalg.eigh((A + A.T) / 2)
    return U, np.diag(values)


def _svd(X, *, full=False):
    U, values, Vt = np.linalg.svd(X, full_matrices=full)
    return U, np.diag(values), Vt.T


def _pinv(A):
    return np.linalg.pinv(A, rcond=1e-10)


def _diag(A):
    return np.diag(A[:, 0]) if A.shape[1] == 1 else _column(np.diag(A))


FUNCTIONS = ELEMENTWISE | {
    "eye": np.eye,
    "ones": lambda m, n=1: np.ones((m, n)),
    "zeros": lambda m, n=1: np.zeros((m, n)),
    "inv": np.linalg.inv,
    "tr": np.trace,
    "sum": lambda A: float(np.sum(A)),
    "inner": lambda A, B: float((A * B).sum()),
    "sumsq": lambda A: float((A * A).sum()),
    "sym": lambda A: (A + A.T) / 2,
    "skew": lambda A: (A - A.T) / 2,
    "diag": _diag,
    "diagpart": lambda A: np.diag(np.diag(A)),
    "logm": _of_symmetric(np.log),
    "expm": _of_symmetric(np.exp),
    "sqrtm": _of_symmetric(np.sqrt),
    "powm": _of_symmetric(np.power),
    "cholesky": np.linalg.cholesky,
    "eig": _eig,
    "svd": _svd,
    "svd_full": lambda X: _svd(X, full=True),
    "pinv": _pinv,
    "projector": lambda A: A @ _pinv(A),
    "hstack": lambda *blocks: np.hstack(blocks),
    "vstack": lambda *blocks: np.vstack(blocks),
}


def evaluated(text, values, dims, where):
    """The value of `text`, its names from `values`, its dimensions from `dims`.

    `where` holds the definitions of a JSON derivation, each after those that it uses.
    """
    env = FUNCTIONS | dims | values
    for name, definition in where.items():
        env[name] = _defined(definition, env)
    return eval(text, {"__builtins__": {}}, env)


def _defined(definition, env):
    if definition["kind"] == "output":
        result = eval(definition["of"], {"__builtins__": {}}, env)
        return result[definition["index"]] if isinstance(result, tuple) else result
    shape = [env[n] for n in definition["shape"].split()]
    K = np.zeros(shape if len(shape) == 2 else (*shape, 1))
    indexed = env | {k: v[:, 0] for k, v in env.items() if _is_column(v)}
    for i in range(K.shape[0]):
        for j in range(K.shape[1]):
            entry = definition["diagonal"] if i == j else definition["entry"]
            K[i, j] = eval(entry, {"__builtins__": {}}, indexed | {"i": i, "j": j})
    return K


def _is_column(value):
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 1
