"""The model of a checkpoint, as the model folder that its training would have ended with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tailrace.formats.data.record import Record
from tailrace.formats.data.split import Split
from tailrace.formats.schema import from_mapping
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from training.checkpoints.checkpoint import Checkpoint, read_checkpoint, restore
from training.data.chat_format import ChatFormat
from training.errors import CheckpointError
from training.loop.final_model import save_trained
from training.loop.start import open_start, split_of
from training.loop.trainable import choose_trainable
from training.models.family import Model
from training.models.origin import Origin
from training.models.source import resolve_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Beginning:
    model: Model
    chat: ChatFormat
    origin: Origin


def save_checkpoint_model(
    path: Path, target: Path, folder: Path | None, records: Sequence[Record]
) -> None:
    """Write the model folder of a checkpoint's step.

    Args:
        path: The checkpoint.
        target: Folder to write.
        folder: The model that the checkpoint's training started from (default: resolve the source
            that the checkpoint names).
        records: Dataset of that training, from which a preset's tokenizer is made; else empty.

    Raises:
        CheckpointError: The checkpoint is damaged, or its values do not fit the model.
        TrainingError: The starting model is unusable.
        OSError: The folder cannot be written.
    """
    checkpoint = read_checkpoint(path)
    spec, train = _specs(checkpoint, path)
    is_preset = spec.preset is not None
    split = split_of(train, records) if is_preset else Split([], [], 0.0, train.split_seed)
    if folder is None and not is_preset:
        folder = resolve_model(spec.source or "")
    model, weights, tokenizer, origin = open_start(spec, train.seed, split, folder)
    trainable = choose_trainable(model, train)
    trained, _ = trainable.start(weights)
    (values,) = restore(_trained_only(checkpoint), (trained,), path)
    # An adapter is added to the weights that it was trained on.
    params = trainable.merge(values, weights.load() if train.adapter is not None else {})
    chat = ChatFormat(tokenizer, None, spec.chat_template_kwargs)
    save_trained(target, _Beginning(model, chat, origin), params, train.save_dtype)
    _log.info("made the model of step %d from its checkpoint", checkpoint.step)


def _specs(checkpoint: Checkpoint, path: Path) -> tuple[ModelSpec, TrainSpec]:
    """Return the blocks that the training had, as the checkpoint's identity records them."""
    identity = checkpoint.identity
    try:
        model = from_mapping(ModelSpec, identity["model"])
        train = from_mapping(TrainSpec, identity["train"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not name its model and training: {error}") from error
    return model, train


def _trained_only(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint without the optimizer's state and the copy of the best step."""
    arrays = {name: value for name, value in checkpoint.arrays.items() if name.startswith("[0]")}
    return replace(checkpoint, arrays=arrays)
