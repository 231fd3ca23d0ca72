"""The stages of a run, one function for each kind, on files that the worker has prepared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.split import Split
from tailrace.formats.endpoint_access import EndpointAccess
from tailrace.formats.spec.run_spec import RunSpec, StageKind, TrainSpec
from tailrace.formats.stage_protocol import ArtifactKind, OutputArtifact, ResultEvent, StageJob
from training.data.datasets import load_dataset, load_split
from training.errors import ConfigError
from training.evalsets import load_eval_sets, require_questions
from training.judging.requirements import require_expectations
from training.observer import Observer

if TYPE_CHECKING:
    from training.generate.predict import Evaluated
    from training.rollouts.rewards import JudgeResources


def preload() -> None:
    """Import the modules of TRAIN and INFER, without starting JAX's backend."""
    import training.generate.predict
    import training.stage.training_run  # noqa: F401


def run_stage(job: StageJob, observer: Observer) -> ResultEvent:
    """Execute a job.

    Raises:
        TrainingError: The job cannot be executed.
        StoppedError: The observer requests a stop.
        OSError: A file cannot be read or written.
    """
    return {
        StageKind.TRAIN: run_train,
        StageKind.INFER: run_infer,
        StageKind.JUDGE: run_judge,
    }[job.kind](job, observer)


def run_train(job: StageJob, observer: Observer) -> ResultEvent:
    """Execute a TRAIN stage: train a model on a dataset."""
    from training.stage.training_run import TrainingPaths, run_training

    if job.spec.model is None or job.spec.train is None or job.inputs.dataset is None:
        raise ConfigError("a TRAIN stage needs a model, a train block and a dataset")
    root = Path(job.output_dir)
    paths = TrainingPaths.as_artifacts(root)
    records = load_dataset(Path(job.inputs.dataset))
    require_questions(job.spec.infer.eval_sets if job.spec.infer else [], records)
    result, _ = run_training(
        job.spec.model,
        job.spec.train,
        records,
        paths,
        observer,
        folder=_start_folder(job, job.inputs.model),
        resume=Path(job.inputs.checkpoint) if job.inputs.checkpoint else None,
        clock=_clock(job),
        references=Path(job.cache_dir) / "references" if job.cache_dir else None,
        rollouts=Path(job.inputs.rollouts) if job.inputs.rollouts else None,
        resources=_judge_resources(job),
        teacher=Path(job.inputs.teacher) if job.inputs.teacher else None,
    )
    artifacts = [
        _artifact(ArtifactKind.MODEL, paths.final_model, root),
        _artifact(ArtifactKind.SPLIT, paths.split.parent, root),
        _artifact(ArtifactKind.METRICS, paths.metrics.parent, root),
    ]
    if paths.reference.is_file():
        artifacts.append(_artifact(ArtifactKind.REFERENCE, paths.reference.parent, root))
    return ResultEvent(artifacts=artifacts, train=result)


def _judge_resources(job: StageJob) -> JudgeResources | None:
    """Return what judges that reward may use; None for a method without rewards."""
    if job.spec.train is None or job.spec.train.grpo is None:
        return None
    from training.rollouts.rewards import JudgeResources

    models = {name: Path(folder) for name, folder in job.inputs.judge_models.items()}
    return JudgeResources(models, _endpoint_access(job), _clock(job))


def run_infer(job: StageJob, observer: Observer) -> ResultEvent:
    """Execute an INFER stage: predict eval sets with the model, and the base model if wanted."""
    from training.generate.predict import evaluate
    from training.generate.prediction_files import read_predictions

    if job.spec.infer is None:
        raise ConfigError("an INFER stage needs an infer block")
    stored = job.inputs.stored_predictions
    root = Path(job.output_dir)
    folder = root / "predictions"
    eval_sets = load_eval_sets(job.spec.infer.eval_sets, _split(job), _imported(job))
    # Before predicting, which takes longer than anything after it.
    require_expectations(job.spec.judges, eval_sets)
    _, result = evaluate(
        _openers(job),
        eval_sets,
        job.spec.infer,
        folder / "eval_results.jsonl",
        folder / "predictions.jsonl",
        observer,
        mesh=job.spec.train.mesh if job.spec.train else None,
        stored=read_predictions(Path(stored)) if stored else [],
    )
    return ResultEvent(artifacts=[_artifact(ArtifactKind.PREDICTIONS, folder, root)], infer=result)


def _openers(job: StageJob) -> dict[ModelRole, Callable[[], Evaluated]]:
    """Return a function for each model role that opens its model."""
    from training.models.source import resolve_model

    def open_source(folder: str | None) -> Evaluated:
        source = job.spec.model.source if job.spec.model else None
        place = _start_folder(job, folder) or resolve_model(source or "")
        return _evaluated(job, place)

    preset = job.spec.model is not None and job.spec.model.preset is not None
    if job.spec.train is None:
        if preset:
            raise ConfigError("a preset has random weights: a run that infers must train it first")
        return {ModelRole.BASE: partial(open_source, job.inputs.model)}
    if job.inputs.model is None:
        raise ConfigError("the job lacks the model that its TRAIN stage made")
    openers: dict[ModelRole, Callable[[], Evaluated]] = {}
    openers[ModelRole.TRAINED] = partial(_evaluated, job, Path(job.inputs.model))
    if job.spec.infer and job.spec.infer.include_base:
        openers[ModelRole.BASE] = (
            partial(_fresh, job) if preset else partial(open_source, job.inputs.base_model)
        )
    return openers


def _evaluated(job: StageJob, folder: Path) -> Evaluated:
    """Open a model folder; prompts are rendered as in training."""
    from training.data.tokenizer import template_text
    from training.generate.predict import Evaluated

    model, train = job.spec.model, job.spec.train
    return Evaluated.open(
        folder,
        _clock(job),
        template=template_text(model.chat_template) if model else None,
        kwargs=model.chat_template_kwargs if model else {},
        allow_special_tokens=_allows_special_tokens(train),
        mesh=train.mesh if train else None,
    )


def _allows_special_tokens(train: TrainSpec | None) -> bool:
    return train is not None and train.sft is not None and train.sft.allow_special_tokens


def _fresh(job: StageJob) -> Evaluated:
    """Return the preset that the training started from: the same random weights and tokenizer."""
    from training.generate.predict import Evaluated
    from training.loop.start import fresh_model

    if job.spec.model is None or job.spec.train is None or job.inputs.dataset is None:
        raise ConfigError("the job lacks the dataset that the untouched preset is made from")
    records = load_dataset(Path(job.inputs.dataset))
    model, params, tokenizer = fresh_model(job.spec.model, job.spec.train, records)
    return Evaluated(
        model,
        params,
        tokenizer,
        clock=_clock(job),
        kwargs=job.spec.model.chat_template_kwargs,
        allow_special_tokens=_allows_special_tokens(job.spec.train),
    )


def run_judge(job: StageJob, observer: Observer) -> ResultEvent:
    """Execute a JUDGE stage: grade predictions."""
    from training.generate.prediction_files import read_predictions
    from training.judging.all_judges import JudgeInputs, count_leaked, run_judges

    if job.spec.infer is None or job.inputs.predictions is None:
        raise ConfigError("a JUDGE stage needs an infer block and predictions")
    baseline = job.inputs.baseline_predictions
    split = _split(job)
    eval_sets = load_eval_sets(job.spec.infer.eval_sets, split, _imported(job))
    inputs = JudgeInputs(
        eval_sets,
        read_predictions(Path(job.inputs.predictions) / "predictions.jsonl"),
        _roles(job.spec),
        read_predictions(Path(baseline) / "predictions.jsonl") if baseline else None,
        {name: Path(folder) for name, folder in job.inputs.judge_models.items()},
        count_leaked(eval_sets, split) if job.spec.train is not None else {},
        _endpoint_access(job),
        job.spec.infer.n_samples,
        _clock(job),
    )
    root = Path(job.output_dir)
    verdicts = root / "verdicts" / "verdicts.jsonl"
    result = run_judges(job.spec.judges, inputs, verdicts, observer)
    return ResultEvent(
        artifacts=[_artifact(ArtifactKind.VERDICTS, verdicts.parent, root)], judge=result
    )


def _endpoint_access(job: StageJob) -> EndpointAccess:
    """Return the worker's message on standard input; only judges with an endpoint read it."""
    if all(judge.endpoint() is None for judge in job.spec.stage_judges(job.kind)):
        return EndpointAccess()
    try:
        return EndpointAccess.decode(sys.stdin.buffer.read())
    except ValueError as error:
        raise ConfigError(f"the worker's list of judging endpoints is unusable: {error}") from error


def _start_folder(job: StageJob, fetched: str | None) -> Path | None:
    """Return the folder of the model that the run starts from; None if its source names it.

    The model of another run's checkpoint is made from the checkpoint and from ``fetched``, the
    model which that run started from.
    """
    folder = Path(fetched) if fetched else None
    if job.inputs.source_checkpoint is None:
        return folder
    from training.loop.checkpoint_model import save_checkpoint_model

    records = load_dataset(Path(job.inputs.source_dataset)) if job.inputs.source_dataset else []
    target = Path(job.output_dir) / "source_model"
    save_checkpoint_model(Path(job.inputs.source_checkpoint), target, folder, records)
    return target


def _clock(job: StageJob) -> date | None:
    """Return the day that chat templates read."""
    day = job.spec.template_date
    return date.fromisoformat(day) if day else None


def _roles(spec: RunSpec) -> list[ModelRole]:
    """Return the roles of the models that predict in a run."""
    if spec.train is None:
        return [ModelRole.BASE]
    base = spec.infer is not None and spec.infer.include_base
    return [ModelRole.TRAINED, ModelRole.BASE] if base else [ModelRole.TRAINED]


def _imported(job: StageJob) -> dict[str, str]:
    """Return the files of imported eval sets, by their names in the spec."""
    return {eval_set.name: eval_set.file for eval_set in job.inputs.eval_sets}


def _split(job: StageJob) -> Split | None:
    """Return the dataset in TRAIN's split; without a TRAIN stage all of it is the train part."""
    if job.inputs.dataset is None:
        return None
    if job.inputs.split is None and job.spec.train is not None:
        raise ConfigError("the job lacks the split that its TRAIN stage made")
    path = Path(job.inputs.split) / "split.json" if job.inputs.split else None
    return load_split(load_dataset(Path(job.inputs.dataset)), path)


def _artifact(kind: ArtifactKind, folder: Path, root: Path) -> OutputArtifact:
    return OutputArtifact(kind=kind, path=folder.relative_to(root).as_posix())
