"""A training with all its files: split, checkpoints, metrics, final model, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.formats.data.record import Record
from tailrace.formats.data.split import Split
from tailrace.formats.results import TrainResult
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from training.checkpoints.checkpoint import REFERENCE, checkpoint_step
from training.checkpoints.metrics import MetricsFile
from training.checkpoints.provenance import FILE, write_provenance
from training.loop.fit import fit
from training.loop.reference import with_reference
from training.loop.score_files import save_arrays
from training.loop.start import TEACHER, Start, prepare
from training.loop.stored_teacher import with_stored_teacher
from training.observer import Observer, Observers

if TYPE_CHECKING:
    from training.rollouts.rewards import JudgeResources
    from training.rollouts.source import RolloutSource
    from training.rollouts.store import RolloutStore


@dataclass(frozen=True)
class TrainingPaths:
    """Paths of a training's files."""

    checkpoints: Path
    """Folder of checkpoint folders."""
    final_model: Path
    """Model folder in Hugging Face layout."""
    metrics: Path
    """metrics.jsonl."""
    split: Path
    """split.json."""
    provenance: Path
    """provenance.json."""
    reference: Path
    """reference.safetensors, of methods that compare with stored log-probabilities."""
    rollouts: Path
    """Folder of rollouts, of methods that sample answers."""
    exchange: Path | None = None
    """Folder for files that are exchanged with the worker; None without a worker."""

    @classmethod
    def in_folder(cls, root: Path) -> TrainingPaths:
        """Return the layout of the commands: everything in one folder."""
        return cls(
            checkpoints=root / "checkpoints",
            final_model=root / "final_model",
            metrics=root / "metrics.jsonl",
            split=root / "split.json",
            provenance=root / FILE,
            reference=root / f"{REFERENCE}.safetensors",
            rollouts=root / "rollouts",
        )

    @classmethod
    def as_artifacts(cls, root: Path) -> TrainingPaths:
        """Return the layout of a stage: a folder for each artifact."""
        return cls(
            checkpoints=root / "checkpoints",
            final_model=root / "final_model",
            metrics=root / "metrics" / "metrics.jsonl",
            split=root / "split" / "split.json",
            provenance=root / "metrics" / "provenance.json",
            reference=root / REFERENCE / f"{REFERENCE}.safetensors",
            rollouts=root / "rollouts",
            exchange=root / "exchange",
        )


def run_training(
    model: ModelSpec,
    train: TrainSpec,
    records: Sequence[Record],
    paths: TrainingPaths,
    observer: Observer,
    *,
    folder: Path | None = None,
    resume: Path | None = None,
    last: int | None = None,
    clock: date | None = None,
    references: Path | None = None,
    rollouts: Path | None = None,
    resources: JudgeResources | None = None,
    teacher: Path | None = None,
) -> tuple[TrainResult, Split]:
    """Train and write every file.

    Args:
        model: The model to start from.
        train: The settings.
        records: The dataset.
        paths: The paths to write to.
        observer: Receiver of metrics, checkpoints and stop requests.
        folder: Folder of the model, where a worker has fetched it (default: resolve the source).
        resume: Checkpoint to continue from.
        last: Step to end at, before the end of the training.
        clock: Day that the chat template reads (default: today, UTC).
        references: Folder of the host's log-probabilities under starting models, see
            :func:`training.loop.reference.with_reference` (default: none is reused).
        rollouts: Folder of the rollouts that earlier attempts have committed.
        resources: What judges that reward may use.
        teacher: Folder of a distillation's teacher (default: resolve its name).

    Raises:
        TrainingError: See :func:`training.loop.start.prepare`,
            :func:`training.loop.reference.with_reference`,
            :func:`training.loop.stored_teacher.with_stored_teacher` and
            :func:`training.loop.fit.fit`.
        OSError: A file cannot be written.
    """
    paths.split.parent.mkdir(parents=True, exist_ok=True)
    start = prepare(model, train, records, folder, clock, paths.split.parent, teacher)
    train = start.train
    observer.check_stop()
    start = with_reference(start, train, observer, resume, references, paths.exchange)
    if start.reference is not None:
        save_arrays(paths.reference, start.reference)
    start = with_stored_teacher(
        start, train, observer, paths.reference, resume, references, paths.exchange
    )
    paths.split.write_text(start.split.dump(), encoding="utf-8")
    source = None
    if train.sampling is not None:
        # Judges and generation take a while to import.
        from training.rollouts.store import RolloutStore

        store = RolloutStore(paths.rollouts, observer, rollouts)
        source = _rollout_source(start, train, store, resources, observer)
    metrics = MetricsFile(paths.metrics, checkpoint_step(resume) if resume else 0)
    try:
        result = fit(
            start,
            train,
            paths.checkpoints,
            paths.final_model,
            Observers(metrics, observer),
            resume,
            last,
            source,
        )
    finally:
        metrics.close()
    facts = {
        "model": to_mapping(model),
        "train": to_mapping(train),
        "dataset_sha256": start.identity["dataset"],
        "split": {"train": len(start.split.train), "held_out": len(start.split.held_out)},
        "result": to_mapping(result),
    }
    if TEACHER in start.identity:
        facts["teacher_sha256"] = start.identity[TEACHER]
    write_provenance(paths.provenance, facts)
    return result, start.split


def _rollout_source(
    start: Start,
    train: TrainSpec,
    store: RolloutStore,
    resources: JudgeResources | None,
    observer: Observer,
) -> RolloutSource:
    """Return the batches of a method that samples answers."""
    if train.grpo is None:
        from training.rollouts.on_policy import OnPolicyAnswers

        return OnPolicyAnswers(start, train, store, observer)
    from training.rollouts.rewarded import RewardedAnswers
    from training.rollouts.rewards import JudgeResources

    return RewardedAnswers(start, train, store, resources or JudgeResources(), observer)
