from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import sqlalchemy as sa

from services.storage.engine.database import Database
from services.storage.engine.sqlite_connection import connect


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    async with database.write() as conn:
        await conn.execute(sa.text("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"))
    yield database
    await database.close()


async def test_each_statement_is_one_visit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits, here = 0, threading.current_thread()
    queue = aiosqlite.Connection._execute

    async def counted(self: Any, *arguments: Any) -> Any:
        nonlocal visits
        # Control planes of other tests use their own databases in other threads.
        visits += threading.current_thread() is here
        return await queue(self, *arguments)  # type: ignore[no-untyped-call]

    async with database.write() as conn:
        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        await conn.execute(sa.text("INSERT INTO t VALUES (:a, 'x')"), [{"a": 1}, {"a": 2}])
        rows = await conn.execute(sa.text("SELECT a, b FROM t ORDER BY a"))
        assert [tuple(row) for row in rows] == [(1, "x"), (2, "x")]
        updated = await conn.execute(sa.text("UPDATE t SET b = 'y' WHERE a = 2 RETURNING b"))
        assert updated.scalars().all() == ["y"]
        assert (await conn.execute(sa.text("DELETE FROM t"))).rowcount == 2
        assert (await conn.execute(sa.text("SELECT a FROM t"))).first() is None
        assert visits == 5


async def test_errors_are_the_drivers_and_leave_the_connection_usable(database: Database) -> None:
    async def insert_twice() -> None:
        async with database.write() as conn:
            await conn.execute(sa.text("INSERT INTO t VALUES (1, 'x')"))
            await conn.execute(sa.text("INSERT INTO t VALUES (1, 'y')"))

    with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"):
        await insert_twice()
    async with database.read() as conn:
        assert (await conn.scalar(sa.text("SELECT count(*) FROM t"))) == 0


async def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(aiosqlite.OperationalError, match="unable to open database file"):
        await connect(str(tmp_path / "none" / "a.db"))
    # The thread that waited for the connection's thread to end belongs to the loop.
    assert threading.active_count() - before <= 1


async def test_a_new_file_is_shared_by_all_that_open_it_at_once(tmp_path: Path) -> None:
    """Return whether the first switch to WAL fails at once, because the file is locked."""
    path = str(tmp_path / "a.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE t (a INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    opening = asyncio.create_task(connect(path, pragmas=["journal_mode=WAL"]))
    await asyncio.sleep(0.2)
    assert not opening.done()
    other.execute("COMMIT")
    connection = await asyncio.wait_for(opening, timeout=10)
    async with connection.execute("PRAGMA journal_mode") as cursor:
        assert await cursor.fetchall() == [("wal",)]
    await connection.close()
    other.close()


async def test_a_wrong_pragma_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(aiosqlite.OperationalError, match="syntax error"):
        await connect(str(tmp_path / "a.db"), pragmas=["journal_mode = = WAL"])
