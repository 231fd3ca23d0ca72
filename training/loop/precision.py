"""Mixed precision (Micikevicius et al., arXiv:1710.03740): the type that a model computes in."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from tailrace.formats.spec.run_spec import Dtype
from training.models.family import Params


def compute_type(dtype: Dtype) -> DTypeLike:
    """Return the type that ``dtype`` stands for on this process's device."""
    if dtype is Dtype.AUTO:
        dtype = Dtype.FLOAT32 if jax.default_backend() == "cpu" else Dtype.BFLOAT16
    return jnp.dtype(dtype.value)


def cast(params: Params, dtype: DTypeLike) -> Params:
    """Return the values in another type; their gradients have the type of ``params``."""
    return {name: value.astype(dtype) for name, value in params.items()}


def full_precision(dtype: DTypeLike) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which float32 products are exact.

    By default accelerators round their factors.
    """
    precision: Any = jax.default_matmul_precision
    if dtype == jnp.float32 and jax.default_backend() != "cpu":
        context: contextlib.AbstractContextManager[Any] = precision("highest")
        return context
    return contextlib.nullcontext()
