"""How many first stages of a pool may be out, that is, published but not yet taken by a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.stage import Stage
from services.settings import Settings
from services.storage import outbox
from services.usecases.context import Context


def limits(settings: Settings, served: Mapping[str, int]) -> dict[str, int]:
    """Per pool twice its slots, and at least the floor, as for pools that are not named."""
    return {pool: max(settings.admission_floor, 2 * count) for pool, count in served.items()}


async def admit(
    conn: AsyncConnection, context: Context, firsts: Sequence[Stage], served: Mapping[str, int]
) -> set[str]:
    """The runs of those first stages that may go out at once, by uid.

    That is so where all that is queued in the pool may be out too; otherwise they get in line.
    """
    room = context.handover.room
    if not firsts or not room or not await outbox.lock_claims(conn):
        return set()
    most = limits(context.settings, served)
    queued = await outbox.depth(conn)
    admitted: set[str] = set()
    for stage in firsts[:room]:
        queued[stage.pool] = queued.get(stage.pool, 0) + 1
        if queued[stage.pool] <= most.get(stage.pool, context.settings.admission_floor):
            admitted.add(stage.run_uid)
    return admitted
