"""The history of runs: every change of state of a run or stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import Run, RunState, Transition
from services.storage.engine.columns import BigInt, UtcDateTime, metadata, utc_now

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
    sa.Column("actor", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_transitions_run", "project", "run_uid", "id"),
)
"""Every change of state of a run or stage, with the actor that caused it; ``stage_id`` is empty for
the run itself. The run's row records its creation as QUEUED, and its creator.
"""

_INSERT = transitions.insert()
_OF_RUN = (
    sa.select(
        transitions.c.time,
        transitions.c.stage_id.label("stage"),
        transitions.c.from_state,
        transitions.c.to_state,
        transitions.c.reason,
        transitions.c.actor,
    )
    .where(
        transitions.c.project == sa.bindparam("project"),
        transitions.c.run_uid == sa.bindparam("run_uid"),
    )
    .order_by(transitions.c.id)
)


@dataclass(frozen=True)
class Change:
    """A change of state."""

    stage_id: str
    """Stage id; empty for transitions of the whole run."""
    from_state: str
    to_state: str


async def record(
    conn: AsyncConnection, run: Run, changes: Sequence[Change], reason: str, actor: str
) -> None:
    """Add changes to a run's history."""
    now = utc_now()
    rows = [
        {
            "project": run.project,
            "run_uid": run.uid,
            "time": now,
            "stage_id": change.stage_id,
            "from_state": str(change.from_state),
            "to_state": str(change.to_state),
            "reason": reason[:256],
            "actor": actor,
        }
        for change in changes
    ]
    await conn.execute(_INSERT, rows)


async def list_for_run(conn: AsyncConnection, run: Run) -> list[Transition]:
    """Return the changes of a run and its stages, oldest first, from its creation."""
    rows = await conn.execute(_OF_RUN, {"project": run.project, "run_uid": run.uid})
    changes = [Transition(**row) for row in rows.mappings()]
    if changes and not changes[0].from_state:
        # Earlier releases stored the creation, too.
        return changes
    created = Transition(run.create_time, "", "", RunState.QUEUED, "created", run.creator)
    return [created, *changes]
