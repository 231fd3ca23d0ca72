"""The interface between the training loop and a training method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from tailrace.formats.data.record import Record
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples
from training.data.packing import Groups
from training.models.attention import AttentionMask
from training.models.experts.balance import RouterLog, RouterSums
from training.models.family import Decoder
from training.models.unpacked import (
    ExampleMask,
    Slots,
    answers_mask,
    example_mask,
    to_slots,
)
from training.objectives.losses import TokenScores

Metrics = dict[str, jax.Array]
"""Scalars of a method by name, divided by the same normalizer as its loss."""

ACCURACY = "preference_accuracy"
"""Metric: share of pairs whose chosen answer has the higher reward; an evaluation adds its
interval."""

FEEDBACK_ACCURACY = "feedback_accuracy"
"""Metric: share of answers whose reward agrees with their label; the same holds for it."""

SHARES = {
    f"{figure}_{side}": f"{side}_share"
    for figure in ("rewards", "log_ratio")
    for side in ("desirable", "undesirable")
}
"""Metrics of one part of a batch's examples, with the metric that has the share of this part."""


@dataclass(frozen=True)
class DecoderInputs:
    """Rows as a decoder reads them."""

    tokens: jax.Array
    """[B, T]."""
    positions: jax.Array
    """[B or 1, T]."""
    mask: AttentionMask
    shape: tuple[int, ...]
    """Shape of the tokens of the batch, [B, T] or [B, S, T]."""
    answers: ExampleMask | None = None
    """The mask, if rows hold the distinct tokens of groups: its slots are their answers."""

    def restore(self, hidden: jax.Array) -> jax.Array:
        """Return hidden states [B, T, C] in the shape of the batch."""
        if self.answers is None:
            return hidden.reshape(*self.shape, -1)
        groups = len(hidden)
        states = to_slots(hidden, self.answers)
        if len(self.shape) == 2:
            states = states.reshape(groups, -1, *states.shape[1:]).swapaxes(0, 1)
        return states.reshape(*self.shape, -1)


@dataclass(frozen=True)
class BoundModel:
    """A decoder with its weights and settings, inside a compiled step."""

    decoder: Decoder
    dropout_key: jax.Array | None
    """Key of the dropout; None turns it off."""
    remat: bool
    """True if the backward pass computes the activations again."""
    by_block: bool
    """True if logits are computed a block at a time, which needs a frozen output layer."""
    slots: Slots | None = None
    """Sizes for attention by example; None for attention over whole rows."""
    share: bool = False
    """True to compute the first tokens that the answers of a group have in common once."""
    routers: list[RouterSums] | None = None
    """Receiver of the decisions of a mixture's routers; None for none."""
    teacher: Decoder | None = None
    """Decoder of a distillation's teacher; None for other methods."""

    def hidden(self, rows: Batch) -> jax.Array:
        """Return the last hidden states of rows: [B, T, C], or [B, S, T, C] of groups [B, S, T]."""
        inputs = self._inputs(rows)
        if self.routers is not None:
            mixture: Any = self.decoder
            real = real_tokens(rows).reshape(inputs.tokens.shape)
            mixture.router_log = RouterLog(real, self.routers)
        hidden, _ = self.decoder.hidden(
            inputs.tokens,
            inputs.positions,
            inputs.mask,
            dropout_key=self.dropout_key,
            remat=self.remat,
        )
        return inputs.restore(hidden)

    def teacher_hidden(self, rows: Batch) -> jax.Array:
        """Return the teacher's last hidden states of rows, as :meth:`hidden`, no derivative."""
        if self.teacher is None:
            raise ValueError("the model has no teacher")
        inputs = self._inputs(rows)
        hidden, _ = self.teacher.hidden(
            inputs.tokens, inputs.positions, inputs.mask, dropout_key=None
        )
        return jax.lax.stop_gradient(inputs.restore(hidden))

    def _inputs(self, rows: Batch) -> DecoderInputs:
        # Routers must see each token as often as it is learnt from.
        if rows.groups is not None and self.share and self.routers is None:
            return group_inputs(rows, rows.groups)
        *_, length = shape = rows.tokens.shape
        flat = rows._replace(tokens=rows.tokens.reshape(-1, length))
        mask, positions = attention_inputs(flat, self.slots)
        return DecoderInputs(jnp.asarray(flat.tokens), positions, mask, shape)


class Objective(Protocol):
    """A training method: its examples, their layout in batches, and its loss."""

    def encode(
        self,
        records: Sequence[Record],
        chat: ChatFormat,
        what: str = "examples",
        folder: Path | None = None,
    ) -> EncodedExamples:
        """Encode records as examples.

        Args:
            records: Records of the train or the held-out part.
            chat: Format of the model.
            what: Noun for the records in messages.
            folder: Folder for the file of tokens (default: the system's for temporary files).

        Raises:
            OverlongError: The method refuses examples that are too long.
            DataError: A record cannot be encoded, or no example is left.
        """
        ...

    def collator(self, batch_size: int) -> Collator:
        """Return the layout of batches with ``batch_size`` examples."""
        ...

    def weight(self, rows: Batch) -> Any:
        """Return the number that the loss of a batch is divided by: it counts tokens or examples.

        ``rows`` holds arrays of NumPy, or of JAX inside a compiled step.
        """
        ...

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the loss of rows [B, T] over ``normalizer``, as float32, and the method's metrics.

        The rows may be a part of a batch whose whole weight is ``normalizer``: the losses and
        metrics of all parts add up to those of the batch.
        """
        ...


@runtime_checkable
class ReferencedObjective(Objective, Protocol):
    """A training method on pairs that may compare with the model that a training starts from."""

    has_reference: bool
    """True if the loss reads :attr:`training.data.batches.Batch.reference`."""

    def answer_log_probs(self, model: BoundModel, rows: Batch) -> jax.Array:
        """Return the log-probabilities of both answers of each pair, [B, 2], without dropout."""
        ...


@runtime_checkable
class BaselineObjective(Objective, Protocol):
    """A training method whose loss reads a figure of the whole batch, without a derivative.

    It is in :attr:`training.data.batches.Batch.baseline` however the batch is divided.
    """

    def baseline_share(self, model: BoundModel, rows: Batch, normalizer: jax.Array) -> jax.Array:
        """Return the rows' share of the figure's mean over a batch of weight ``normalizer``."""
        ...

    def baseline(self, mean: jax.Array) -> jax.Array:
        """Return the figure for the mean over the whole batch."""
        ...


@runtime_checkable
class SampledObjective(Objective, Protocol):
    """A training method on answers that the model samples in the course of the training."""

    def token_scores(self, model: BoundModel, rows: Batch) -> TokenScores:
        """Return the scores of tokens [B, T] at the temperature of sampling, without dropout."""
        ...


def means_of_parts(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return means over a batch, with those of a part of the examples over this part.

    A part without examples has no mean.
    """
    means = {}
    for name, value in metrics.items():
        share = metrics[SHARES[name]] if name in SHARES else 1.0
        if share > 0:
            means[name] = value / share
    return means


def attention_inputs(rows: Batch, slots: Slots | None = None) -> tuple[AttentionMask, jax.Array]:
    """Return the attention mask and the positions [B or 1, T] of rows.

    A token attends to itself and to earlier tokens of the same example. The mask is [B or 1, T, T],
    or by example for packed rows where ``slots`` are given and pay.
    """
    count, length = rows.tokens.shape
    # Padding is on the right, where the causal mask hides it from all other tokens.
    causal = jnp.tril(jnp.ones((length, length), bool))[None]
    if rows.segments is None or rows.positions is None:
        return causal, jnp.arange(length)[None]
    segments, positions = jnp.asarray(rows.segments), jnp.asarray(rows.positions)
    if slots is not None and slots.pay(count, length):
        return example_mask(segments, positions, slots), positions
    same = segments[:, :, None] == segments[:, None, :]
    return causal & same, positions


def group_inputs(rows: Batch, groups: Groups) -> DecoderInputs:
    """Return the inputs of answers in groups, a row for each group with its distinct tokens."""
    distinct, shared = (jnp.asarray(values) for values in groups)
    count, length, tokens = len(distinct), rows.tokens.shape[-1], jnp.asarray(rows.tokens)
    if tokens.ndim == 2:
        tokens = tokens.reshape(-1, count, length).swapaxes(0, 1)
    answers = answers_mask(distinct, shared, tokens.shape[1], length)
    places = tokens.reshape(count, -1)
    read = jnp.take_along_axis(places, distinct, axis=1, mode="fill", fill_value=0)
    return DecoderInputs(read, distinct % length, answers, rows.tokens.shape, answers)


def real_tokens(rows: Batch) -> jax.Array:
    """Return 1 for the tokens of examples and 0 for padding, in the shape of ``rows.tokens``."""
    if rows.segments is not None:
        return (jnp.asarray(rows.segments) > 0).astype(jnp.float32)
    if rows.lengths is None:
        raise ValueError("rows of one example need their lengths")
    columns = jnp.arange(rows.tokens.shape[-1])
    return (columns < jnp.asarray(rows.lengths)[..., None]).astype(jnp.float32)
