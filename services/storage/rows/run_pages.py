"""Pages of the runs that match a filter, in order of creation, found through an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.filter import Condition, CreatedAt, LabelIs, StateIs, UidIs
from services.domain.pages import wire_size
from services.domain.run import Run
from services.storage.engine.columns import UtcDateTime
from services.storage.rows.runs import COLUMNS, run_labels, run_of, runs
from tailrace.formats.comparisons import OPERATORS

_COUNTED = 5000
"""Maximum number of runs that are counted per label to find the most selective label."""


async def page(
    conn: AsyncConnection,
    project: str,
    conditions: Sequence[Condition],
    *,
    newest_first: bool,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[tuple[int, Run]]:
    """Return runs that match all conditions, in order of creation, after the position ``after``.

    Each run comes with the size of its specs in a message.
    """
    labels = [condition for condition in conditions if isinstance(condition, LabelIs)]
    if labels:
        index_label = await _most_selective(conn, project, labels)
        query, columns = _by_label(index_label), run_labels.c
        uid: sa.ColumnElement[str] = columns.run_uid
        label_conditions = [_has(label) for label in labels if label != index_label]
    else:
        query, columns, label_conditions = sa.select(*COLUMNS), runs.c, []
        uid = columns.uid
    order: list[sa.ColumnElement[Any]] = [columns.create_time, uid]
    query = query.where(columns.project == project, *label_conditions)
    for condition in conditions:
        if isinstance(condition, StateIs):
            query = query.where(columns.state == condition.state)
        elif isinstance(condition, UidIs):
            query = query.where(uid == condition.uid)
        elif isinstance(condition, CreatedAt):
            query = query.where(OPERATORS[condition.operator](columns.create_time, condition.time))
    if after is not None:
        position = sa.tuple_(*order)
        limit_at = sa.tuple_(sa.literal(after[0], UtcDateTime()), sa.literal(after[1]))
        query = query.where(position < limit_at if newest_first else position > limit_at)
    if newest_first:
        order = [column.desc() for column in order]
    rows = (await conn.execute(query.order_by(*order).limit(limit))).mappings()
    return [(wire_size(row["spec"]) + wire_size(row["resolved_spec"]), run_of(row)) for row in rows]


def _by_label(label: LabelIs) -> sa.Select[Any]:
    """Return a query for the runs with a label, through its index."""
    carries = sa.and_(run_labels.c.name == label.name, run_labels.c.value == label.value)
    return sa.select(*COLUMNS).join(run_labels, run_labels.c.run_uid == runs.c.uid).where(carries)


def _has(label: LabelIs) -> sa.ColumnElement[bool]:
    """Return the condition that a run found by one label has another one, too."""
    other = run_labels.alias()
    return sa.exists().where(
        other.c.run_uid == run_labels.c.run_uid,
        other.c.name == label.name,
        other.c.value == label.value,
    )


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
