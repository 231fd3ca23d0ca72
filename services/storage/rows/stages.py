"""Stages in the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import RunState
from services.domain.stage import STAGE_TRANSITIONS, Progress, Stage, StageError, StageState
from services.storage.engine.columns import UtcDateTime, enum_type, metadata
from services.storage.rows.runs import runs
from tailrace.formats.spec.run_spec import StageKind

stages = sa.Table(
    "stages",
    metadata,
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), primary_key=True),
    sa.Column("stage_id", sa.String(63), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("kind", enum_type(StageKind, "stage_kind", checked=False), nullable=False),
    sa.Column("pool", sa.String(63), nullable=False),
    sa.Column("state", enum_type(StageState, "stage_state"), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("progress", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("cached_from", sa.String(256), nullable=False),
    sa.Column("cache_key", sa.String(64), nullable=False),
    sa.Column("cached_run_uid", sa.String(32), nullable=False),
    sa.Column("queue_time", UtcDateTime),
    sa.Column("start_time", UtcDateTime),
    sa.Column("end_time", UtcDateTime),
    sa.Index("ix_stages_cache_key", "project", "cache_key"),
)
"""Stages, keyed by run and id; their order is ``ordinal``."""


_INSERT = stages.insert()
_OF_RUN = (
    sa.select(stages).where(stages.c.run_uid == sa.bindparam("run_uid")).order_by(stages.c.ordinal)
)
_OF_RUNS = (
    sa.select(stages)
    .where(stages.c.run_uid.in_(sa.bindparam("run_uids", expanding=True)))
    .order_by(stages.c.ordinal)
)
_WITH_KEY = (
    sa.select(stages, runs.c.run_id)
    .join(runs, runs.c.uid == stages.c.run_uid)
    .where(stages.c.project == sa.bindparam("project"))
    .where(stages.c.cache_key == sa.bindparam("cache_key"))
    .where(stages.c.state == StageState.SUCCEEDED)
    .order_by(stages.c.end_time.desc())
    .limit(sa.bindparam("most"))
)
_UPDATE = sa.update(stages).where(
    stages.c.run_uid == sa.bindparam("of_run"), stages.c.stage_id == sa.bindparam("of_stage")
)


async def add_all(conn: AsyncConnection, new: Iterable[tuple[str, Stage]]) -> None:
    """Store stages of new runs, each with its project."""
    rows = [{"project": project, **_row(stage)} for project, stage in new]
    if rows:
        await conn.execute(_INSERT, rows)


async def list_for_run(conn: AsyncConnection, run_uid: str) -> list[Stage]:
    """Return the stages of a run in order of execution."""
    rows = await conn.execute(_OF_RUN, {"run_uid": run_uid})
    return [stage_of(row) for row in rows.mappings()]


async def list_for_runs(
    conn: AsyncConnection, run_uids: list[str], states: Sequence[RunState] = ()
) -> dict[str, list[Stage]]:
    """Return the stages of several runs by run uid, in order of execution.

    ``states`` restricts the stages to runs in these states.
    """
    query = _OF_RUNS
    if states:
        query = query.join(runs, runs.c.uid == stages.c.run_uid).where(runs.c.state.in_(states))
    stages_by_run: dict[str, list[Stage]] = {uid: [] for uid in run_uids}
    for row in (await conn.execute(query, {"run_uids": run_uids})).mappings():
        stages_by_run[row["run_uid"]].append(stage_of(row))
    return stages_by_run


@dataclass(frozen=True)
class ReusableStage:
    """A stage whose result may be reused."""

    stage: Stage
    run_id: str
    """Id of the stage's run."""


async def list_by_cache_key(
    conn: AsyncConnection, project: str, key: str, limit: int
) -> list[ReusableStage]:
    """Return the stages that produced a result under a cache key, newest first."""
    parameters = {"project": project, "cache_key": key, "most": limit}
    rows = (await conn.execute(_WITH_KEY, parameters)).mappings()
    return [ReusableStage(stage_of(row), row["run_id"]) for row in rows]


async def move(conn: AsyncConnection, stage: Stage, to: StageState, **columns: Any) -> Stage:
    """Change the state of a stage whose run this transaction has locked.

    Raises:
        RuntimeError: The state machine does not allow the transition; callers must check first.
    """
    changed = dataclasses.replace(stage, state=to, **columns)
    row = _row(changed)
    values = {name: row[name] for name in ("state", *columns)}
    if (await conn.execute(_move(to), _key(stage) | values)).rowcount != 1:
        raise RuntimeError(f"stage {stage.task_id} cannot go from {stage.state} to {to}")
    return changed


async def set_progress(conn: AsyncConnection, stage: Stage, progress: Progress) -> None:
    """Store the progress of the current attempt."""
    await conn.execute(_UPDATE, _key(stage) | {"progress": dataclasses.asdict(progress)})


@cache
def _move(to: StageState) -> sa.Update:
    """Return the update to a state, from the states that it may follow."""
    allowed = [state for state, targets in STAGE_TRANSITIONS.items() if to in targets]
    return _UPDATE.where(stages.c.state.in_(allowed))


def _key(stage: Stage) -> dict[str, Any]:
    """Return the parameters of :data:`_UPDATE` for a stage."""
    return {"of_run": stage.run_uid, "of_stage": stage.stage_id}


def _row(stage: Stage) -> dict[str, Any]:
    row = {field: getattr(stage, field) for field in stage.__dataclass_fields__}
    for field in ("progress", "error"):
        row[field] = None if row[field] is None else dataclasses.asdict(row[field])
    return row


def stage_of(row: Mapping[str, Any] | sa.RowMapping) -> Stage:
    """Return the stage of a row, by column name."""
    values = {name: row[name] for name in Stage.__dataclass_fields__}
    values["progress"] = None if row["progress"] is None else Progress(**row["progress"])
    values["error"] = None if row["error"] is None else StageError(**row["error"])
    return Stage(**values)
