"""Supervised fine-tuning from traces to a model folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from tailrace.formats.canonical import sha256_json
from tailrace.formats.data.jsonl import dump_record
from tailrace.formats.data.split import EmptySplitError, Split, split_traces
from tailrace.formats.data.trace import Trace
from tailrace.formats.results import TrainResult
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.run_spec import ModelSpec, SaveDtype, SftSpec, TrainSpec
from training.budget.estimate import estimate, free_memory, require_fit
from training.checkpoints.certificate import digest_arrays
from training.checkpoints.checkpoint import checkpoint_identity, checkpoint_step
from training.data.batches import BatchStream, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import Encoded, encode_traces
from training.data.rendering import render_prompt, render_response
from training.data.tokenizer import load_tokenizer, require_embedded, train_tokenizer
from training.errors import ConfigError, DataError
from training.loop.lora import LoraTuning
from training.loop.progress import Progress
from training.loop.trainer import Trained, Trainer
from training.machine.file_errors import as_os_errors
from training.models.adapter_folder import FOLDER as ADAPTER
from training.models.adapter_folder import save_adapter
from training.models.family import Model, Params
from training.models.folder import GENERATION_CONFIG, load_model, save_model, weights_digest
from training.models.origin import Origin
from training.models.registry import PRESET_VOCABULARY, model_from_config, preset_config
from training.models.source import resolve_model
from training.observer import Observer

_log = logging.getLogger(__name__)

_BOOKKEEPING = {"save_every_steps", "keep_checkpoints", "log_every_steps", "mesh", "save_dtype"}
"""Settings that change nothing in the trained weights; a resumed training may change them. A mesh
changes their rounding, which the conditions of a certificate tell."""

TEMPLATE_DATE = "template_date"
"""The identity's name for the day that a chat template with a clock read."""


@dataclass(frozen=True)
class Start:
    """What a training starts from."""

    model: Model
    params: Params
    chat: ChatFormat
    origin: Origin
    """What is kept of the folder that the model came from."""
    split: Split
    encoded: Encoded
    held_out: Encoded
    """What evaluations are made on; empty where none are asked for."""
    source: str | None
    """What the model is known by; None for a preset."""
    identity: dict[str, Any]
    """See :class:`training.checkpoints.checkpoint.Checkpoint`."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the chat format."""
        return self.chat.tokenizer


def prepare(
    model: ModelSpec,
    train: TrainSpec,
    traces: Sequence[Trace],
    folder: Path | None = None,
    clock: date | None = None,
) -> Start:
    """Split the traces, make or load tokenizer and weights, and encode the train part.

    ``folder`` is where a worker has put the model; without one the spec's source is resolved here.
    ``clock`` is the day that the chat template reads (default: today, UTC). Raises the errors of
    :mod:`training.errors` for a bad split, model, or overlong examples.
    """
    sft = _method(train)
    try:
        split = split_traces(traces, train.eval_fraction, train.split_seed)
    except EmptySplitError as error:
        raise DataError(f"train.{error}") from error
    network, params, tokenizer, origin = _open_model(model, train.seed, split, folder)
    if sft.max_seq_length > network.context:
        raise ConfigError(
            f"train.sft.max_seq_length {sft.max_seq_length} is more than the model's "
            f"context of {network.context} tokens"
        )
    chat = ChatFormat(tokenizer, clock)
    encoded = encode_traces(split.train, chat, sft.max_seq_length, sft.overlong)
    held_out = _encode_held_out(train, split, chat)
    examples = [*encoded.examples, *held_out.examples]
    require_embedded((example.tokens for example in examples), network.vocabulary)
    settings = {k: v for k, v in to_mapping(train).items() if k not in _BOOKKEEPING}
    identity = {
        "model": to_mapping(model),
        "config": network.family.dump_config(network.config),
        "train": settings,
        "dataset": hashlib.sha256("".join(map(dump_record, traces)).encode()).hexdigest(),
        "examples": sha256_json([e.tokens for e in encoded.examples]),
    }
    if chat.template_date is not None:
        identity[TEMPLATE_DATE] = chat.template_date
    if train.adapter is not None:
        # The frozen weights are not in a checkpoint, so it must name them.
        identity["weights"] = digest_arrays({n: np.asarray(v) for n, v in params.items()})
    return Start(network, params, chat, origin, split, encoded, held_out, model.source, identity)


def started_on(checkpoint: Path) -> date | None:
    """Return the day that the chat template read in the training that a checkpoint is of.

    None where the template has no clock. Raises :class:`training.errors.CheckpointError`.
    """
    day = checkpoint_identity(checkpoint).get(TEMPLATE_DATE)
    return date.fromisoformat(day) if isinstance(day, str) else None


def run_sft(
    start: Start,
    train: TrainSpec,
    checkpoints: Path,
    final_model: Path,
    observer: Observer,
    resume: Path | None = None,
    last: int | None = None,
) -> TrainResult:
    """Train, write checkpoints and the final model folder, and sum up.

    ``last`` ends the training early, at that step. Errors as
    :meth:`training.loop.trainer.Trainer.train`.
    """
    sft = _method(train)
    together = train.steps_per_dispatch if sft.group_by_length else None
    stream = BatchStream(start.encoded.examples, Collator.of(sft), train.seed, together)
    trainer = Trainer(start.model, stream, train, start.identity, start.held_out.examples)
    _log.info(
        "training on %d examples (%d prompts held out): %d steps, %d per epoch",
        len(start.encoded.examples),
        len({trace.prompt for trace in start.split.held_out}),
        trainer.total,
        stream.steps_per_epoch,
    )
    if resume is not None:
        _log.info("continuing from step %d, that of the checkpoint", checkpoint_step(resume))
    saved = start.origin.saved_bytes(start.model, train.save_dtype)
    estimated = estimate(start.model, train, trainer, stream, start.encoded.examples, saved)
    require_fit(estimated, sft, free_memory(trainer.layout))
    trained = trainer.train(start.params, checkpoints, observer, resume, last)
    warn_if_worse(trained.progress)
    whole = trainer.tuning.merged(trained.params, start.params)
    save_trained(final_model, start, whole, train.save_dtype)
    if isinstance(trainer.tuning, LoraTuning):
        save_adapter(final_model / ADAPTER, trainer.tuning, trained.params, start.source)
    return _result(start, trained, trainer.tuning.parameters, weights_digest(final_model))


def warn_if_worse(progress: Progress) -> None:
    """Log a finite loss that rose: no error, but hardly what was wanted."""
    first = progress.first_loss
    if first is not None and progress.epoch_loss > first:
        _log.warning(
            "the loss ended at %.4f, above the %.4f it began with: lower train.sft.learning_rate, "
            "add warmup_steps, or set gradient_clip",
            progress.epoch_loss,
            first,
        )


def save_folder(
    folder: Path, model: Model, params: Params, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write a model folder of its own, in float32, with its tokenizer and chat template."""
    save_model(folder, model, params, int(tokenizer.eos_token_id))
    with as_os_errors(folder):
        tokenizer.save_pretrained(folder)


def save_trained(folder: Path, start: Start, params: Params, save_dtype: SaveDtype) -> None:
    """Write the model folder of a training from ``start``.

    It keeps the special tokens, types and generation settings of the folder that it started from; a
    token that ends turns is added where they lack it. Raises :class:`OSError` and
    :class:`training.errors.ModelConfigError` for weights too large for their type.
    """
    origin, tokenizer, end = start.origin, start.chat.tokenizer, start.chat.end
    values = origin.cast(params, save_dtype)
    facts = origin.config_facts(save_dtype, end)
    save_model(folder, start.model, values, end, facts=facts)
    with as_os_errors(folder):
        tokenizer.save_pretrained(folder)
    settings = origin.generation_text(end)
    if settings is not None:
        (folder / GENERATION_CONFIG).write_bytes(settings.encode())


def _encode_held_out(train: TrainSpec, split: Split, chat: ChatFormat) -> Encoded:
    if not train.eval_every_steps:
        return Encoded([], 0)
    sft = _method(train)
    traces, longest = split.held_out, sft.max_seq_length
    return encode_traces(traces, chat, longest, sft.overlong, "held-out examples")


def _open_model(
    spec: ModelSpec, seed: int, split: Split, folder: Path | None
) -> tuple[Model, Params, PreTrainedTokenizerBase, Origin]:
    if spec.preset is not None:
        return _fresh_model(spec.preset, seed, split)
    if folder is None:
        folder = resolve_model(spec.source or "")
    model, params = load_model(folder)
    return model, params, load_tokenizer(folder), Origin.read(folder, model)


def _fresh_model(
    preset: str, seed: int, split: Split
) -> tuple[Model, Params, PreTrainedTokenizerBase, Origin]:
    config = preset_config(preset, PRESET_VOCABULARY.get(preset, 0))
    context = int(config["n_positions"])
    bare = train_tokenizer([], PRESET_VOCABULARY[preset], context)
    # The held-out part stays unseen, even by the tokenizer.
    texts = [render_prompt(bare, t.prompt) + render_response(t) for t in split.train]
    tokenizer = train_tokenizer(texts, PRESET_VOCABULARY[preset], context)
    model = model_from_config(preset_config(preset, len(tokenizer)))
    origin = Origin.fresh(model, int(tokenizer.eos_token_id))
    return model, model.init(seed), tokenizer, origin


def _method(train: TrainSpec) -> SftSpec:
    if train.sft is None:
        raise ConfigError("train: names no method; give it an sft block")
    return train.sft


def _result(start: Start, trained: Trained, parameters: int, digest: str) -> TrainResult:
    progress = trained.progress
    return TrainResult(
        steps=trained.steps,
        first_loss=progress.first_loss or 0.0,
        last_loss=progress.epoch_loss,
        examples=len(start.encoded.examples),
        held_out=len({trace.prompt for trace in start.split.held_out}),
        overlong=start.encoded.overlong + start.held_out.overlong,
        parameters=parameters,
        tokens=progress.tokens,
        seconds=round(trained.seconds, 3),
        resumed_from_step=trained.start,
        model_digest=digest,
        best_step=progress.best_step,
        best_eval_loss=progress.best_loss,
        stopped_early=trained.stopped_early,
        template_date=start.chat.template_date,
    )
