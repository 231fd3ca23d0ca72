"""How many first stages of a pool may be out, that is, published but not yet taken by a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.stage import Stage
from services.settings import Settings
from services.storage.rows import capacity, outbox
from services.storage.rows.capacity import Capacity
from services.usecases.context import Context


def admission_limits(settings: Settings, served: Mapping[str, int]) -> dict[str, int]:
    """Per pool twice its slots, and at least the floor, as for pools that are not named."""
    return {pool: max(settings.admission_floor, 2 * count) for pool, count in served.items()}


async def admit(
    conn: AsyncConnection, context: Context, firsts: Sequence[Stage]
) -> tuple[Capacity, set[str]]:
    """The fleet as it is, and the runs of those first stages that may go out at once, by uid.

    That is so where all that is queued in the pool may be out too; otherwise they get in line.
    """
    room = context.relay_queue.room
    counts_alone = bool(firsts) and room > 0 and await outbox.lock_claims(conn)
    now = await capacity.read(conn)
    return now, _admitted(context.settings, firsts[:room], now) if counts_alone else set()


def _admitted(settings: Settings, firsts: Sequence[Stage], now: Capacity) -> set[str]:
    most = admission_limits(settings, now.served)
    queued = {**now.queued}
    admitted: set[str] = set()
    for stage in firsts:
        queued[stage.pool] = queued.get(stage.pool, 0) + 1
        if queued[stage.pool] <= most.get(stage.pool, settings.admission_floor):
            admitted.add(stage.run_uid)
    return admitted
