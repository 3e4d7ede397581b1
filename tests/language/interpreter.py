"""The grammar of `docs/language.md` on NumPy arrays: reads texts with no part of the engine."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray

SPECTRAL_ZERO = 1e-10
"""Singular values below this part of the largest are zero, in pseudo-inverses and projectors."""

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    **{f: getattr(np, f) for f in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh")},
    **{f: getattr(np, f) for f in ("tanh", "abs", "sign", "log1p", "expm1", "floor")},
    **{f"a{f}": getattr(np, f"arc{f}") for f in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "relu": lambda x: np.maximum(x, 0.0),
    "erf": special.erf,
    "erfc": special.erfc,
    "gamma": special.gamma,
    "loggamma": special.gammaln,
    "digamma": special.digamma,
    "trigamma": lambda x: special.polygamma(1, x),
    "ceiling": np.ceil,
}

SPECTRAL: dict[str, Callable[[Array], Array]] = {
    "logm": np.log,
    "expm": np.exp,
    "sqrtm": np.sqrt,
    "invsqrtm": lambda x: 1 / np.sqrt(x),
}


class OutsideError(Exception):
    """A text that the grammar or its strict shapes do not allow."""


def scalar(A: Array, what: str) -> float:
    """The number in a 1×1 result."""
    if A.shape != (1, 1):
        raise OutsideError(f"{what} needs a scalar, not {A.shape}")
    return float(A[0, 0])


def square(A: Array, what: str) -> Array:
    """A itself, if it is square."""
    if A.shape[0] != A.shape[1]:
        raise OutsideError(f"{what} needs a square matrix, not {A.shape}")
    return A


def spectral(g: Callable[[Array], Array], A: Array) -> Array:
    """g of a symmetric matrix."""
    A = square(A, "a matrix function")
    if not np.allclose(A, A.T, rtol=1e-9, atol=1e-9 * np.abs(A).max()):
        raise OutsideError("a matrix function needs a symmetric matrix")
    values, U = np.linalg.eigh((A + A.T) / 2)
    return (U * g(values)) @ U.T


def pinv(A: Array) -> Array:
    """A⁺, the rank decided by `SPECTRAL_ZERO`."""
    return np.linalg.pinv(A, rcond=SPECTRAL_ZERO)


def diag(A: Array) -> Array:
    """Matrix to the vector of its diagonal, vector to diagonal matrix."""
    if A.shape[1] == 1:
        return np.diag(A[:, 0])
    return np.diag(square(A, "diag"))[:, None].copy()


def same(A: Array, B: Array, what: str) -> None:
    """Raises OutsideError unless both have one shape."""
    if A.shape != B.shape:
        raise OutsideError(f"{what} needs equal shapes, not {A.shape} and {B.shape}")


def inner(A: Array, B: Array) -> Array:
    """A : B."""
    same(A, B, "inner")
    return np.array([[(A * B).sum()]])


def kron_left(G: Array, B: Array) -> Array:
    """The adjoint of kron(A, B) in A."""
    p, q = B.shape
    blocks = G.reshape(G.shape[0] // p, p, G.shape[1] // q, q)
    return np.einsum("ipjq,pq->ij", blocks, B)


def kron_right(A: Array, G: Array) -> Array:
    """The adjoint of kron(A, B) in B."""
    m, n = A.shape
    blocks = G.reshape(m, G.shape[0] // m, n, G.shape[1] // n)
    return np.einsum("ipjq,ij->pq", blocks, A)


def eig(A: Array) -> tuple[Array, Array]:
    """Eigenvectors and the diagonal matrix of eigenvalues of a symmetric matrix."""
    values, U = np.linalg.eigh((square(A, "eig") + A.T) / 2)
    return U, np.diag(values)


def svd(X: Array, full: bool = False) -> tuple[Array, Array, Array]:
    """U, the square diagonal S and V."""
    U, values, Vt = np.linalg.svd(X, full_matrices=full)
    return U, np.diag(values), Vt.T


def number(value: float) -> Array:
    """A number as a 1×1 matrix."""
    return np.array([[float(value)]])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **{name: (lambda A, g=g: spectral(g, A)) for name, g in SPECTRAL.items()},
    "inv": lambda A: np.linalg.inv(square(A, "inv")),
    "pinv": pinv,
    "projector": lambda A: A @ pinv(A),
    "det": lambda A: number(np.linalg.det(square(A, "det"))),
    "logdet": lambda A: number(np.linalg.slogdet(square(A, "logdet"))[1]),
    "tr": lambda A: number(np.trace(square(A, "tr"))),
    "norm": lambda A: number(np.linalg.norm(A)),
    "sumsq": lambda A: number((A * A).sum()),
    "sum": lambda A: number(A.sum()),
    "inner": inner,
    "sym": lambda A: (square(A, "sym") + A.T) / 2,
    "skew": lambda A: (square(A, "skew") - A.T) / 2,
    "diag": diag,
    "diagpart": lambda A: np.diag(np.diag(square(A, "diagpart"))),
    "powm": lambda A, p: spectral(lambda x: x ** scalar(p, "powm"), A),
    "hstack": lambda *blocks: np.hstack(blocks),
    "vstack": lambda *blocks: np.vstack(blocks),
    "kron": np.kron,
    "kron_left": kron_left,
    "kron_right": kron_right,
    "vec": lambda A: A.reshape(-1, 1, order="F"),
    "cholesky": lambda A: np.linalg.cholesky((A + A.T) / 2),
    "eig": eig,
    "svd": svd,
    "svd_full": lambda X: svd(X, full=True),
}

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@", ast.Pow: "**",
}  # fmt: skip


def operate(sign: str, A: Array, B: Array) -> Array:
    """A `sign` B under the strict rules of shapes."""
    if sign == "@":
        if A.shape[1] != B.shape[0]:
            raise OutsideError(f"{A.shape} @ {B.shape}")
        return A @ B
    if sign == "**":
        return A ** scalar(B, "an exponent")
    if sign == "*" and (1, 1) in (A.shape, B.shape):
        return A * B
    if sign == "/" and B.shape == (1, 1):
        return A / B
    same(A, B, sign)
    return {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[sign](A, B)


class Interpreter:
    """Values of texts, given those of names; `where` holds the definitions of a JSON derivation.

    The variation of X goes by the name d(X).
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        dims: Mapping[str, int],
        where: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.names = {name: _matrix(value) for name, value in values.items()}
        self.dims = dims
        for name, definition in (where or {}).items():
            self.names[name] = self._defined(definition)

    def value(self, text: str) -> Array:
        """The value of `text`; raises OutsideError for what the grammar does not allow."""
        return _matrix(self._read(ast.parse(text, mode="eval").body))

    def _defined(self, definition: Mapping[str, Any]) -> Array:
        if definition["kind"] == "output":
            result = self._read(ast.parse(definition["of"], mode="eval").body)
            return result[definition["index"]] if isinstance(result, tuple) else result
        if definition["kind"] == "expression":
            return self.value(definition["of"])
        shape = [self._dim(ast.parse(n, mode="eval").body) for n in definition["shape"].split()]
        K = np.zeros((shape[0], shape[1] if len(shape) == 2 else 1))
        env: dict[str, Any] = {
            name: A[:, 0] if A.shape[1] == 1 and A.shape[0] > 1 else A
            for name, A in self.names.items()
        }
        env |= {name: float(A[0, 0]) for name, A in self.names.items() if A.shape == (1, 1)}
        env |= ELEMENTWISE | {"pi": np.pi, "min": min, "max": max, "polygamma": special.polygamma}
        for i in range(K.shape[0]):
            for j in range(K.shape[1]):
                entry = definition["diagonal" if i == j else "entry"]
                K[i, j] = eval(entry, {"__builtins__": {}}, env | {"i": i, "j": j})
        return K

    def _dim(self, node: ast.AST) -> int:
        match node:
            case ast.Constant(value=int() as n):
                return n
            case ast.Name(id=name) if name in self.dims:
                return self.dims[name]
            case ast.BinOp(left=a, op=op, right=b):
                m, n = self._dim(a), self._dim(b)
                return {"+": m + n, "-": m - n, "*": m * n, "**": m**n}[OPERATORS[type(op)]]
        raise OutsideError(f"no dimension: {ast.unparse(node)}")

    def _read(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as value):
                return number(value)
            case ast.Name(id="pi"):
                return number(np.pi)
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Call(func=ast.Name(id="d"), args=[ast.Name(id=name)]):
                return self.names[f"d({name})"]
            case ast.Attribute(value=A, attr="T"):
                return self._read(A).T
            case ast.UnaryOp(op=ast.USub(), operand=A):
                return -self._read(A)
            case ast.BinOp(left=A, op=op, right=B):
                return operate(OPERATORS[type(op)], self._read(A), self._read(B))
            case ast.Subscript(value=call, slice=ast.Constant(value=int() as k)):
                return self._read(call)[k]
            case ast.Call(func=ast.Name(id="eye"), args=[n]):
                return np.eye(self._dim(n))
            case ast.Call(func=ast.Name(id="ones" | "zeros" as name), args=[_, *_] as dims):
                shape = [*map(self._dim, dims), 1][:2]
                return np.ones(shape) if name == "ones" else np.zeros(shape)
            case ast.Call(func=ast.Name(id="unvec"), args=[x, m, n]):
                return self._read(x).reshape(self._dim(m), self._dim(n), order="F")
            case ast.Call(func=ast.Name(id="matfun"), args=[ast.Constant(value=g), A, *rest]):
                return self._matfun(str(g), self._read(A), rest)
            case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
                return FUNCTIONS[name](*(self._read(arg) for arg in args))
        raise OutsideError(f"outside the grammar: {ast.unparse(node)}")

    def _matfun(self, g: str, A: Array, rest: list[ast.expr]) -> Array:
        if g in ELEMENTWISE:
            return spectral(ELEMENTWISE[g], A)
        env = ELEMENTWISE | {"pi": np.pi}
        env |= {f"c{k}": scalar(self._read(c), "matfun") for k, c in enumerate(rest)}
        return spectral(
            lambda x: eval(g, {"__builtins__": {}}, env | {"x": x}) * np.ones_like(x), A
        )


def _matrix(value: Any) -> Array:
    A = np.asarray(value, dtype=float)
    return A.reshape(1, 1) if A.ndim == 0 else A.reshape(-1, 1) if A.ndim == 1 else A
