from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import NotFound
from services.storage.engine import read_cache
from services.storage.engine.database import Database
from services.storage.engine.read_cache import once_per_database, once_per_transaction


class Asked:
    """A query that records its arguments."""

    def __init__(self) -> None:
        self.so_far: list[str] = []

    async def __call__(self, conn: AsyncConnection, what: str) -> str:
        self.so_far.append(what)
        if what == "missing":
            raise NotFound("NOTHING", "there is nothing")
        return str(await conn.scalar(sa.select(sa.literal(what))))


async def test_a_question_is_asked_once_in_a_transaction(database: Database) -> None:
    question = Asked()
    for _ in range(2):
        async with database.write() as conn:
            assert [await once_per_transaction(conn, question, what) for what in "aab"] == [
                "a",
                "a",
                "b",
            ]
    assert question.so_far == ["a", "b", "a", "b"]


async def test_what_never_changes_is_asked_once_of_a_database(
    database: Database, empty_database_url: str
) -> None:
    question = Asked()
    for begin in (database.write, database.read):
        async with begin() as conn:
            assert [await once_per_database(conn, question, what) for what in "aab"] == [
                "a",
                "a",
                "b",
            ]
    assert question.so_far == ["a", "b"]
    other = Database(empty_database_url)
    async with other.read() as conn:
        assert await once_per_database(conn, question, "a") == "a"
    await other.close()
    assert question.so_far == ["a", "b", "a"]


async def test_that_nothing_is_there_is_not_kept(database: Database) -> None:
    question = Asked()
    async with database.read() as conn:
        for _ in range(2):
            with pytest.raises(NotFound):
                await once_per_database(conn, question, "missing")
    assert question.so_far == ["missing", "missing"]


async def test_what_is_kept_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_cache, "MOST", 2)
    question = Asked()
    async with database.read() as conn:
        for what in "abca":
            await once_per_database(conn, question, what)
    assert question.so_far == ["a", "b", "c", "a"]
