from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from services.storage.engine.database import Database
from services.storage.engine.insert import upsert
from services.storage.rows import workers
from services.storage.rows.workers import workers as table
from tests.unit.services.storage.rows.rows import KEY, MOMENT, row


async def test_times_keep_their_instant_and_microseconds(database: Database) -> None:
    local = MOMENT.astimezone(timezone(timedelta(hours=-7)))
    async with database.write() as conn:
        await upsert(conn, table, [row(register_time=local)], KEY)
        seen = await workers.get(conn, "w")
        assert seen is not None
        assert seen.register_time == MOMENT
        assert seen.register_time.tzinfo is UTC
        with pytest.raises(sa.exc.StatementError, match="naive"):
            await upsert(conn, table, [row(register_time=datetime(2026, 1, 1))], KEY)
