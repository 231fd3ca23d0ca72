"""Division of a model's weights into trained and frozen values."""

from __future__ import annotations

from typing import Protocol

import jax
from jax.typing import DTypeLike

from tailrace.formats.spec.run_spec import TrainSpec
from training.loop.lora import LoraAdapter
from training.loop.precision import cast, compute_type
from training.machine.sharding import Layout
from training.models.family import Decoder, Model, Params, ParamsMapping
from training.models.stored_weights import Weights


class TrainableSplit(Protocol):
    """Trained and frozen values of a model, and the decoder that both make up."""

    dtype: DTypeLike
    """Type that the decoder computes in."""
    frozen_head: bool
    """True if the whole output layer is frozen."""
    is_exact: bool
    """True if the frozen values are the model's own, in float32."""

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        ...

    def start(self, weights: Weights, layout: Layout | None = None) -> tuple[Params, Params]:
        """Return the trained values in float32, and the frozen ones in ``dtype``.

        Both are laid out over the devices (default: on one device), in arrays of their own.
        """
        ...

    def decoder(self, trained: Params, frozen: Params, key: jax.Array | None = None) -> Decoder:
        """Return the decoder in ``dtype``, for use inside ``jax.jit``.

        ``key`` turns on the dropout of an adapter; the decoder takes its own dropout key.
        """
        ...

    def merge(self, trained: Params, params: ParamsMapping) -> ParamsMapping:
        """Return all weights of the trained model in float32; it started from ``params``.

        Each is computed when it is read.
        """
        ...


class AllWeights:
    """A training of all weights."""

    def __init__(self, model: Model, dtype: DTypeLike) -> None:
        self._model = model
        self.dtype = dtype
        self.frozen_head = False
        self.is_exact = True

    @property
    def parameters(self) -> int:
        """Number of the model's values."""
        return self._model.parameters

    def start(self, weights: Weights, layout: Layout | None = None) -> tuple[Params, Params]:
        """Return all weights as trained values."""
        return weights.load(layout), {}

    def decoder(self, trained: Params, frozen: Params, key: jax.Array | None = None) -> Decoder:
        """Return the model with the trained values; see :meth:`TrainableSplit.decoder`."""
        return self._model.bind(cast(trained, self.dtype))

    def merge(self, trained: Params, params: ParamsMapping) -> ParamsMapping:
        """Return the trained values, which are all of the model's."""
        return trained


def choose_trainable(model: Model, spec: TrainSpec) -> TrainableSplit:
    """Return the division that a spec chooses: an adapter, or all weights.

    Raises:
        ConfigError: The adapter does not fit the model.
    """
    dtype = compute_type(spec.dtype)
    if spec.adapter is not None and spec.adapter.lora is not None:
        return LoraAdapter(model, spec.adapter.lora, dtype, spec.seed)
    return AllWeights(model, dtype)
