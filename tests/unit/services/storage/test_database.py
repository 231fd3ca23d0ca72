from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import Unavailable
from services.domain.worker import Worker, WorkerState
from services.storage import workers
from services.storage.database import Database, advisory_lock, insert_new, upsert
from services.storage.workers import workers as table
from tests.servers.node import free_port

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def worker(worker_id: str = "w", heartbeats: int = 0) -> Worker:
    state = WorkerState.ONLINE
    return Worker(worker_id, state, "h", ["cpu"], [], {}, {}, 1, heartbeats, MOMENT, MOMENT)


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    made = Database(empty_database_url)
    yield made
    await made.close()


async def count(conn: AsyncConnection) -> int:
    return int((await conn.execute(sa.select(sa.func.count()).select_from(table))).scalar_one())


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


async def test_times_keep_their_instant_and_microseconds(database: Database) -> None:
    local = MOMENT.astimezone(timezone(timedelta(hours=-7)))
    async with database.write() as conn:
        await upsert(conn, table, [row(register_time=local)], ("project", "worker_id"))
        seen = await workers.get(conn, "w")
        assert seen is not None
        assert seen.register_time == MOMENT
        assert seen.register_time.tzinfo is UTC
        with pytest.raises(sa.exc.StatementError, match="naive"):
            await upsert(
                conn, table, [row(register_time=datetime(2026, 1, 1))], ("project", "worker_id")
            )


def row(**changes: object) -> dict[str, object]:
    made = worker()
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    return {"project": "default", **fields, **changes}


async def test_upserts_replace_and_inserts_of_new_rows_do_not(database: Database) -> None:
    key = ("project", "worker_id")
    async with database.write() as conn:
        assert await insert_new(conn, table, row(), key)
        assert not await insert_new(conn, table, row(hostname="other"), key)
        seen = await workers.get(conn, "w")
        assert seen is not None
        assert seen.hostname == "h"
        await upsert(conn, table, [row(hostname="other"), row(worker_id="v")], key)
        await upsert(conn, table, [], key)
        seen = await workers.get(conn, "w")
        assert seen is not None
        assert seen.hostname == "other"
        assert await count(conn) == 2


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
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        others += " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await conn.execute(sa.text(others))
    # The server says so a moment after it has answered.
    await asyncio.sleep(0.5)
    for _ in range(3):
        async with database.read() as one, database.read() as other:
            assert [await count(one), await count(other)] == [0, 0]
    await database.close()


async def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database(f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/none")
    with pytest.raises(Unavailable) as error:
        async with database.write():
            pass
    assert error.value.reason == "DATABASE_UNAVAILABLE"
    await database.close()


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "mysql+aiomysql://h/d"]
)
def test_urls_that_cannot_work_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="database_url"):
        Database(url)


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
