from __future__ import annotations

import asyncio

from services.storage.engine.database import Database
from services.storage.engine.locks import advisory_lock
from services.storage.rows import workers
from tests.unit.services.storage.rows.rows import worker


async def test_concurrent_increments_are_not_lost(database: Database) -> None:
    async with database.write() as conn:
        await workers.register(conn, worker())

    async def increment() -> None:
        async with database.write() as conn:
            await advisory_lock(conn, "test")
            seen = await workers.get(conn, "w")
            assert seen is not None
            await asyncio.sleep(0)
            await workers.register(conn, worker(heartbeats=seen.heartbeats + 1))

    await asyncio.gather(*(increment() for _ in range(20)))
    async with database.read() as conn:
        seen = await workers.get(conn, "w")
    assert seen is not None
    assert seen.heartbeats == 20
