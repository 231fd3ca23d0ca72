"""Sums of what runs have used, from their stages, attempts and artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.quota import Usage, UsageGroup
from services.domain.stage import StageState
from services.storage.engine.columns import UtcDateTime
from services.storage.rows.artifacts import artifact_references, artifacts
from services.storage.rows.attempts import attempts
from services.storage.rows.runs import run_labels, runs
from services.storage.rows.stages import stages
from tailrace.formats.spec.run_spec import StageKind

_TOKENS = {
    "tokens_trained": (StageKind.TRAIN, "tokens"),
    "tokens_generated": (StageKind.INFER, "completion_tokens"),
}
"""Kinds of stages with the key of their result that counts tokens, by field of :class:`Usage`."""

_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Window:
    """Use to sum up: that of one project, or of all, from ``start`` to before ``end``."""

    project: str | None
    """Project; ``None`` for all."""
    group: UsageGroup
    """Property to sum up by."""
    label: str
    """Name of the label, for its group."""
    start: datetime
    """Begin."""
    end: datetime
    """End."""


async def read(conn: AsyncConnection, window: Window) -> list[Usage]:
    """Return the sums of a window by key."""
    sums: dict[str, Usage] = {}
    parts = {
        "slot_seconds": _slot_seconds(conn.dialect.name, window),
        **{field: _tokens(window, *source) for field, source in _TOKENS.items()},
        "stored_bytes": _stored_bytes(window),
    }
    for field, query in parts.items():
        for key, amount in await conn.execute(query):
            usage = sums.setdefault(key or "", Usage(key or ""))
            setattr(usage, field, getattr(usage, field) + (amount or 0))
    return list(sums.values())


def _slot_seconds(dialect: str, window: Window) -> sa.Select[Any]:
    a = attempts.c
    end = sa.func.coalesce(a.end_time, _moment(window.end))
    begin = sa.case((a.start_time < window.start, _moment(window.start)), else_=a.start_time)
    finish = sa.case((end > window.end, _moment(window.end)), else_=end)
    seconds = _seconds(dialect, finish) - _seconds(dialect, begin)
    query = _grouped(window, attempts, a.run_uid, sa.func.sum(seconds))
    return query.where(a.start_time < window.end, end > window.start)


def _tokens(window: Window, kind: StageKind, name: str) -> sa.Select[Any]:
    s = stages.c
    tokens = s.result[(kind.value, name)].as_integer()
    return _grouped(window, stages, s.run_uid, sa.func.sum(tokens)).where(
        s.kind == kind,
        s.state == StageState.SUCCEEDED,
        s.end_time >= window.start,
        s.end_time < window.end,
    )


def _stored_bytes(window: Window) -> sa.Select[Any]:
    """Return the query for bytes by the first reference to each artifact."""
    ref = artifact_references
    first = sa.select(sa.func.min(ref.c.id)).group_by(ref.c.project, ref.c.digest)
    if window.project is not None:
        first = first.where(ref.c.project == window.project)
    query = _grouped(window, ref, ref.c.run_uid, sa.func.sum(artifacts.c.size_bytes), artifacts)
    return query.where(
        ref.c.id.in_(first),
        ref.c.create_time >= window.start,
        ref.c.create_time < window.end,
    )


def _grouped(
    window: Window,
    table: sa.Table,
    run_uid: sa.ColumnElement[str],
    amount: sa.ColumnElement[Any],
    joined: sa.Table | None = None,
) -> sa.Select[Any]:
    """Return the query for sums of a table with a project and a run by the window's key."""
    source: sa.FromClause = table if joined is None else table.join(joined)
    key: sa.ColumnElement[str]
    if window.group is UsageGroup.PROJECT:
        key = table.c.project
    elif window.group is UsageGroup.USER:
        key = runs.c.creator
        source = source.outerjoin(runs, runs.c.uid == run_uid)
    else:
        key = run_labels.c.value
        labelled = sa.and_(run_labels.c.run_uid == run_uid, run_labels.c.name == window.label)
        source = source.outerjoin(run_labels, labelled)
    query = sa.select(key, amount).select_from(source).group_by(key)
    return query if window.project is None else query.where(table.c.project == window.project)


def _moment(time: datetime) -> sa.ColumnElement[datetime]:
    return sa.literal(time, UtcDateTime)


def _seconds(dialect: str, time: sa.ColumnElement[datetime]) -> sa.ColumnElement[float]:
    """Return a time as seconds, with fractions on both databases."""
    if dialect == "sqlite":
        return sa.func.julianday(time, type_=sa.Float) * _SECONDS_PER_DAY
    return sa.cast(sa.extract("epoch", time), sa.Float)
