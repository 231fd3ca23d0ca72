"""Capacity of the fleet: slots and queues by pool, counted in one query."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.rows.attempts import attempts
from services.storage.rows.outbox import COUNT_BY_POOL
from services.storage.rows.workers import IS_ONLINE, workers

_POOLS = sa.cast(workers.c.pools, sa.Text)
"""A worker's list of pools as text, for grouping."""

_SERVED = (
    sa.select(
        sa.literal("served").label("what"),
        _POOLS.label("pools"),
        sa.func.sum(sa.func.json_array_length(workers.c.slots)).label("count"),
    )
    .where(IS_ONLINE)
    .group_by(_POOLS)
)
_SLOT = attempts.c.worker_id + "/" + attempts.c.slot
_BUSY = (
    sa.select(sa.literal("busy"), _POOLS, sa.func.count(_SLOT.distinct()))
    .join(workers, sa.and_(workers.c.worker_id == attempts.c.worker_id, IS_ONLINE))
    # The literal, not a parameter, lets the planner use the partial index.
    .where(sa.text("attempts.state = 'RUNNING'"))
    .group_by(_POOLS)
)
_QUEUED = COUNT_BY_POOL.with_only_columns(sa.literal("queued"), *COUNT_BY_POOL.selected_columns)
_ALL = sa.union_all(_SERVED, _BUSY, _QUEUED)


@dataclass(frozen=True)
class Capacity:
    """Slots of live workers, and queued attempts, by pool."""

    served: Mapping[str, int]
    """Number of slots."""
    busy: Mapping[str, int]
    """Number of slots that run a stage."""
    queued: Mapping[str, int]
    """Number of attempts that no worker has claimed yet."""


async def read(conn: AsyncConnection) -> Capacity:
    """Return the current slots and queues."""
    rows = [*await conn.execute(_ALL)]
    return Capacity(
        served=_by_pool((pools, count) for what, pools, count in rows if what == "served"),
        busy=_by_pool((pools, count) for what, pools, count in rows if what == "busy"),
        queued={pool: int(count) for what, pool, count in rows if what == "queued"},
    )


async def count_slots(conn: AsyncConnection) -> dict[str, int]:
    """Return the number of live workers' slots for each pool."""
    return _by_pool((pools, count) for _, pools, count in await conn.execute(_SERVED))


def _by_pool(counts: Iterable[tuple[Any, Any]]) -> dict[str, int]:
    """Return sums by pool of counts by JSON lists of pools."""
    sums: dict[str, int] = {}
    for names, count in counts:
        for pool in json.loads(names):
            sums[pool] = sums.get(pool, 0) + int(count)
    return sums
