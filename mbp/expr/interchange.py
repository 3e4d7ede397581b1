"""To and from SymPy's matrix expressions, for the subset that both know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import sympy as sp
from sympy.matrices.expressions import hadamard_power, hadamard_product
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf
from sympy.matrices.expressions.hadamard import HadamardPower, HadamardProduct
from sympy.matrices.expressions.special import GenericIdentity, GenericZeroMatrix, OneMatrix

from mbp.errors import MbpError
from mbp.expr import build, scalar
from mbp.expr.dims import Dim, dim
from mbp.expr.nodes import (
    Det,
    Diag,
    DiagVec,
    DimSize,
    Expr,
    Eye,
    Hadamard,
    Inner,
    Inverse,
    Kron,
    LogDet,
    Map,
    Named,
    Number,
    Ones,
    Part,
    Product,
    Scale,
    Stack,
    Sum,
    Trace,
    Transpose,
    Var,
    Zeros,
    fold,
)

# --- to SymPy -------------------------------------------------------------------------------------


def to_sympy(e: Expr) -> sp.Basic:
    """`e` as a SymPy expression; a column is a matrix with one column there.

    SymPy has no invariants: declared properties are lost. A product that is a scalar here, such as
    xᵀAx, is a 1×1 matrix there and becomes its trace. Raises MbpError for what SymPy cannot say.
    """
    return fold(e, _to_sympy)


def _to_sympy(node: Expr, args: Sequence[Any]) -> Any:
    match node:
        case Var() if node.is_scalar:
            return sp.Symbol(node.name, real=True)
        case Var():
            return sp.MatrixSymbol(node.name, *node.shape)
        case Named():
            return args[0]
        case Number():
            return node.value
        case DimSize(data=(n,)):
            return n
        case Eye():
            return sp.Identity(node.rows)
        case Ones():
            return OneMatrix(*node.shape)
        case Zeros():
            return sp.Integer(0) if node.is_scalar else sp.ZeroMatrix(*node.shape)
        case Sum():
            return reduce(lambda A, B: A + B, args)
        case Product():
            whole = sp.MatMul(*args)
            return sp.Trace(whole) if node.is_scalar else whole
        case Scale():
            return args[0] * args[1]
        case Transpose():
            return args[0].T
        case Hadamard():
            return sp.Mul(*args) if node.is_scalar else hadamard_product(*args)
        case Map():
            return _mapped(node, *args)
        case Inverse():
            return args[0].inverse()
        case Det():
            return sp.Determinant(args[0])
        case LogDet():
            return sp.log(sp.Abs(sp.Determinant(args[0])))
        case Trace():
            return sp.Trace(args[0])
        case Inner():
            return args[0] * args[1] if node.args[0].is_scalar else sp.Trace(args[0].T * args[1])
        case Diag():
            return DiagMatrix(args[0])
        case DiagVec():
            return DiagonalOf(args[0])
        case Part(data=("sym",)):
            return (args[0] + args[0].T) / 2
        case Part(data=("skew",)):
            return (args[0] - args[0].T) / 2
        case Part(data=("diag",)) if node.is_square:
            return hadamard_product(sp.Identity(node.rows), args[0])
        case Stack(data=(axis,)):
            return sp.BlockMatrix([list(args)] if axis == 1 else [[A] for A in args])
        case Kron():
            return sp.KroneckerProduct(*args)
    raise MbpError(f"SymPy's matrix expressions have no {node}")


def _mapped(node: Map, A: Any, *exponent: Any) -> Any:
    if exponent:
        return A ** exponent[0] if node.is_scalar else hadamard_power(A, exponent[0])
    body = scalar.body(node.name)
    return body.subs(scalar.X, A) if node.is_scalar else A.applyfunc(sp.Lambda(scalar.X, body))


# --- from SymPy -----------------------------------------------------------------------------------


def from_sympy(e: sp.Basic, variables: Mapping[str, Expr]) -> Expr:
    """The expression that a SymPy matrix expression or scalar stands for.

    A symbol is the one of `variables` that has its name, with the properties declared there, or
    a general variable of SymPy's shape. Raises MbpError for what is not in the common subset and
    for a declaration whose shape is another.
    """
    return _Reader(variables).read(sp.sympify(e))


class _Reader:
    def __init__(self, variables: Mapping[str, Expr]) -> None:
        self._variables = variables

    def read(self, e: sp.Basic) -> Expr:
        """The expression; SymPy's own arguments are read first."""
        match e:
            case sp.MatrixSymbol():
                return self._variable(str(e.name), *map(_dim, e.shape))
            case sp.Symbol():
                return self._variable(e.name, dim(1), dim(1))
            case sp.Number() | sp.NumberSymbol():
                return build.number(e)
            case sp.Identity():
                return build.eye(_dim(e.rows))
            case OneMatrix():
                return build.ones(*map(_dim, e.shape))
            case sp.ZeroMatrix():
                return build.zeros(*map(_dim, e.shape))
            case GenericZeroMatrix() | GenericIdentity():
                raise MbpError(f"{e} has no shape")
            case sp.MatPow() | sp.Pow():
                return self._power(e)
            case HadamardPower():
                return build.power(*map(self.read, e.args))
            case ElementwiseApplyFunction():
                return build.map_scalar(e.function(scalar.X), x=self.read(e.expr))
            case sp.BlockMatrix():
                rows = [[self.read(A) for A in row] for row in e.blocks.tolist()]
                return build.vstack(*(build.hstack(*row) for row in rows))
        operation = self._operation(e)
        return operation(*(self.read(arg) for arg in e.args))

    def _variable(self, name: str, rows: Dim, cols: Dim) -> Expr:
        if name not in self._variables:
            return build.var(name, rows, cols)
        x = self._variables[name]
        if x.shape != (rows, cols):
            raise MbpError(f"{name} is {rows}×{cols} in SymPy but declared {x.rows}×{x.cols}")
        return x

    def _operation(self, e: sp.Basic) -> Callable[..., Expr]:
        match e:
            case sp.MatAdd() | sp.Add():
                return build.add
            case sp.MatMul() | sp.Mul():
                return _product
            case sp.Transpose():
                return build.transpose
            case sp.Inverse():
                return build.inv
            case sp.Trace():
                return build.tr
            case sp.Determinant():
                return build.det
            case HadamardProduct():
                return build.hadamard
            case sp.KroneckerProduct():
                return lambda *factors: reduce(build.kron, factors)
            case DiagMatrix():
                return build.diag_matrix
            case DiagonalOf():
                return build.diag_vector
            case sp.Function():
                return lambda A: build.map_scalar(e.func(scalar.X), x=A)
        raise MbpError(f"{e} is a {type(e).__name__} of SymPy, which has no counterpart here")

    def _power(self, e: sp.Basic) -> Expr:
        A, p = self.read(e.args[0]), e.args[1]
        if A.is_scalar:
            return build.power(A, self.read(p))
        if not (p.is_Integer and A.is_square):
            raise MbpError(f"{e} is no product: write it as a matrix function")
        factor = build.inv(A) if p < 0 else A
        return build.matmul(*[factor] * abs(int(p))) if p != 0 else build.eye(A.rows)


def _dim(n: sp.Basic) -> Dim:
    return sp.expand(sp.sympify(n).xreplace({s: dim(s.name) for s in n.free_symbols}))


def _product(*factors: Expr) -> Expr:
    scalars = [A for A in factors if A.is_scalar]
    matrices = [A for A in factors if not A.is_scalar]
    whole = build.matmul(*matrices) if matrices else build.number(1)
    return reduce(lambda X, c: build.scale(c, X), reversed(scalars), whole)
