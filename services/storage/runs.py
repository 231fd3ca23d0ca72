"""Runs in the database, their labels and their history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import NotFound
from services.domain.filter import OPERATORS, Condition, CreatedAt, LabelIs, StateIs
from services.domain.run import RUN_TERMINAL, RUN_TRANSITIONS, Run, RunState, Transition, run_name
from services.storage.database import (
    BigInt,
    UtcDateTime,
    enum_type,
    insert_all_new,
    metadata,
    utc_now,
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("uid", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("run_id", sa.String(63), nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("resolved_spec", sa.JSON, nullable=False),
    sa.Column("state", enum_type(RunState, "run_state"), nullable=False),
    sa.Column("revision", BigInt, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("start_time", UtcDateTime),
    sa.Column("end_time", UtcDateTime),
    sa.Column("update_time", UtcDateTime, nullable=False),
    sa.Column("gates", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("project", "run_id"),
    sa.Index("ix_runs_create_time", "project", "create_time", "uid"),
    sa.Index("ix_runs_state", "project", "state", "create_time", "uid"),
)
"""Runs. The uid is the row's identity, made by us; all that an owner can name is per project."""

run_labels = sa.Table(
    "run_labels",
    metadata,
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("value", sa.String(256), nullable=False),
    sa.Column("state", enum_type(RunState, "run_label_state"), nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Index("ix_run_labels_newest", "project", "name", "value", "create_time", "run_uid"),
    sa.Index("ix_run_labels_state", "project", "name", "value", "state", "create_time", "run_uid"),
)
"""Labels of the runs' specs, again, to filter by; with the run's state and time, so that an index
leads to the newest runs of a label in a state, however many others there are.
"""

transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("id", BigInt, primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("stage_id", sa.String(63), nullable=False),
    sa.Column("from_state", sa.String(32), nullable=False),
    sa.Column("to_state", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(256), nullable=False),
    sa.Index("ix_transitions_run", "project", "run_uid", "id"),
)
"""Every change of state of a run or stage; ``stage_id`` is empty for the run itself."""

_COUNTED = 5000
"""Runs of a label that are counted to find the most selective one."""


async def add_all(conn: AsyncConnection, new: Sequence[tuple[Run, dict[str, str]]]) -> set[str]:
    """Store new runs with their labels; the uids of those whose ids were free."""
    rows = [{field: getattr(run, field) for field in run.__dataclass_fields__} for run, _ in new]
    free = await insert_all_new(conn, runs, rows, ("project", "run_id"), runs.c.uid)
    stored = [(run, labels) for run, labels in new if run.uid in free]
    labelled = [
        {
            "run_uid": run.uid,
            "name": name,
            "project": run.project,
            "value": value,
            "state": run.state,
            "create_time": run.create_time,
        }
        for run, labels in stored
        for name, value in labels.items()
    ]
    if labelled:
        await conn.execute(run_labels.insert(), labelled)
    if stored:
        made = [_transition(run, StageChange("", "", run.state), "created") for run, _ in stored]
        await conn.execute(transitions.insert(), made)
    return free


async def get(conn: AsyncConnection, project: str, run_id: str) -> Run:
    """A run by its id. Raises ``NotFound`` (RUN_NOT_FOUND)."""
    query = sa.select(runs).where(runs.c.project == project, runs.c.run_id == run_id)
    row = (await conn.execute(query)).mappings().first()
    if row is None:
        raise NotFound("RUN_NOT_FOUND", f"{run_name(run_id)} does not exist")
    return Run(**row)


async def by_uid(conn: AsyncConnection, uid: str, *, lock: bool = False) -> Run | None:
    """A run by its uid; with ``lock`` nobody else changes it until the transaction ends."""
    query = sa.select(runs).where(runs.c.uid == uid)
    # SQLite leaves FOR UPDATE out: its one writer is the lock.
    row = (await conn.execute(query.with_for_update() if lock else query)).mappings().first()
    return None if row is None else Run(**row)


@dataclass(frozen=True)
class StageChange:
    """A stage's change of state, for the run's history."""

    stage_id: str
    from_state: str
    to_state: str


async def move(
    conn: AsyncConnection,
    run: Run,
    to: RunState,
    reason: str,
    after: StageChange | None = None,
    **columns: Any,
) -> Run:
    """Change the state of a run that this transaction has locked; other columns along with it.

    ``after`` is the change of a stage that goes before it. Raises ``RuntimeError`` when the state
    machine does not allow the run's: callers look first.
    """
    allowed = [state for state, targets in RUN_TRANSITIONS.items() if to in targets]
    changes = [*([after] if after else []), StageChange("", run.state, to)]
    changed = {
        "state": to,
        "revision": run.revision + len(changes),
        "update_time": utc_now(),
        **columns,
    }
    statement = sa.update(runs).where(runs.c.uid == run.uid, runs.c.state.in_(allowed))
    result = await conn.execute(statement.values(**changed))
    if result.rowcount != 1:
        raise RuntimeError(f"run {run.uid} cannot go from {run.state} to {to}")
    if run.spec.get("labels"):
        labels = sa.update(run_labels).where(run_labels.c.run_uid == run.uid)
        await conn.execute(labels.values(state=to))
    await _record(conn, run, reason, changes)
    return replace(run, **changed)


async def touch(conn: AsyncConnection, run: Run) -> Run:
    """Raise the revision of a run that this transaction has locked."""
    changed: dict[str, Any] = {"revision": run.revision + 1, "update_time": utc_now()}
    await conn.execute(sa.update(runs).where(runs.c.uid == run.uid).values(**changed))
    return replace(run, **changed)


async def record_stage(conn: AsyncConnection, run: Run, change: StageChange, reason: str) -> Run:
    """Write a stage's change into the run's history and raise the run's revision."""
    await _record(conn, run, reason, [change])
    return await touch(conn, run)


async def history(conn: AsyncConnection, run: Run) -> list[Transition]:
    """Every change of the run and its stages, oldest first."""
    t = transitions.c
    query = (
        sa.select(t.time, t.stage_id.label("stage"), t.from_state, t.to_state, t.reason)
        .where(t.project == run.project, t.run_uid == run.uid)
        .order_by(t.id)
    )
    return [Transition(**row) for row in (await conn.execute(query)).mappings()]


async def page(
    conn: AsyncConnection,
    project: str,
    conditions: Sequence[Condition],
    *,
    newest_first: bool,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Run]:
    """Runs in order of creation that fulfil all conditions, after the one at ``after``."""
    labels = [condition for condition in conditions if isinstance(condition, LabelIs)]
    if labels:
        led = await _most_selective(conn, project, labels)
        query, columns = _by_label(led), run_labels.c
        order: list[sa.ColumnElement[Any]] = [columns.create_time, columns.run_uid]
        others = [_has(label) for label in labels if label != led]
    else:
        query, columns, others = sa.select(runs), runs.c, []
        order = [columns.create_time, columns.uid]
    query = query.where(columns.project == project, *others)
    for condition in conditions:
        if isinstance(condition, StateIs):
            query = query.where(columns.state == condition.state)
        elif isinstance(condition, CreatedAt):
            query = query.where(OPERATORS[condition.operator](columns.create_time, condition.time))
    if after is not None:
        position = sa.tuple_(*order)
        limit_at = sa.tuple_(sa.literal(after[0], UtcDateTime()), sa.literal(after[1]))
        query = query.where(position < limit_at if newest_first else position > limit_at)
    if newest_first:
        order = [column.desc() for column in order]
    rows = (await conn.execute(query.order_by(*order).limit(limit))).mappings()
    return [Run(**row) for row in rows]


async def count_by_state(conn: AsyncConnection) -> dict[RunState, int]:
    """How many runs are in each state, all projects together."""
    query = sa.select(runs.c.state, sa.func.count()).group_by(runs.c.state)
    return {state: int(count) for state, count in await conn.execute(query)}


async def count_unfinished(
    conn: AsyncConnection, project: str, *, label: tuple[str, str] | None = None
) -> int:
    """How many runs of a project are not terminal; only those with a label where given."""
    of = runs if label is None else run_labels
    query = sa.select(sa.func.count()).where(
        of.c.project == project, of.c.state.not_in(RUN_TERMINAL)
    )
    if label is not None:
        query = query.where(run_labels.c.name == label[0], run_labels.c.value == label[1])
    return int(await conn.scalar(query) or 0)


async def _record(
    conn: AsyncConnection, run: Run, reason: str, changes: Sequence[StageChange]
) -> None:
    rows = [_transition(run, change, reason) for change in changes]
    await conn.execute(transitions.insert(), rows)


def _transition(run: Run, change: StageChange, reason: str) -> dict[str, Any]:
    return {
        "project": run.project,
        "run_uid": run.uid,
        "time": utc_now(),
        "stage_id": change.stage_id,
        "from_state": str(change.from_state),
        "to_state": str(change.to_state),
        "reason": reason[:256],
    }


def _by_label(label: LabelIs) -> sa.Select[Any]:
    """The runs that carry a label, found through its index."""
    carries = sa.and_(run_labels.c.name == label.name, run_labels.c.value == label.value)
    return sa.select(runs).join(run_labels, run_labels.c.run_uid == runs.c.uid).where(carries)


def _has(label: LabelIs) -> sa.ColumnElement[bool]:
    """Whether a run that was found through one label carries another as well."""
    other = run_labels.alias()
    return sa.exists().where(
        other.c.run_uid == run_labels.c.run_uid,
        other.c.name == label.name,
        other.c.value == label.value,
    )


async def _most_selective(
    conn: AsyncConnection, project: str, labels: Sequence[LabelIs]
) -> LabelIs:
    """Of several labels the one that the fewest runs carry; counting ends at a few thousand."""
    if len(labels) == 1:
        return labels[0]
    counts = []
    for label in labels:
        some = (
            sa.select(sa.literal(1))
            .where(run_labels.c.project == project)
            .where(run_labels.c.name == label.name, run_labels.c.value == label.value)
            .limit(_COUNTED)
            .subquery()
        )
        query = sa.select(sa.func.count()).select_from(some)
        counts.append(int((await conn.execute(query)).scalar_one()))
    return labels[counts.index(min(counts))]
