"""What a stage reads: artifacts that were imported or that earlier stages made."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.artifact import Artifact
from services.domain.run import Run
from services.domain.stage import Stage
from services.storage import artifacts
from services.usecases import datasets, models
from services.usecases.create import is_imported
from tailrace.formats.run_spec import StageKind
from tailrace.formats.stage_job import ArtifactKind


async def stage_inputs(
    conn: AsyncConnection, run: Run, stages: list[Stage], stage: Stage
) -> list[Artifact]:
    """The inputs of a stage.

    TRAIN reads the dataset and an imported start model; INFER the trained or imported model, the
    dataset and the split; JUDGE the predictions and, for the expected answers, dataset and split.
    A model of the hub or a preset is no artifact: the stage process gets it by name.
    """
    found: list[Artifact] = []
    if "dataset" in run.resolved_spec:
        dataset = await datasets.resolve(conn, run.project, run.resolved_spec["dataset"])
        found.append(await artifacts.get(conn, run.project, dataset.artifact_digest))
    by_kind = {other.kind: other for other in stages}
    trained = by_kind.get(StageKind.TRAIN)
    if stage.kind is StageKind.JUDGE:
        inferred = by_kind.get(StageKind.INFER)
        found += await _made(conn, run, inferred, ArtifactKind.PREDICTIONS)
        return found + await _made(conn, run, trained, ArtifactKind.SPLIT)
    if stage.kind is StageKind.INFER and trained is not None:
        found += await _made(conn, run, trained, ArtifactKind.MODEL)
        return found + await _made(conn, run, trained, ArtifactKind.SPLIT)
    source = run.resolved_spec.get("model", {}).get("source")
    if is_imported(source):
        model = await models.resolve(conn, run.project, source)
        found.append(model.artifact)
    return found


async def _made(
    conn: AsyncConnection, run: Run, stage: Stage | None, kind: ArtifactKind
) -> list[Artifact]:
    """What the attempt that gave the stage its result made of a kind."""
    if stage is None:
        return []
    return await artifacts.for_run(
        conn, run.project, run.uid, stage=stage.stage_id, attempt=stage.attempt, kind=kind
    )
