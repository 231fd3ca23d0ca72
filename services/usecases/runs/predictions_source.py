"""Whose predictions and verdicts a run has: its own, or those that it reused or judged."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import FailedPrecondition
from services.domain.run import Run, parse_run_name
from services.domain.stage import STAGE_DONE, Stage
from services.storage.rows import runs, stages
from tailrace.formats.spec.run_spec import StageKind


async def source_uid(conn: AsyncConnection, run: Run, kind: StageKind) -> str:
    """Uid of the run under which the rows of a run's INFER or JUDGE stage are stored."""
    of_run = await stages.list_for_run(conn, run.uid)
    if kind is StageKind.INFER and run.resolved_spec.predictions:
        source, stage = await find_predictions(conn, run.project, run.resolved_spec.predictions)
        return stage.cached_run_uid or source.uid
    found = next((stage for stage in of_run if stage.kind is kind), None)
    return run.uid if found is None else found.cached_run_uid or run.uid


async def find_predictions(
    conn: AsyncConnection, project: str, name: str, field: str = "spec.predictions"
) -> tuple[Run, Stage]:
    """The run ``name`` and the INFER stage that made its predictions.

    A run that only judges leads to the one that it judges. Raises ``InvalidInput`` at ``field``,
    ``NotFound`` (RUN_NOT_FOUND) and ``FailedPrecondition`` (NO_PREDICTIONS).
    """
    run = await runs.get(conn, project, parse_run_name(name, field))
    source = run.resolved_spec.predictions
    if source:
        # What a resolved spec names has predictions of its own.
        run = await runs.get(conn, project, parse_run_name(source, field))
    for stage in await stages.list_for_run(conn, run.uid):
        if stage.kind is StageKind.INFER and stage.state in STAGE_DONE:
            return run, stage
    raise FailedPrecondition(
        "NO_PREDICTIONS", f"{field}: {name} has no predictions (its INFER stage is not done)"
    )
