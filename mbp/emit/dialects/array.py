"""What NumPy and JAX call by the same name, under `np` and `jnp`."""

from __future__ import annotations

from mbp.emit.scalars import HELPERS

_INVERSE_TRIGONOMETRIC = ("asin", "acos", "atan", "asinh", "acosh", "atanh")

_SAME = (
    "exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "log1p", "expm1", "abs",
    "sign", "floor",
)  # fmt: skip


def functions(np: str) -> dict[str, str]:
    """The elementwise functions under the library's name."""
    return {
        **{name: f"{np}.{name}({{}})" for name in _SAME},
        **{name: f"{np}.arc{name.removeprefix('a')}({{}})" for name in _INVERSE_TRIGONOMETRIC},
        "rsqrt": f"(1 / {np}.sqrt({{}}))",
        "ceiling": f"{np}.ceil({{}})",
        "relu": f"{np}.maximum({{}}, 0)",
        "softplus": f"{np}.logaddexp({{}}, 0)",
        **HELPERS,
    }


def words(np: str) -> dict[str, str]:
    """The operations under the library's name."""
    return {
        "as_array": f"{np}.asarray({{a}}, {{like}})",
        "cholesky": "_cholesky({a})",
        "cholesky_inverse": "_cholesky_inverse({a})",
        "class_sums": "({A}.mT @ {B})",
        "det": f"{np}.linalg.det({{a}})[..., None, None]",
        "diagonal": f"{np}.diagonal({{a}}, axis1=-2, axis2=-1)[..., None]",
        "eigh": f"_each({np}.linalg.eigh, {{a}})",
        "embed": f"({{A}} * {np}.eye({{rows}}, {{like}}))",
        "eye": f"{np}.eye({{rows}}, {{like}})",
        "indices": f"{np}.arange({{rows}}, {{like}})[:, None]",
        "inverse": f"{np}.linalg.inv({{a}})",
        "kron": "_kron({a}, {b})",
        "kron_left": "_kron_left({a}, {b}, {rows}, {cols})",
        "kron_right": "_kron_right({a}, {b}, {rows}, {cols})",
        "largest": "_largest({a})",
        "logdet": f"{np}.linalg.slogdet({{a}})[1][..., None, None]",
        "nonnegative": f"{np}.maximum({{a}}, 0)",
        "nothing": f"{np}.zeros(0, {{x}}.dtype)",
        "ones": f"{np}.ones(({{rows}}, {{cols}}), {{like}})",
        "ones_like": f"{np}.ones_like({{a}})",
        "orthogonal_frame": "_orthogonal_frame({a}, rtol, {power})",
        "part diag": f"{np}.tril({np}.triu({{a}}))",
        "part lower": f"{np}.tril({{a}})",
        "part skew": "_skew({a})",
        "part strictly_lower": f"{np}.tril({{a}}, -1)",
        "part strictly_upper": f"{np}.triu({{a}}, 1)",
        "part sym": "_sym({a})",
        "padded": "_padded({a}, {rows}, {cols})",
        "part upper": f"{np}.triu({{a}})",
        "product_of": "{A}.prod(-2, keepdims=True)",
        "range_frame": "_range_frame({a}, rtol)",
        "reshape": "_reshape({a}, {rows}, {cols})",
        "reshape of column": "_reshape({a}, {rows}, {cols})",
        "reshape to column": "_reshape({a}, {rows}, {cols})",
        "right_frame": "_right_frame({a}, rtol, gram)",
        "row_sum": "{A}.sum(-1, keepdims=True)",
        "solve": f"{np}.linalg.solve({{a}}, {{b}})",
        "spread": "({A} @ {B})",
        "square": f"{np}.square({{a}})",
        "stack": "_joined({args}, axis={axis})",
        "sum": "{A}.sum({axes}, keepdims=True)",
        "sum_to": "_sum_to({a}, {like_array}.shape)",
        "svd_frame": "_svd_frame({a})",
        "zero_as_infinite": f"{np}.where({{a}} <= 0, {np}.inf, {{a}})",
        "zeros": f"{np}.zeros(({{rows}}, {{cols}}), {{like}})",
        "zeros of shape": f"{np}.zeros({{shape}}, {{x}}.dtype)",
        "zeros_like": f"{np}.zeros_like({{like_array}})",
    }


def calls(np: str) -> dict[str, str]:
    """The decompositions that rules name by their torch function."""
    return {
        "torch.linalg.cholesky": "_cholesky({args})",
        "torch.linalg.eigh": "_each(_eigh, {args})",
        "torch.linalg.inv": f"{np}.linalg.inv({{args}})",
        "torch.linalg.pinv": "_each(_pinv, {args})",
        "torch.linalg.pinv hermitian": f"_each({np}.linalg.pinv, {{args}})",
        "torch.linalg.qr": f"_each({np}.linalg.qr, {{args}})",
        "torch.linalg.solve": f"{np}.linalg.solve({{args}})",
        "torch.linalg.svd": "_each(_svd, {args})",
    }
