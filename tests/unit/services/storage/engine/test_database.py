from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.domain.errors import InvalidInput, Unavailable
from services.storage.engine.database import Database
from services.storage.rows import workers
from tests.servers.node import free_port
from tests.unit.services.storage.rows.rows import count, worker


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    async def break_off() -> None:
        async with database.write() as conn:
            await workers.register(conn, worker())
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await break_off()
    async with database.read() as conn:
        assert await count(conn) == 0


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises((sa.exc.DBAPIError, Unavailable)):
        async with database.read() as conn:
            await workers.register(conn, worker())


async def test_a_reader_sees_one_state_throughout(database: Database) -> None:
    async with database.read() as reader:
        assert await count(reader) == 0
        async with database.write() as writer:
            await workers.register(writer, worker())
        assert await count(reader) == 0
    async with database.read() as reader:
        assert await count(reader) == 1


async def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database(f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/none")
    with pytest.raises(Unavailable) as error:
        async with database.write():
            pass
    assert error.value.reason == "DATABASE_UNAVAILABLE"
    await database.close()


async def test_urls_as_providers_give_them_work(postgres_url: str) -> None:
    bare = postgres_url.replace("postgresql+asyncpg", "postgres")
    database = Database(f"{bare}?sslmode=prefer&application_name=tailrace&connect_timeout=5")
    async with database.read() as conn:
        assert await conn.scalar(sa.text("SHOW application_name")) == "tailrace"
    await database.close()
    guarded = Database(f"{bare}?sslmode=require")
    with pytest.raises(Unavailable) as error:
        async with guarded.read():
            pass
    assert "SSL" in str(error.value.__cause__)
    await guarded.close()


async def test_calls_that_are_cancelled_anywhere_leave_nothing_behind(database: Database) -> None:
    async def register(number: int) -> None:
        async with database.write() as conn:
            await workers.register(conn, worker(f"w{number}"))
            await workers.register(conn, worker(f"v{number}"))

    for number in range(60):
        task = asyncio.create_task(register(number))
        await asyncio.sleep(number * 0.0003)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.wait_for(register(1000), 10)
    async with database.read() as conn:
        seen = {w.worker_id for w in await workers.page(conn, after="", limit=1000)}
    assert {"w1000", "v1000"} <= seen
    assert {name[1:] for name in seen if name[0] == "w"} == {
        name[1:] for name in seen if name[0] == "v"
    }


async def test_a_value_that_no_database_holds_is_no_outage(postgres_url: str) -> None:
    database = Database(postgres_url)
    for value, kind in (("a\0b", sa.Text()), (10**30, sa.Integer())):
        with pytest.raises(InvalidInput, match="cannot store"):
            async with database.read() as conn:
                await conn.scalar(sa.select(sa.bindparam("value", value, kind)))
    await database.close()


def test_the_files_of_sqlite_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def use() -> None:
        database = Database(f"sqlite+aiosqlite:///{tmp_path / 'data' / 'tailrace.db'}")
        async with database.write() as conn:
            await conn.execute(sa.text("CREATE TABLE t (x INTEGER)"))
            modes = {f.name: f.stat().st_mode & 0o777 for f in (tmp_path / "data").iterdir()}
        await database.close()
        assert modes == dict.fromkeys(["tailrace.db", "tailrace.db-wal", "tailrace.db-shm"], 0o600)

    asyncio.run(use())
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    # A file of an earlier release.
    (tmp_path / "data" / "tailrace.db").chmod(0o644)
    asyncio.run(_open(tmp_path / "data" / "tailrace.db"))
    assert (tmp_path / "data" / "tailrace.db").stat().st_mode & 0o007 == 0


async def _open(path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{path}")
    async with database.read() as conn:
        await conn.scalar(sa.text("SELECT 1"))
    await database.close()
