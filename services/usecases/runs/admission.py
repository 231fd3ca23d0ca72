"""Admission: limits of published first stages that no worker has claimed yet, per pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.quota import Quota
from services.domain.stage import Stage
from services.settings import Settings
from services.storage.rows import capacity, outbox
from services.storage.rows.capacity import Capacity
from services.usecases.context import Context


def admission_limits(settings: Settings, served: Mapping[str, int]) -> dict[str, int]:
    """Return the limit per served pool: twice its slots, at least the floor, as for other pools."""
    return {pool: max(settings.admission_floor, 2 * count) for pool, count in served.items()}


async def admit(
    conn: AsyncConnection, context: Context, new: Sequence[tuple[str, Stage]]
) -> tuple[Capacity, set[str]]:
    """Return the capacity, and the uids of the runs whose first stage may be published at once.

    A first stage, given with its project, may if everything queued in its pool is within the limit;
    it waits its turn otherwise. Where the project's running runs are limited, a relay counts them.
    """
    limits = context.limits
    firsts = [s for project, s in new if limits.limit(project, Quota.RUNNING_RUNS) is None]
    room = context.relay_queue.room
    is_exclusive = bool(firsts) and room > 0 and await outbox.lock_claims(conn)
    now = await capacity.read(conn)
    return now, _admitted(context.settings, firsts[:room], now) if is_exclusive else set()


def _admitted(settings: Settings, firsts: Sequence[Stage], now: Capacity) -> set[str]:
    limits = admission_limits(settings, now.served)
    queued = {**now.queued}
    admitted: set[str] = set()
    for stage in firsts:
        queued[stage.pool] = queued.get(stage.pool, 0) + 1
        if queued[stage.pool] <= limits.get(stage.pool, settings.admission_floor):
            admitted.add(stage.run_uid)
    return admitted
