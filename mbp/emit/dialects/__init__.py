"""The targets that modules can be emitted for, by name."""

from __future__ import annotations

from collections.abc import Mapping

from mbp.emit.dialect import Dialect
from mbp.emit.dialects.jax import JAX
from mbp.emit.dialects.numpy import NUMPY
from mbp.emit.dialects.torch import TORCH

DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (TORCH, NUMPY, JAX)}
