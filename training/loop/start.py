"""The starting point of a training: model, tokenizer, split and encoded examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tailrace.formats.canonical import sha256_json
from tailrace.formats.data.jsonl import dump_record
from tailrace.formats.data.record import Record
from tailrace.formats.data.split import EmptySplitError, Split, split_records
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.run_spec import BaseDtype, ModelSpec, TrainSpec
from training.checkpoints.certificate import digest_sorted
from training.checkpoints.checkpoint import Arrays, checkpoint_identity
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples
from training.data.fresh_tokenizer import fresh_tokenizer
from training.data.tokenizer import load_tokenizer, require_embedded, template_text
from training.errors import ConfigError, DataError
from training.loop.continued_adapter import continued_settings, continues
from training.loop.teacher import Teacher, open_teacher
from training.models.adapter_folder import read_adapter
from training.models.family import Model, Params
from training.models.folder import open_model
from training.models.origin import Origin
from training.models.registry import PRESET_VOCABULARY, model_from_config, preset_config
from training.models.source import resolve_model
from training.models.stored_weights import HeldWeights, Weights
from training.objectives.objective import Objective
from training.objectives.registry import make_objective

_BOOKKEEPING = {"save_every_steps", "keep_checkpoints", "log_every_steps", "mesh", "save_dtype"}
"""Settings that leave the trained weights unchanged: a resumed training may change them. A mesh
changes the rounding, which a certificate's conditions state."""

_LATER_DEFAULTS = {"allow_special_tokens": False}
"""Keys of a method's block that checkpoints of earlier releases lack, with their defaults."""

_LATER_LORA_DEFAULTS = {"base_dtype": BaseDtype.NONE.value}
"""The same for ``train.adapter.lora``."""

TEACHER = "teacher"
"""Key in the identity for the digest of a distillation's teacher."""

TEMPLATE_DATE = "template_date"
"""Key in the identity for the day that a chat template with a clock reads."""


@dataclass(frozen=True)
class Start:
    """The starting point of a training."""

    objective: Objective
    model: Model
    weights: Weights
    chat: ChatFormat
    origin: Origin
    """Facts that the final model keeps of the folder that it started from."""
    split: Split
    encoded: EncodedExamples
    held_out: EncodedExamples
    """Examples of the held-out part; empty without evaluations."""
    base: str | None
    """Name of the model that an adapter is trained for; None for a preset."""
    identity: dict[str, Any]
    """See :class:`training.checkpoints.checkpoint.Checkpoint`."""
    train: TrainSpec
    """Settings of the training, with those of an adapter that it continues."""
    reference: Arrays | None = None
    """See :func:`training.loop.reference.with_reference`."""
    teacher: Teacher | None = None
    """The teacher of a distillation."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Tokenizer of the chat format."""
        return self.chat.tokenizer


def prepare(
    model: ModelSpec,
    train: TrainSpec,
    records: Sequence[Record],
    folder: Path | None = None,
    clock: date | None = None,
    scratch: Path | None = None,
    teacher: Path | None = None,
) -> Start:
    """Split the records, create or load tokenizer and weights, and encode the examples.

    Args:
        model: The model to start from.
        train: The settings of the training.
        records: The whole dataset.
        folder: Folder of the model, where a worker has fetched it (default: resolve the source).
        clock: Day that the chat template reads (default: today, UTC).
        scratch: Folder for the encoded examples (default: the system's for temporary files).
        teacher: Folder of a distillation's teacher (default: resolve its name).

    Raises:
        OSError: The encoded examples cannot be written.
        TrainingError: The split is empty, the model is unusable, or examples do not fit.
    """
    objective = make_objective(train)
    split = split_of(train, records)
    if folder is None and model.preset is None:
        folder = resolve_model(model.source or "")
    network, weights, tokenizer, origin = open_start(model, train.seed, split, folder)
    base = model.source
    if continues(model) and folder is not None:
        adapter = read_adapter(folder, network)
        train = continued_settings(train, network, adapter, model.source or str(folder))
        base = base if adapter is None else adapter.config.base or base
    if train.max_seq_length > network.context:
        raise ConfigError(
            f"train.max_seq_length {train.max_seq_length} is more than the model's "
            f"context of {network.context} tokens"
        )
    taught_by = None
    if train.distill is not None:
        name = train.distill.teacher
        place = teacher or resolve_model(name)
        taught_by = open_teacher(place, name, tokenizer, train.max_seq_length)
    chat = ChatFormat(tokenizer, clock, model.chat_template_kwargs)
    encoded = objective.encode(split.train, chat, folder=scratch)
    held_out = EncodedExamples.none()
    if train.eval_every_steps:
        held_out = objective.encode(split.held_out, chat, "held-out examples", scratch)
    largest = max(part.examples.largest_token for part in (encoded, held_out))
    require_embedded([[largest]], network.vocabulary)
    if taught_by is not None:
        name = f"train.distill.teacher {name}"
        require_embedded([[largest]], taught_by.model.vocabulary, name)
    identity = {
        "model": to_mapping(model),
        "config": network.family.dump_config(network.config),
        "train": _settings(train),
        "dataset": _dataset_digest(records),
        "examples": encoded.examples.digest,
    }
    if chat.template_date is not None:
        identity[TEMPLATE_DATE] = chat.template_date
    if train.adapter is not None:
        # The frozen weights are not in a checkpoint, so it must name them.
        identity["weights"] = digest_weights(weights)
    if taught_by is not None:
        identity[TEACHER] = taught_by.digest
    return Start(
        objective,
        network,
        weights,
        chat,
        origin,
        split,
        encoded,
        held_out,
        base,
        identity,
        train,
        teacher=taught_by,
    )


def digest_weights(weights: Weights) -> str:
    """Return the digest of all values that a training starts from."""
    digest = digest_sorted(weights.arrays())
    if not weights.adapter:
        return digest
    return sha256_json([digest, digest_sorted(sorted(weights.adapter.items()))])


def _settings(train: TrainSpec) -> dict[str, Any]:
    """Return the settings that decide the trained weights.

    Keys that later releases added are left out at their default, so that checkpoints of earlier
    ones can be continued.
    """
    settings = {k: v for k, v in to_mapping(train).items() if k not in _BOOKKEEPING}
    method = dict(settings[train.method])
    later = {name for name, default in _LATER_DEFAULTS.items() if method.get(name) == default}
    settings[train.method] = {k: v for k, v in method.items() if k not in later}
    if train.adapter is not None and train.adapter.lora is not None:
        lora = settings["adapter"]["lora"]
        plain = {n for n, default in _LATER_LORA_DEFAULTS.items() if lora.get(n) == default}
        settings["adapter"] = {"lora": {k: v for k, v in lora.items() if k not in plain}}
    return settings


def _dataset_digest(records: Iterable[Record]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(dump_record(record).encode())
    return digest.hexdigest()


def checkpoint_template_date(checkpoint: Path) -> date | None:
    """Return the day that the chat template reads in a checkpoint's training.

    None for a template without a clock.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    day = checkpoint_identity(checkpoint).get(TEMPLATE_DATE)
    return date.fromisoformat(day) if isinstance(day, str) else None


def open_start(
    spec: ModelSpec, seed: int, split: Split, folder: Path | None
) -> tuple[Model, Weights, PreTrainedTokenizerBase, Origin]:
    """Return a starting model's network, weights, tokenizer and facts.

    ``split`` trains the tokenizer of a preset; other models do not read it.
    """
    if spec.preset is not None:
        fresh, params, preset_tokenizer, fresh_origin = _fresh_model(spec, seed, split)
        return fresh, HeldWeights(params), preset_tokenizer, fresh_origin
    if folder is None:
        raise ValueError("a model without a preset needs its folder")
    model, weights = open_model(folder, merge=not continues(spec))
    tokenizer = load_tokenizer(folder, template_text(spec.chat_template))
    return model, weights, tokenizer, Origin.read(folder, model)


def fresh_model(
    model: ModelSpec, train: TrainSpec, records: Sequence[Record]
) -> tuple[Model, Params, PreTrainedTokenizerBase]:
    """Return the preset that a training starts from: its random weights and its tokenizer.

    Raises:
        DataError: The split is empty, or a record has no answer to imitate.
    """
    split = split_of(train, records)
    network, params, tokenizer, _ = _fresh_model(model, train.seed, split)
    return network, params, tokenizer


def split_of(train: TrainSpec, records: Sequence[Record]) -> Split:
    """Split a training's records. Raises ``DataError`` for an empty part."""
    try:
        return split_records(records, train.eval_fraction, train.split_seed)
    except EmptySplitError as error:
        raise DataError(f"train.{error}") from error


def _fresh_model(
    spec: ModelSpec, seed: int, split: Split
) -> tuple[Model, Params, PreTrainedTokenizerBase, Origin]:
    preset = spec.preset or ""
    vocabulary = PRESET_VOCABULARY.get(preset, 0)
    context = int(preset_config(preset, vocabulary)["n_positions"])
    # The tokenizer must not see the held-out part either.
    template = template_text(spec.chat_template)
    tokenizer = fresh_tokenizer(split.train, vocabulary, context, template)
    model = model_from_config(preset_config(preset, len(tokenizer)))
    origin = Origin.fresh(model, int(tokenizer.eos_token_id))
    return model, model.init(seed), tokenizer, origin
