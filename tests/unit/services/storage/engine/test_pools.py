from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from services.storage.engine.database import Database
from services.storage.rows import workers
from tests.unit.services.storage.rows.rows import count, worker


async def test_statements_need_not_be_cached(postgres_url: str) -> None:
    database = Database(postgres_url, statement_cache=False)
    for i in range(3):
        async with database.write() as conn:
            await workers.register(conn, worker(f"w{i}"))
            prepared = await conn.execute(sa.text("SELECT count(*) FROM pg_prepared_statements"))
            assert prepared.scalar_one() <= 1
    await database.close()


async def test_connections_that_the_server_closed_are_replaced(postgres_url: str) -> None:
    database = Database(postgres_url)
    async with database.read() as one, database.read() as other:
        await count(one)
        await count(other)
    async with database.write() as conn:
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        statement += " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await conn.execute(sa.text(statement))
    # The server closes them a moment after its response.
    await asyncio.sleep(0.5)
    for _ in range(3):
        async with database.read() as one, database.read() as other:
            assert [await count(one), await count(other)] == [0, 0]
    await database.close()


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "mysql+aiomysql://h/d"]
)
def test_urls_that_cannot_work_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite needs one|has the scheme"):
        Database(url)
