"""Inputs of stages: artifacts that were imported or that earlier stages produced."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Artifact
from services.domain.run import Run
from services.domain.stage import Stage
from services.storage.rows import artifacts
from services.storage.rows import stages as stage_store
from services.usecases.content import datasets, eval_sets, models
from services.usecases.runs.model_source import find_source, run_model
from services.usecases.runs.predictions_source import find_predictions
from tailrace.formats.spec.infer_spec import is_imported
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.model_spec import AdapterUse
from tailrace.formats.spec.run_spec import StageKind
from tailrace.formats.stage_protocol import ArtifactKind


class InputRole(enum.StrEnum):
    """Role of an artifact that its kind does not tell, with the names of the API."""

    BASE_MODEL = "BASE_MODEL"
    """The untouched model."""
    JUDGE_MODEL = "JUDGE_MODEL"
    """The model that a judge uses."""
    BASELINE_PREDICTIONS = "BASELINE_PREDICTIONS"
    """Predictions of another run, for comparison by a judge."""
    EVAL_SET = "EVAL_SET"
    """An imported eval set."""
    SOURCE_CHECKPOINT = "SOURCE_CHECKPOINT"
    """The checkpoint of another run, from which the starting model is made."""
    SOURCE_DATASET = "SOURCE_DATASET"
    """The dataset of that run, where it started from a preset, whose tokenizer comes from it."""
    TEACHER = "TEACHER"
    """The model that a distillation learns from."""


@dataclass(frozen=True)
class NamedInput:
    """An artifact and its role."""

    role: InputRole
    judge: str
    """Judge that needs the artifact; empty for other roles."""
    artifact: Artifact
    eval_set: str = ""
    """Name of the eval set in the spec, for EVAL_SET."""


@dataclass
class Inputs:
    """All inputs of a stage."""

    artifacts: list[Artifact] = field(default_factory=list)
    """Artifacts whose kind tells their role."""
    named: list[NamedInput] = field(default_factory=list)

    def digests(self) -> Iterator[tuple[str, str]]:
        """Yield the role and digest of each artifact."""
        for artifact in self.artifacts:
            yield artifact.kind.value, artifact.listing.digest
        for named in self.named:
            yield f"{named.role}:{named.judge or named.eval_set}", named.artifact.listing.digest


async def stage_inputs(
    conn: AsyncConnection, run: Run, stages: list[Stage], stage: Stage
) -> Inputs:
    """Return the inputs of a stage.

    TRAIN reads the dataset, the starting model, if it is imported or that of another run, imported
    models that reward, and the teacher of a distillation; INFER the trained or starting model, the
    dataset, the split and imported eval sets; JUDGE the predictions and, for the expected answers,
    dataset, split and eval sets. A run that only judges takes these from the run that it judges. A
    model of the hub and a preset are not artifacts: the stage process gets them by name.
    """
    inputs = Inputs()
    spec = run.resolved_spec
    if spec.dataset is not None:
        inputs.artifacts.append(await datasets.VERSIONS.artifact(conn, run.project, spec.dataset))
    if stage.kind is not StageKind.TRAIN:
        await _add_eval_sets(conn, run, inputs)
    for judge in spec.stage_judges(stage.kind):
        await _add_judge_model(conn, run, judge, inputs)
    by_kind = {other.kind: other for other in stages}
    if stage.kind is StageKind.JUDGE:
        await _add_predictions(conn, run, by_kind, inputs)
        return inputs
    train_stage = by_kind.get(StageKind.TRAIN)
    start = await _start_models(conn, run)
    if stage.kind is StageKind.INFER and train_stage is not None:
        inputs.artifacts += await _list_artifacts(conn, run, train_stage, ArtifactKind.MODEL)
        inputs.artifacts += await _list_artifacts(conn, run, train_stage, ArtifactKind.SPLIT)
        if spec.infer is not None and spec.infer.include_base:
            inputs.named += [NamedInput(InputRole.BASE_MODEL, "", model) for model in start]
            inputs.named += await _checkpoint_inputs(conn, run)
        return inputs
    inputs.artifacts += start
    if stage.kind is StageKind.TRAIN:
        inputs.named += [
            NamedInput(InputRole.TEACHER, "", model)
            for model in await _find_imported(conn, run, spec.teacher)
        ]
    inputs.named += await _checkpoint_inputs(conn, run)
    return inputs


async def _start_models(conn: AsyncConnection, run: Run) -> list[Artifact]:
    """Return the artifact of the model that a run starts from; none for a hub model or a preset.

    For a checkpoint, it is the model that the checkpoint's own run started from.
    """
    model = run.resolved_spec.model
    name = run_model(run.resolved_spec)
    if name is None:
        return await _find_imported(conn, run, model.source if model else None)
    source = await find_source(conn, run.project, name)
    if source.step is not None:
        return await _start_models(conn, source.run)
    if model is not None and model.adapter is AdapterUse.CONTINUE:
        (base,) = await _start_models(conn, source.run)
        return [await source.adapted_base(conn, base)]
    return [await source.model(conn)]


async def _checkpoint_inputs(conn: AsyncConnection, run: Run) -> list[NamedInput]:
    """Return the inputs for a starting model that is made from another run's checkpoint."""
    name = run_model(run.resolved_spec)
    source = None if name is None else await find_source(conn, run.project, name)
    checkpoint = None if source is None else await source.checkpoint(conn)
    if source is None or checkpoint is None:
        return []
    inputs = [NamedInput(InputRole.SOURCE_CHECKPOINT, "", checkpoint)]
    spec = source.run.resolved_spec
    if spec.model is not None and spec.model.preset is not None and spec.dataset is not None:
        dataset = await datasets.VERSIONS.artifact(conn, run.project, spec.dataset)
        inputs.append(NamedInput(InputRole.SOURCE_DATASET, "", dataset))
    return inputs


async def _add_eval_sets(conn: AsyncConnection, run: Run, inputs: Inputs) -> None:
    infer = run.resolved_spec.infer
    for name in filter(is_imported, infer.eval_sets if infer else []):
        artifact = await eval_sets.VERSIONS.artifact(conn, run.project, name)
        inputs.named.append(NamedInput(InputRole.EVAL_SET, "", artifact, name))


async def _add_predictions(
    conn: AsyncConnection, run: Run, by_kind: dict[StageKind, Stage], inputs: Inputs
) -> None:
    source_run = run
    if run.resolved_spec.predictions:
        source_run, _ = await find_predictions(conn, run.project, run.resolved_spec.predictions)
        source_stages = await stage_store.list_for_run(conn, source_run.uid)
        by_kind = {other.kind: other for other in source_stages}
    infer_stage, train_stage = by_kind.get(StageKind.INFER), by_kind.get(StageKind.TRAIN)
    inputs.artifacts += await _list_artifacts(
        conn, source_run, infer_stage, ArtifactKind.PREDICTIONS
    )
    inputs.artifacts += await _list_artifacts(conn, source_run, train_stage, ArtifactKind.SPLIT)
    for judge in run.resolved_spec.judges:
        await _add_baseline(conn, run, judge, inputs)


async def _add_judge_model(
    conn: AsyncConnection, run: Run, judge: JudgeSpec, inputs: Inputs
) -> None:
    backend = judge.backend()
    for model in await _find_imported(conn, run, backend.model if backend else None):
        inputs.named.append(NamedInput(InputRole.JUDGE_MODEL, judge.name, model))


async def _add_baseline(conn: AsyncConnection, run: Run, judge: JudgeSpec, inputs: Inputs) -> None:
    baseline = judge.baseline()
    if baseline is not None:
        other, stage = await find_predictions(conn, run.project, baseline)
        for artifact in await _list_artifacts(conn, other, stage, ArtifactKind.PREDICTIONS):
            inputs.named.append(NamedInput(InputRole.BASELINE_PREDICTIONS, judge.name, artifact))


async def _find_imported(conn: AsyncConnection, run: Run, source: str | None) -> list[Artifact]:
    """Return the artifact of an imported model; none for a model of the hub or a preset."""
    if not models.is_imported(source):
        return []
    return [(await models.pinned(conn, run.project, source or "")).artifact]


async def _list_artifacts(
    conn: AsyncConnection, run: Run, stage: Stage | None, kind: ArtifactKind
) -> list[Artifact]:
    """Return the artifacts of a kind from the attempt that gave the stage its result."""
    if stage is None:
        return []
    return await artifacts.list_for_run(
        conn, run.project, run.uid, stage=stage.stage_id, attempt=stage.attempt, kind=kind
    )
