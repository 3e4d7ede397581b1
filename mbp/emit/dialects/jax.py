"""JAX's vocabulary."""

from __future__ import annotations

from mbp.emit.dialect import Dialect
from mbp.emit.dialects import array

JAX = Dialect(
    name="jax",
    module="jnp",
    templates=("array", "jax"),
    array="Array",
    dtype="DTypeLike",
    like="dtype={x}.dtype",
    functions={
        **array.functions("jnp"),
        "sigmoid": "jax.nn.sigmoid({})",
        "erf": "jax.scipy.special.erf({})",
        "erfc": "jax.scipy.special.erfc({})",
        "gamma": "jax.scipy.special.gamma({})",
        "loggamma": "jax.scipy.special.gammaln({})",
        "digamma": "jax.scipy.special.digamma({})",
        "trigamma": "jax.scipy.special.polygamma(1, {})",
    },
    words={
        **array.words("jnp"),
        "cholesky_solve": "_triangular({A}.mT, _triangular({a}, {b}, lower=True), lower=False)",
        "copy": "{a}",
        "over_gaps": "_over_gaps({args})",
        "triangular_solve": "_triangular({a}, {b}, lower={lower})",
        "with_diagonal": "_with_diagonal({a}, {b})",
    },
    calls=array.calls("jnp"),
    options=("rtol", "gram", "compute_dtype"),
)
