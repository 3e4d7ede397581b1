"""PyTorch's vocabulary."""

from __future__ import annotations

from mbp.emit.dialect import Dialect
from mbp.emit.scalars import HELPERS

_FUNCTIONS = {
    name: f"torch.{name}({{}})"
    for name in (
        "exp", "log", "sqrt", "rsqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin",
        "acos", "atan", "asinh", "acosh", "atanh", "log1p", "expm1", "sigmoid", "relu", "abs",
        "sign", "erf", "erfc", "digamma", "floor",
    )
}  # fmt: skip

TORCH = Dialect(
    name="torch",
    module="torch",
    templates=("torch",),
    array="Tensor",
    dtype="torch.dtype",
    like="dtype={x}.dtype, device={x}.device",
    functions={
        **_FUNCTIONS,
        "ceiling": "torch.ceil({})",
        "softplus": "_softplus({})",
        "gamma": "_gamma({})",
        "loggamma": "torch.lgamma({})",
        "trigamma": "torch.polygamma(1, {})",
        **HELPERS,
    },
    words={
        "as_array": "torch.as_tensor({a}, {like})",
        "cholesky": "_cholesky({a})",
        "class_sums": "_class_sums({a}, {b})",
        "cholesky_solve": "torch.cholesky_solve({b}, {a})",
        "copy": "{a}.clone()",
        "det": "torch.linalg.det({a})[..., None, None]",
        "diagonal": "torch.diagonal({a}, dim1=-2, dim2=-1)[..., None]",
        "eigh": "_each(torch.linalg.eigh, {a})",
        "embed": "torch.diag_embed({A}[..., 0])",
        "eye": "torch.eye({rows}, {like})",
        "indices": "torch.arange({rows}, {like})[:, None]",
        "inverse": "torch.linalg.inv({a})",
        "kron": "_kron({a}, {b})",
        "kron_left": "_kron_left({a}, {b})",
        "kron_right": "_kron_right({a}, {b})",
        "largest": "_largest({A})",
        "logdet": "torch.linalg.slogdet({a})[1][..., None, None]",
        "lu_factor": "torch.linalg.lu_factor_ex({a})",
        "lu_solve": "torch.linalg.lu_solve({a}, {b}, {c})",
        "lu_solve adjoint": "torch.linalg.lu_solve({a}, {b}, {c}, adjoint=True)",
        "nonnegative": "{A}.clamp_min(0)",
        "ones": "{x}.new_ones({rows}, {cols})",
        "ones_like": "torch.ones_like({a})",
        "orthogonal_frame": "_orthogonal_frame({a}, rtol, {power})",
        "over_gaps": "_over_gaps({args}, on_tie)",
        "part diag": "torch.tril(torch.triu({a}))",
        "part lower": "torch.tril({a})",
        "part skew": "_skew({a})",
        "part strictly_lower": "torch.tril({a}, -1)",
        "part strictly_upper": "torch.triu({a}, 1)",
        "part sym": "_sym({a})",
        "part upper": "torch.triu({a})",
        "product_of": "{A}.prod(-2, keepdim=True)",
        "range_frame": "_range_frame({a}, rtol)",
        "row_sum": "{A}.sum(-1, keepdim=True)",
        "spread": "_spread({a}, {b})",
        "square": "{A}.square()",
        "stack": "_joined({args}, dim={axis})",
        "sum": "{A}.sum({axes}, keepdim=True)",
        "sum_to": "{a}.sum_to_size({like_array}.shape)",
        "svd_frame": "_svd_frame({a})",
        "triangular_solve": "torch.linalg.solve_triangular({a}, {b}, upper={upper})",
        "unvec": "{A}[..., 0].unflatten(-1, ({cols}, {rows})).mT",
        "vec": "{A}.mT.flatten(-2, -1)[..., None]",
        "with_diagonal": "_with_diagonal({a}, {b}, on_tie)",
        "zeros": "{x}.new_zeros({rows}, {cols})",
        "zeros of shape": "{x}.new_zeros({shape})",
        "zeros_like": "torch.zeros_like({like_array})",
    },
    calls={
        "torch.linalg.cholesky": "_cholesky({args})",
        "torch.linalg.pinv": "_each(_pinv, {args})",
        "torch.linalg.pinv hermitian": "_each(torch.linalg.pinv, {args})",
        "torch.linalg.eigh": "_each(_eigh, {args})",
        "torch.linalg.qr": "_each({function}, {args})",
        "torch.linalg.svd": "_each(_svd, {args})",
        "": "{function}({args})",
    },
    options=("rtol", "on_tie", "compute_dtype"),
    has_lu=True,
)
