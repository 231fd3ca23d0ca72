"""Runs in the database, and their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import NotFound
from services.domain.run import (
    RUN_TERMINAL,
    RUN_TRANSITIONS,
    Run,
    RunState,
    StoredSpec,
    is_run_uid,
    run_name,
)
from services.storage.engine.columns import BigInt, UtcDateTime, enum_type, metadata, utc_now
from services.storage.engine.insert import insert_all_new
from services.storage.rows import history

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
    sa.Column("creator", sa.Text, nullable=False, server_default=""),
    sa.Column("dataset", sa.String(256), nullable=False, server_default=""),
    sa.Column("model", sa.String(256), nullable=False, server_default=""),
    sa.Column("loss", sa.Float(53)),
    sa.Column("score", sa.Float(53)),
    sa.Column("duration", sa.Float(53)),
    sa.UniqueConstraint("project", "run_id"),
    sa.Index("ix_runs_create_time", "project", "create_time", "uid"),
    sa.Index("ix_runs_state", "project", "state", "create_time", "uid"),
    sa.Index("ix_runs_dataset", "project", "dataset", "create_time", "uid"),
    sa.Index("ix_runs_model", "project", "model", "create_time", "uid"),
    *(
        sa.Index(
            f"ix_runs_{name}",
            "project",
            name,
            "uid",
            sqlite_where=sa.text(f"{name} IS NOT NULL"),
            postgresql_where=sa.text(f"{name} IS NOT NULL"),
        )
        for name in ("loss", "score", "duration")
    ),
)
"""Runs. The columns from ``dataset`` on repeat what specs and results say, so that lists find and
sort runs by them. The uid identifies a row; names that owners choose are unique per project."""

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
"""Labels of the runs' specs, for filters, with the run's state and creation time: an index leads
to the newest runs with a label and state, however many other runs there are.
"""


_INSERT_LABELS = run_labels.insert()
BY_NAME = sa.and_(
    runs.c.project == sa.bindparam("project"), runs.c.run_id == sa.bindparam("run_id")
)
"""Condition for the run with the id ``run_id`` in ``project``."""
_BY_UID_OF_PROJECT = sa.and_(
    runs.c.project == sa.bindparam("project"), runs.c.uid == sa.bindparam("run_id")
)

_REPEATED = ("dataset", "model", "loss", "score", "duration")
_JSON = [column.name for column in runs.c if isinstance(column.type, sa.JSON)]
COLUMNS = [
    sa.cast(c, sa.Text).label(c.name) if c.name in _JSON else c
    for c in runs.c
    if c.name not in _REPEATED
]
"""A run's columns, with JSON as text, for :func:`run_of`: rows that are dropped are not decoded,
and the length is known.
"""

_RUN = sa.select(*COLUMNS)
_BY_UID = _RUN.where(runs.c.uid == sa.bindparam("uid"))
_LOCK_SHARED = (
    sa.select(runs.c.uid).where(runs.c.uid == sa.bindparam("uid")).with_for_update(read=True)
)
_UPDATE = sa.update(runs).where(runs.c.uid == sa.bindparam("of_uid"))
_UPDATE_LABELS = sa.update(run_labels).where(run_labels.c.run_uid == sa.bindparam("of_uid"))


async def add_all(conn: AsyncConnection, new: Sequence[tuple[Run, dict[str, str]]]) -> set[str]:
    """Store new runs with their labels; return the uids of the runs whose ids were free."""
    rows = [_row(run) for run, _ in new]
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
        await conn.execute(_INSERT_LABELS, labelled)
    return free


async def get(conn: AsyncConnection, project: str, run_id: str) -> Run:
    """Return a run by its id or uid; raise ``NotFound`` (RUN_NOT_FOUND)."""
    rows = await rows_named(conn, _RUN, project, run_id)
    return run_of(rows[0]._mapping)


async def rows_named(
    conn: AsyncConnection, query: sa.Select[Any], project: str, run_id: str
) -> list[sa.Row[Any]]:
    """Return the rows of a query over :data:`runs` for the run that an id or a uid names.

    Raises:
        NotFound: There is no such run (RUN_NOT_FOUND).
    """
    names = {"project": project, "run_id": run_id}
    rows = [*await conn.execute(query.where(BY_NAME), names)]
    if not rows and is_run_uid(run_id):
        rows = [*await conn.execute(query.where(_BY_UID_OF_PROJECT), names)]
    if not rows:
        raise not_found(run_id)
    return rows


def run_of(row: Mapping[str, Any] | sa.RowMapping) -> Run:
    """Return the run of a row of :data:`COLUMNS`, by name."""
    values = {**row, **{name: row[name] and json.loads(row[name]) for name in _JSON}}
    return Run(stored_spec=StoredSpec(values.pop("resolved_spec")), **values)


def _row(run: Run) -> dict[str, Any]:
    values = {field: getattr(run, field) for field in run.__dataclass_fields__}
    spec = values.pop("stored_spec").mapping
    return values | {"resolved_spec": spec, **origin_columns(spec)}


def origin_columns(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of a resolved spec's dataset and model, without their versions."""
    model = spec.get("model") or {}
    names = {"dataset": spec.get("dataset"), "model": model.get("preset") or model.get("source")}
    return {name: str(value or "").partition("@")[0] for name, value in names.items()}


async def record_figures(
    conn: AsyncConnection, uid: str, loss: float | None, score: float | None, duration: float | None
) -> None:
    """Store the figures by which lists sort an ended run."""
    figures = {"loss": loss, "score": score, "duration": duration}
    await conn.execute(_UPDATE, {"of_uid": uid, **figures})


def not_found(run_id: str) -> NotFound:
    """Return the error for a run that does not exist."""
    return NotFound(
        "RUN_NOT_FOUND", f"{run_name(run_id)} does not exist; `tailrace runs list` names all"
    )


async def find_by_uid(conn: AsyncConnection, uid: str) -> Run | None:
    """Return a run by its uid, or ``None``."""
    row = (await conn.execute(_BY_UID, {"uid": uid})).mappings().first()
    return None if row is None else run_of(row)


async def lock_shared(conn: AsyncConnection, uid: str) -> None:
    """Keep a run from changing until the transaction ends; other readers may do the same."""
    await conn.execute(_LOCK_SHARED, {"uid": uid})


async def move(
    conn: AsyncConnection,
    run: Run,
    to: RunState,
    reason: str,
    actor: str,
    after: history.Change | None = None,
    **columns: Any,
) -> Run:
    """Change the state, and other columns, of a run that this transaction has locked.

    ``after`` is the change of a stage that precedes it in the history.

    Raises:
        RuntimeError: The state machine does not allow the transition; callers must check first.
    """
    changes = [*([after] if after else []), history.Change("", run.state, to)]
    changed = {
        "state": to,
        "revision": run.revision + len(changes),
        "update_time": utc_now(),
        **columns,
    }
    result = await conn.execute(_move(to), {"of_uid": run.uid, **changed})
    if result.rowcount != 1:
        raise RuntimeError(f"run {run.uid} cannot go from {run.state} to {to}")
    if run.spec.get("labels"):
        await conn.execute(_UPDATE_LABELS, {"of_uid": run.uid, "state": to})
    await history.record(conn, run, changes, reason, actor)
    return replace(run, **changed)


async def touch(conn: AsyncConnection, run: Run) -> Run:
    """Increment the revision of a run that this transaction has locked."""
    changed: dict[str, Any] = {"revision": run.revision + 1, "update_time": utc_now()}
    await conn.execute(_UPDATE, {"of_uid": run.uid, **changed})
    return replace(run, **changed)


async def record_stage(
    conn: AsyncConnection, run: Run, change: history.Change, reason: str, actor: str
) -> Run:
    """Add a stage's change to the run's history and increment the run's revision."""
    await history.record(conn, run, [change], reason, actor)
    return await touch(conn, run)


async def count_by_state(conn: AsyncConnection) -> dict[RunState, int]:
    """Return the number of runs in each state, over all projects."""
    query = sa.select(runs.c.state, sa.func.count()).group_by(runs.c.state)
    return {state: int(count) for state, count in await conn.execute(query)}


async def count_unfinished(
    conn: AsyncConnection, project: str, *, label: tuple[str, str | None] | None = None
) -> int:
    """Count the runs of a project that are not terminal.

    ``label`` restricts the count to a label's value, or, with ``None`` as the value, to runs
    without the label.
    """
    name, value = label or (None, None)
    of = runs if value is None else run_labels
    query = sa.select(sa.func.count()).where(
        of.c.project == project, of.c.state.not_in(RUN_TERMINAL)
    )
    if value is not None:
        query = query.where(run_labels.c.name == name, run_labels.c.value == value)
    elif name is not None:
        labelled = sa.exists().where(run_labels.c.run_uid == runs.c.uid, run_labels.c.name == name)
        query = query.where(~labelled)
    return int(await conn.scalar(query) or 0)


@cache
def _move(to: RunState) -> sa.Update:
    """Return the update to a state, from the states that it may follow."""
    allowed = [state for state, targets in RUN_TRANSITIONS.items() if to in targets]
    return _UPDATE.where(runs.c.state.in_(allowed))
