"""Pages of the runs that match a filter, in an order of the list, found through an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.filter import (
    Condition,
    CreatedAt,
    LabelIs,
    OriginIs,
    ScoredOn,
    StateIs,
    UidIs,
)
from services.domain.pages import wire_size
from services.domain.run import Run
from services.storage.engine.columns import UtcDateTime
from services.storage.rows.evaluations import run_scores
from services.storage.rows.runs import COLUMNS, run_labels, run_of, runs
from tailrace.formats.comparisons import OPERATORS

_COUNTED = 5000
"""Maximum number of runs that are counted per label to find the most selective label."""

_PLACE = "list_place"
"""Label of the column by which a page is sorted."""


@dataclass(frozen=True)
class Order:
    """Order of a list; runs without a value are left out."""

    field: str
    """``create_time``, ``loss``, ``score`` or ``duration``."""
    descending: bool


@dataclass(frozen=True)
class Entry:
    """Run of a page."""

    size: int
    """Size of its specs in a message."""
    run: Run
    place: datetime | float
    """Value by which the page is sorted."""


@dataclass(frozen=True)
class _Source:
    """Query over the table whose index serves a filter and an order."""

    query: sa.Select[Any]
    columns: Any
    """Columns of the table, for conditions."""
    uid: sa.ColumnElement[str]
    place: sa.ColumnElement[Any]
    """Column to sort by."""


async def page(
    conn: AsyncConnection,
    project: str,
    conditions: Sequence[Condition],
    *,
    order: Order,
    after: tuple[datetime | float, str] | None,
    limit: int,
) -> list[Entry]:
    """Return runs that match all conditions, in order, after the position ``after``."""
    source = await _source(conn, project, conditions, order)
    columns, uid, place = source.columns, source.uid, source.place
    query = source.query.add_columns(place.label(_PLACE)).where(columns.project == project)
    for condition in conditions:
        if isinstance(condition, StateIs):
            query = query.where(columns.state == condition.state)
        elif isinstance(condition, UidIs):
            query = query.where(uid == condition.uid)
        elif isinstance(condition, CreatedAt):
            query = query.where(OPERATORS[condition.operator](columns.create_time, condition.time))
        elif isinstance(condition, OriginIs):
            query = query.where(runs.c[condition.field] == condition.value)
    if order.field != "create_time":
        query = query.where(place.is_not(None))
    keys: list[sa.ColumnElement[Any]] = [place, uid]
    if after is not None:
        kind = UtcDateTime() if isinstance(after[0], datetime) else sa.Float(53)
        position = sa.tuple_(*keys)
        limit_at = sa.tuple_(sa.literal(after[0], kind), sa.literal(after[1]))
        query = query.where(position < limit_at if order.descending else position > limit_at)
    if order.descending:
        keys = [key.desc() for key in keys]
    rows = (await conn.execute(query.order_by(*keys).limit(limit))).mappings()
    return [_entry(row) for row in rows]


def _entry(row: sa.RowMapping) -> Entry:
    values = {name: row[name] for name in row if name != _PLACE}
    size = wire_size(values["spec"]) + wire_size(values["resolved_spec"])
    return Entry(size, run_of(values), row[_PLACE])


async def _source(
    conn: AsyncConnection, project: str, conditions: Sequence[Condition], order: Order
) -> _Source:
    labels = [condition for condition in conditions if isinstance(condition, LabelIs)]
    scored = {c.field: c.value for c in conditions if isinstance(c, ScoredOn)}
    if order.field == "score" and "eval_set" in scored:
        query = sa.select(*COLUMNS).join(run_scores, run_scores.c.run_uid == runs.c.uid)
        query = query.where(*(run_scores.c[name] == value for name, value in scored.items()))
        query = query.where(run_scores.c.project == project, *_with_labels(runs.c.uid, labels))
        return _Source(query, runs.c, run_scores.c.run_uid, run_scores.c.score)
    if labels and order.field == "create_time":
        first = await _most_selective(conn, project, labels)
        rest = [label for label in labels if label != first]
        query = _by_label(first).where(*_with_labels(run_labels.c.run_uid, rest))
        query = query.where(*_with_score(scored))
        return _Source(query, run_labels.c, run_labels.c.run_uid, run_labels.c.create_time)
    query = sa.select(*COLUMNS).where(*_with_labels(runs.c.uid, labels), *_with_score(scored))
    return _Source(query, runs.c, runs.c.uid, runs.c[order.field])


def _by_label(label: LabelIs) -> sa.Select[Any]:
    """Return a query for the runs with a label, through its index."""
    carries = sa.and_(run_labels.c.name == label.name, run_labels.c.value == label.value)
    return sa.select(*COLUMNS).join(run_labels, run_labels.c.run_uid == runs.c.uid).where(carries)


def _with_labels(
    uid: sa.ColumnElement[str], labels: Sequence[LabelIs]
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that a run has labels."""
    conditions: list[sa.ColumnElement[bool]] = []
    for label in labels:
        other = run_labels.alias()
        carries = (other.c.name == label.name, other.c.value == label.value)
        conditions.append(sa.exists().where(other.c.run_uid == uid, *carries))
    return conditions


def _with_score(scored: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a run has a score on an eval set or by a judge."""
    if not scored:
        return []
    matches = [run_scores.c[name] == value for name, value in scored.items()]
    return [sa.exists().where(run_scores.c.run_uid == runs.c.uid, *matches)]


async def _most_selective(
    conn: AsyncConnection, project: str, labels: Sequence[LabelIs]
) -> LabelIs:
    """Return the label with the fewest runs; the count stops at :data:`_COUNTED`."""
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
