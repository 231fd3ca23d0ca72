from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from tailrace.formats.spec.run_spec import Dtype
from training.loop.precision import cast, compute_type, full_precision


@pytest.mark.parametrize(
    ("backend", "dtype", "expected"),
    [
        ("cpu", Dtype.AUTO, "float32"),
        ("gpu", Dtype.AUTO, "bfloat16"),
        ("tpu", Dtype.AUTO, "bfloat16"),
        ("cpu", Dtype.BFLOAT16, "bfloat16"),
        ("gpu", Dtype.FLOAT32, "float32"),
    ],
)
def test_compute_types(
    monkeypatch: pytest.MonkeyPatch, backend: str, dtype: Dtype, expected: str
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert str(compute_type(dtype)) == expected


@pytest.mark.parametrize(
    ("backend", "dtype", "expected"),
    [("gpu", "float32", "HIGHEST"), ("gpu", "bfloat16", "DEFAULT"), ("cpu", "float32", "DEFAULT")],
)
def test_float32_products_keep_their_digits_on_accelerators(
    monkeypatch: pytest.MonkeyPatch, backend: str, dtype: str, expected: str
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def product(x: jax.Array) -> jax.Array:
        with full_precision(jnp.dtype(dtype)):
            return x @ x

    (equation,) = jax.make_jaxpr(product)(jnp.ones((2, 2))).eqns
    actual = equation.params["precision"]
    assert (actual or ["DEFAULT"])[0] == getattr(jax.lax.Precision, expected) or (
        actual is None and expected == "DEFAULT"
    )


def test_gradients_come_back_in_the_type_of_the_weights() -> None:
    def loss_of(params: dict[str, jax.Array]) -> jax.Array:
        low = cast(params, jnp.bfloat16)
        assert low["w"].dtype == jnp.bfloat16
        return jnp.sum(low["w"] ** 2).astype(jnp.float32)

    gradient = jax.grad(loss_of)({"w": jnp.ones(3)})
    assert gradient["w"].dtype == jnp.float32
