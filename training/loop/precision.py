"""What a model computes in; see Micikevicius et al., arXiv:1710.03740, on mixed precision."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from tailrace.formats.spec.run_spec import Dtype
from training.models.family import Params


def compute_type(dtype: Dtype) -> DTypeLike:
    """The type that ``dtype`` means on this process's device."""
    if dtype is Dtype.AUTO:
        dtype = Dtype.FLOAT32 if jax.default_backend() == "cpu" else Dtype.BFLOAT16
    return jnp.dtype(dtype.value)


def cast(params: Params, dtype: DTypeLike) -> Params:
    """The same values in another type; gradients come back in the type of ``params``."""
    return {name: value.astype(dtype) for name, value in params.items()}


def full_precision(dtype: DTypeLike) -> contextlib.AbstractContextManager[Any]:
    """Keeps accelerators from rounding the factors of float32 products, as they do by default."""
    precision: Any = jax.default_matmul_precision
    if dtype == jnp.float32 and jax.default_backend() != "cpu":
        found: contextlib.AbstractContextManager[Any] = precision("highest")
        return found
    return contextlib.nullcontext()
