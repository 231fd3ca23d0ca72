"""The memory of a training as a function of sizes.

The formula was fitted to what XLA's buffer assignment reports (``memory_analysis``) for shapes of
every family with up to 82 million parameters; it is within :data:`TOLERANCE` of it on processors.
Devices that fuse more need less.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tailrace.formats.model.families.family import Dimensions
from training.data.batches import AnswerSizes
from training.models.unpacked import Slots
from training.objectives.losses import BLOCK

TOLERANCE = 0.15
"""Largest error of the formula, as a share."""

FLOAT32 = 4
"""Bytes of a value of weights, gradients, moments and logits."""

_DROPOUT_SCORES = 3
"""Further values stored for each score with dropout: its random number, factor and product."""

_DROPOUT_WORDS = 3
"""Words of 4 bytes in use for each random number during generation (threefry)."""

_SLOTS = 1.5
"""Slots for each expert of a token: blocks are not full (training.models.experts.grouped)."""


@dataclass(frozen=True)
class Quantized:
    """Quantized weights on the fullest device."""

    weights: int = 0
    """Number of weights."""
    stored: int = 0
    """Their bytes, with scales."""
    largest: int = 0
    """Number of weights of the largest layer, which is dequantized for its product."""


@dataclass(frozen=True)
class Taught:
    """Sizes of a teacher on the fullest device."""

    weights: int
    """Bytes of its weights."""
    sizes: Dimensions


@dataclass(frozen=True)
class Plan:
    """Sizes that the memory of a training depends on."""

    sizes: Dimensions
    weights: int
    """Number of weights on the fullest device."""
    trained: int
    """Number of trained values on the fullest device: all weights, or those of an adapter."""
    gathered: int
    """Number of trained values on all devices, which a checkpoint gathers on the host."""
    rows: int
    """Rows of a step on each device."""
    passes: int
    """Forward and backward passes of a step, each over a part of the rows."""
    length: int
    """Tokens of a row."""
    slots: Slots | None
    """Sizes for the attention of packed rows by example; None for whole rows."""
    width: int
    """Bytes of one activation."""
    remat: bool
    """True if the backward pass starts from the inputs of layers alone."""
    can_remat: bool
    """True if rematerialization saves memory with this compiler."""
    adapter: bool
    """True if the weights are frozen."""
    by_block: bool
    """True if logits are computed a block at a time."""
    best: bool
    """True if the host keeps a copy of the best weights."""
    quantized: Quantized = Quantized()
    """Frozen weights that are stored quantized."""
    taught: Taught | None = None
    """The teacher of a distillation."""
    answers: AnswerSizes | None = None
    """Sizes of the answers that the model samples between the steps."""
    starting: bool = False
    """True if a second copy of the trained values is in memory: those of the starting model."""

    @property
    def pass_rows(self) -> int:
        """Rows of a pass on each device."""
        return -(-self.rows // self.passes)

    @property
    def places(self) -> float:
        """Tokens that attention computes with for each token of a row."""
        if self.slots is None or not self.slots.pay(self.pass_rows, self.length):
            return 1.0
        return self.slots.count * self.slots.length / (self.pass_rows * self.length)

    @property
    def scores(self) -> int:
        """Scores of attention for each token of a row."""
        if self.slots is None or not self.slots.pay(self.pass_rows, self.length):
            return self.sizes.heads * self.length
        return round(self.sizes.heads * self.slots.length * self.places)


@dataclass(frozen=True)
class Memory:
    """Bytes of memory by purpose."""

    weights: int
    """Weights, with their copy in the type of the computation."""
    gradients: int
    """Gradients at the peak."""
    moments: int
    """The optimizer's two moments."""
    activations: int
    """Activations for the backward pass, and logits."""
    host: int
    """Copies on the host: the checkpoint in flight, and the best weights."""
    sampling: int = 0
    """Keys, values and logits of sampled answers, between the steps; 0 for no answers."""

    @property
    def device(self) -> int:
        """Bytes on each device: in a step, or while answers are sampled."""
        return self.weights + self.moments + max(self.gradients + self.activations, self.sampling)


def required_memory(plan: Plan) -> Memory:
    """Return the memory of a plan, in addition to the weights that it starts from."""
    tokens = plan.pass_rows * plan.length
    layer, working = _layer_bytes(plan), _working_bytes(plan)
    layers, sizes = plan.sizes.layers, plan.sizes
    stored = (sizes.width * plan.width if plan.remat else layer) * layers
    scored = min(BLOCK, tokens) if plan.by_block else tokens
    lowest = tokens * (layer + working)
    logits = scored * 2 * sizes.vocabulary * FLOAT32
    transient = lowest if plan.remat else tokens * working
    if plan.taught is not None:
        # The teacher keeps nothing for a backward pass; its states and logits are those of the
        # same tokens.
        teacher = dataclasses.replace(plan, sizes=plan.taught.sizes)
        transient = max(transient, tokens * _working_bytes(teacher))
        logits += scored * 2 * plan.taught.sizes.vocabulary * FLOAT32
        logits += 3 * tokens * plan.taught.sizes.width * plan.width
    forward = tokens * stored + logits + transient
    gradients = plan.trained * FLOAT32
    # The output layer's gradient comes first, with all activations in memory; at the end there are
    # all gradients, and the activations of the lowest layer.
    first = 0 if plan.adapter else sizes.vocabulary * sizes.width * FLOAT32
    first = min(first, gradients)
    early, late = forward + first, gradients + lowest
    sums = gradients if plan.passes > 1 else 0
    cast = plan.weights * plan.width if plan.width < FLOAT32 else 0
    own = plan.trained * FLOAT32
    codes = plan.quantized
    # The codes are widened, looked up and scaled: three copies of a layer.
    widened = codes.stored + codes.largest * 3 * FLOAT32
    frozen = (plan.weights - codes.weights) * plan.width + widened if plan.adapter else 0
    taught = 0 if plan.taught is None else plan.taught.weights
    return Memory(
        weights=own * (1 + plan.starting) + frozen + taught + (0 if plan.adapter else cast),
        gradients=sums + (first if early >= late else gradients),
        moments=2 * own,
        activations=forward if early >= late else lowest,
        host=plan.gathered * FLOAT32 * (4 if plan.best else 3),
        sampling=_sampling_bytes(plan),
    )


def _sampling_bytes(plan: Plan) -> int:
    """Return the bytes of answers in progress."""
    if plan.answers is None:
        return 0
    answers, sizes = plan.answers, plan.sizes
    token = 2 * sizes.layers * sizes.key_heads * sizes.head_width * plan.width
    # A step of the decoder, and the growth of the cache, hold the old one and the new one.
    cache = 2 * answers.rows * answers.columns * token
    logits = 2 * answers.rows * sizes.vocabulary * FLOAT32
    reading = dataclasses.replace(plan, length=answers.prompt, slots=None)
    read = answers.prompts * answers.prompt * (_working_bytes(reading) + token)
    return cache + max(logits, read)


def _layer_bytes(plan: Plan) -> int:
    """Return the bytes that the mean layer stores for one token until the backward pass."""
    sizes = plan.sizes
    inner = (5 if sizes.gated else 4) * sizes.inner
    if sizes.sparse_layers:
        experts = sizes.active_experts * _SLOTS * (6 * sizes.expert_inner + 2 * sizes.width)
        inner += round((experts - inner) * sizes.sparse_layers / sizes.layers)
    # Gated families rotate queries and keys, which are stored before and after that.
    outer = 8 * sizes.width + 4 * sizes.attention
    if not sizes.gated:
        outer = 9 * sizes.width + 2 * sizes.attention
    channels = inner + outer + 3 * sizes.normalized
    if sizes.dropout:
        channels += 4 * sizes.width
    # Keys and values are stored as attention reads them.
    channels += round(2 * sizes.attention * (plan.places - 1))
    # Scores are float32 before the softmax, whatever the type of the computation.
    score = FLOAT32 * (1 + sizes.capped + _DROPOUT_SCORES * sizes.dropout)
    if plan.width < FLOAT32:
        score += plan.width
    return channels * plan.width + plan.scores * score


def _working_bytes(plan: Plan) -> int:
    """Return the bytes for one token that are in use while one layer is computed."""
    sizes = plan.sizes
    score = FLOAT32 * (1 + sizes.capped + _DROPOUT_WORDS * sizes.dropout)
    return 6 * sizes.width * plan.width + plan.scores * score


def alternatives(plan: Plan, micro_rows: list[int]) -> list[tuple[str, Plan]]:
    """Return settings that need less memory with their plans, the least costly first.

    ``micro_rows`` has the possible values of micro_batch_size, largest first; the rows of a device
    shrink in proportion.
    """
    settings: list[tuple[str, Plan]] = []
    largest = max(micro_rows, default=1)
    for remat in sorted({plan.remat, plan.remat or plan.can_remat}):
        prefix = "train.remat: true" if remat and not plan.remat else ""
        for micro in micro_rows:
            passes = max(plan.passes, largest // micro)
            text = f"train.micro_batch_size: {micro}" if passes > plan.passes else ""
            named = " and ".join(filter(None, (text, prefix)))
            if named:
                settings.append((named, dataclasses.replace(plan, passes=passes, remat=remat)))
    return settings
