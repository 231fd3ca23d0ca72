"""A training from its starting point to the final model folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from tailrace.formats.data.record import Record
from tailrace.formats.model.adapter import ADAPTER_FOLDER
from tailrace.formats.results import TrainResult
from tailrace.formats.spec.run_spec import TrainSpec
from training.budget.estimate import estimate, free_memory, require_fit
from training.checkpoints.checkpoint import checkpoint_step
from training.data.batches import BatchSource, BatchStream
from training.loop.final_model import save_trained
from training.loop.lora import LoraAdapter
from training.loop.progress import Progress
from training.loop.start import Start
from training.loop.trainer import Trainer, TrainOutcome
from training.models.adapter_folder import save_adapter
from training.models.folder import weights_digest
from training.observer import Observer

_log = logging.getLogger(__name__)


def fit(
    start: Start,
    train: TrainSpec,
    checkpoints: Path,
    final_model: Path,
    observer: Observer,
    resume: Path | None = None,
    last: int | None = None,
    source: BatchSource | None = None,
) -> TrainResult:
    """Train, write checkpoints and the final model folder, and return the summary.

    Args:
        start: The starting point.
        train: The settings of the training.
        checkpoints: Folder for checkpoints.
        final_model: Folder for the final model.
        observer: Receiver of metrics, checkpoints and stop requests.
        resume: Checkpoint to continue from.
        last: Step to end at, before the end of the training.
        source: The batches (default: the encoded examples).

    Raises:
        TrainingError: See :meth:`training.loop.trainer.Trainer.train`.
        OSError: A file cannot be written.
    """
    source = source or _stream(start, train)
    trainer = Trainer(
        start.model,
        start.objective,
        source,
        train,
        start.identity,
        start.held_out.examples,
        start.reference,
        start.teacher,
    )
    held_out = _count_prompts(start.split.held_out)
    _log.info(
        "training on %d examples (%d prompts held out): %d steps, %d per epoch",
        len(start.encoded.examples),
        held_out,
        trainer.total,
        source.steps_per_epoch,
    )
    if resume is not None:
        _log.info("continuing from step %d, that of the checkpoint", checkpoint_step(resume))
    saved = start.origin.saved_bytes(start.model, train.save_dtype)
    estimated = estimate(start.model, train, trainer, source, saved)
    require_fit(estimated, train, free_memory(trainer.layout))
    trained = trainer.train(start.weights, checkpoints, observer, resume, last)
    if train.sampling is None:
        # The loss of sampled answers starts again with each rollout.
        warn_if_worse(trained.progress)
    params = trainer.merge(trained, start.weights)
    save_trained(final_model, start, params, train.save_dtype)
    if isinstance(trainer.trainable, LoraAdapter):
        save_adapter(final_model / ADAPTER_FOLDER, trainer.trainable, trained.params, start.base)
    parameters, digest = trainer.trainable.parameters, weights_digest(final_model)
    return _result(start, trained, held_out, parameters, digest)


def _stream(start: Start, train: TrainSpec) -> BatchStream:
    together = train.steps_per_dispatch if train.group_by_length else None
    collator = start.objective.collator(train.batch_size)
    return BatchStream(start.encoded.examples, collator, train.seed, together)


def _count_prompts(records: Iterable[Record]) -> int:
    """Return the number of distinct prompts; only digests of them are in memory."""
    return len({hashlib.sha256(record.split_key.encode()).digest() for record in records})


def warn_if_worse(progress: Progress) -> None:
    """Log a warning for a loss that rose; it is finite, so the training has not failed."""
    first = progress.first_loss
    if first is not None and progress.epoch_loss > first:
        _log.warning(
            "the loss ended at %.4f, above the %.4f it began with: lower train.learning_rate, "
            "add warmup_steps, or set gradient_clip",
            progress.epoch_loss,
            first,
        )


def _result(
    start: Start, trained: TrainOutcome, held_out: int, parameters: int, digest: str
) -> TrainResult:
    progress = trained.progress
    return TrainResult(
        steps=trained.steps,
        first_loss=progress.first_loss or 0.0,
        last_loss=progress.epoch_loss,
        examples=len(start.encoded.examples),
        held_out=held_out,
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
