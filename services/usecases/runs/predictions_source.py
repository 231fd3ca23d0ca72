"""Source of a run's predictions and verdicts: the run itself, or one that it reuses or judges."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import FailedPrecondition
from services.domain.run import Run, parse_run_name
from services.domain.stage import STAGE_DONE, Stage
from services.storage.rows import runs, stages
from tailrace.formats.spec.run_spec import StageKind


async def source_uid(conn: AsyncConnection, run: Run, kind: StageKind) -> str:
    """Return the uid of the run that owns the stored rows of a run's INFER or JUDGE stage."""
    run_stages = await stages.list_for_run(conn, run.uid)
    if kind is StageKind.INFER and run.resolved_spec.predictions:
        source, stage = await find_predictions(conn, run.project, run.resolved_spec.predictions)
        return stage.cached_run_uid or source.uid
    own_stage = next((stage for stage in run_stages if stage.kind is kind), None)
    return run.uid if own_stage is None else own_stage.cached_run_uid or run.uid


async def find_predictions(
    conn: AsyncConnection, project: str, name: str, field: str = "spec.predictions"
) -> tuple[Run, Stage]:
    """Return the run that generated the predictions of run ``name``, and its INFER stage.

    For a run that only judges, this is the run that it judges.

    Raises:
        InvalidInput: ``name`` is not a run's name; the violation names ``field``.
        NotFound: The run does not exist (RUN_NOT_FOUND).
        FailedPrecondition: The run has no predictions (NO_PREDICTIONS).
    """
    run = await runs.get(conn, project, parse_run_name(name, field))
    source = run.resolved_spec.predictions
    if source:
        # A run named by a resolved spec has generated its own predictions.
        run = await runs.get(conn, project, parse_run_name(source, field))
    for stage in await stages.list_for_run(conn, run.uid):
        if stage.kind is StageKind.INFER and stage.state in STAGE_DONE:
            return run, stage
    raise FailedPrecondition(
        "NO_PREDICTIONS", f"{field}: {name} has no predictions (its INFER stage is not done)"
    )
