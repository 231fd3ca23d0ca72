"""Which values a training changes: all weights, or an adapter beside them."""

from __future__ import annotations

from typing import Protocol

import jax
from jax.typing import DTypeLike

from tailrace.formats.spec.run_spec import TrainSpec
from training.loop.lora import LoraTuning
from training.loop.precision import cast, compute_type
from training.models.family import Decoder, Model, Params


class Tuning(Protocol):
    """What is trained of a model, and the decoder that it makes with the frozen rest."""

    dtype: DTypeLike
    """What the decoder computes in."""
    frozen_head: bool
    """Whether nothing of the output layer is trained."""

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        ...

    def start(self, params: Params) -> tuple[Params, Params]:
        """Trained values, float32, and frozen ones in the type that is computed in."""
        ...

    def decoder(self, trained: Params, frozen: Params, key: jax.Array | None = None) -> Decoder:
        """The decoder in the type that is computed in; made for use inside ``jax.jit``.

        ``key`` turns on the dropout of the adapter; that of the model is the decoder's own.
        """
        ...

    def merged(self, trained: Params, params: Params) -> Params:
        """The whole model's weights, float32; ``params`` are those that it started from."""
        ...


class FullTuning:
    """Trains all weights."""

    def __init__(self, model: Model, dtype: DTypeLike) -> None:
        self._model = model
        self.dtype = dtype
        self.frozen_head = False

    @property
    def parameters(self) -> int:
        """All of the model's."""
        return self._model.parameters

    def start(self, params: Params) -> tuple[Params, Params]:
        """Everything is trained."""
        return params, {}

    def decoder(self, trained: Params, frozen: Params, key: jax.Array | None = None) -> Decoder:
        """See :meth:`Tuning.decoder`."""
        return self._model.bind(cast(trained, self.dtype))

    def merged(self, trained: Params, params: Params) -> Params:
        """The trained weights are the model's."""
        return trained


def choose_tuning(model: Model, spec: TrainSpec) -> Tuning:
    """What a spec asks for.

    Raises :class:`training.errors.ConfigError` for an adapter that does not fit the model.
    """
    dtype = compute_type(spec.dtype)
    if spec.adapter is not None and spec.adapter.lora is not None:
        return LoraTuning(model, spec.adapter.lora, dtype, spec.seed)
    return FullTuning(model, dtype)
