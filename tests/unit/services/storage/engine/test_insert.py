from __future__ import annotations

from services.storage.engine.database import Database
from services.storage.engine.insert import insert_new, upsert
from services.storage.rows import workers
from services.storage.rows.workers import workers as table
from tests.unit.services.storage.rows.rows import KEY, count, row


async def test_upserts_replace_and_inserts_of_new_rows_do_not(database: Database) -> None:
    async with database.write() as conn:
        assert await insert_new(conn, table, row(), KEY)
        assert not await insert_new(conn, table, row(hostname="other"), KEY)
        seen = await workers.get(conn, "w")
        assert seen is not None
        assert seen.hostname == "h"
        await upsert(conn, table, [row(hostname="other"), row(worker_id="v")], KEY)
        await upsert(conn, table, [], KEY)
        seen = await workers.get(conn, "w")
        assert seen is not None
        assert seen.hostname == "other"
        assert await count(conn) == 2
