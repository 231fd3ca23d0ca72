"""The stage cache: reuse of the results of earlier stages with the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.cache_key import cache_key
from services.domain.content.artifact import Artifact, Producer
from services.domain.run import Run, run_name
from services.domain.stage import Attempt, Stage, StageState
from services.storage.blobs.store import BlobStore
from services.storage.engine.columns import utc_now
from services.storage.engine.read_cache import once_per_transaction
from services.storage.rows import artifacts, stages, workers
from services.storage.rows.stages import ReusableStage
from services.usecases.runs.lifecycle import LockedRun, move_stage
from services.usecases.stages.inputs import stage_inputs
from tailrace.formats import catalog
from tailrace.formats.spec.judge_spec import JUDGES
from tailrace.formats.spec.run_spec import StageKind
from tailrace.formats.stage_protocol import ArtifactKind

CANDIDATES = 5
"""Maximum number of earlier results to check for one whose content still exists."""


async def stage_key(conn: AsyncConnection, locked_run: LockedRun, stage: Stage) -> str:
    """Return the cache key of a stage whose inputs exist; empty if its run uses no cache.

    The key is also empty if a judge's version is unknown: no live worker has the judge, or workers
    differ.
    """
    if not locked_run.run.resolved_spec.cache:
        return ""
    judging = bool(locked_run.run.resolved_spec.stage_judges(stage.kind))
    return await _key(
        conn,
        locked_run,
        stage,
        await once_per_transaction(conn, _judge_versions) if judging else {},
    )


async def find_result(
    conn: AsyncConnection, blobs: BlobStore, run: Run, key: str
) -> tuple[ReusableStage, list[Artifact]] | None:
    """Return the newest result under a key, with its artifacts, whose content is complete."""
    if not key:
        return None
    for source in await once_per_transaction(
        conn, stages.list_by_cache_key, run.project, key, CANDIDATES
    ):
        stage = source.stage
        if _template_date(stage) not in (None, run.template_date):
            continue
        stage_artifacts = await artifacts.list_for_run(
            conn, run.project, stage.run_uid, stage=stage.stage_id, attempt=stage.attempt
        )
        reusable = [
            artifact for artifact in stage_artifacts if artifact.kind is not ArtifactKind.CHECKPOINT
        ]
        entries = [entry for artifact in reusable for entry in artifact.listing.files]
        files = {entry.sha256: entry.size_bytes for entry in entries}
        # The sizes of a few files may be read while the run is locked.
        if reusable and await blobs.sizes(files) == files:
            return source, reusable
    return None


def _template_date(stage: Stage) -> str | None:
    """Return the day that the stage's chat templates read, or None if they have no clock."""
    result = (stage.result or {}).get(stage.kind.value, {})
    day: str | None = result.get("template_date")
    return day


async def reuse(
    conn: AsyncConnection,
    locked_run: LockedRun,
    stage: Stage,
    cached: tuple[ReusableStage, list[Artifact]],
) -> LockedRun:
    """Give an earlier stage's result to a stage that never ran."""
    source, source_artifacts = cached
    run = locked_run.run
    producer = Producer(run.uid, run.run_id, stage.stage_id, stage.attempt)
    for artifact in source_artifacts:
        await artifacts.record(
            conn,
            run.project,
            artifact.listing,
            artifact.kind,
            producer=producer,
            step=artifact.step,
        )
    name = f"{run_name(source.run_id)}/stages/{source.stage.stage_id}"
    return await move_stage(
        conn,
        locked_run,
        stage,
        StageState.SKIPPED,
        f"same inputs as {name}",
        result=source.stage.result,
        cached_from=name,
        cached_run_uid=source.stage.run_uid,
        cache_key=source.stage.cache_key,
        end_time=utc_now(),
    )


async def reusable_key(
    conn: AsyncConnection,
    locked_run: LockedRun,
    stage: Stage,
    attempt: Attempt,
    result: dict[str, Any],
) -> str:
    """Return the key under which a result may be reused; empty if the key does not describe it.

    A worker of another release may run other code or judges, and a model that judges may succeed
    next time after an error.
    """
    worker = await workers.get(conn, attempt.worker_id)
    if worker is None or worker.versions.get("stages") != catalog.stage_versions_text():
        return ""
    judges = locked_run.run.resolved_spec.stage_judges(stage.kind)
    if not judges or not stage.cache_key:
        return stage.cache_key
    if stage.kind is StageKind.TRAIN:
        # A result of a training has neither versions nor errors of the judges that rewarded.
        is_known = all(judge.name in JUDGES and judge.backend() is None for judge in judges)
        return stage.cache_key if is_known else ""
    scores = result.get("judge", {}).get("scores", [])
    model_judges = {judge.name for judge in judges if judge.backend() is not None}
    if any(score.get("errors", 0) and score.get("judge", "") in model_judges for score in scores):
        return ""
    reported = {score.get("judge", ""): score.get("version", "") for score in scores}
    built_in = {name: reported.get(name, version) for name, version in JUDGES.items()}
    # The version of another judge is that of its package, which workers report: it may have changed
    # since the stage was queued with its key.
    current_key = await _key(conn, locked_run, stage, worker.judges | built_in)
    return stage.cache_key if current_key == stage.cache_key else ""


async def _key(
    conn: AsyncConnection, locked_run: LockedRun, stage: Stage, versions: Mapping[str, str]
) -> str:
    """Return the key of a stage with judges of these versions; empty if a version is missing."""
    run = locked_run.run
    names = [judge.name for judge in run.resolved_spec.stage_judges(stage.kind)]
    judges = {name: versions[name] for name in names if name in versions}
    if len(judges) < len(names):
        return ""
    inputs = await stage_inputs(conn, run, locked_run.stages, stage)
    return cache_key(stage.kind, run.stored_spec.mapping, inputs.digests(), judges)


async def _judge_versions(conn: AsyncConnection) -> dict[str, str]:
    """Return the versions of judges by name, without judges of which live workers differ."""
    versions_by_name: dict[str, set[str]] = {}
    for worker in await workers.list_live(conn):
        for name, version in worker.judges.items():
            versions_by_name.setdefault(name, set()).add(version)
    foreign = {
        name: min(versions) for name, versions in versions_by_name.items() if len(versions) == 1
    }
    return foreign | JUDGES
