"""SQLite connections that switch to their thread once per statement.

aiosqlite runs each call in a thread, and SQLAlchemy makes four calls per query: it opens a cursor,
runs the statement, fetches the rows and closes the cursor. Together they took three times as long
as the statement.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Self

import aiosqlite
import tenacity

BUSY_SECONDS = 30.0
"""Seconds that a connection waits for the file's locks."""


async def connect(
    path: str, *, pragmas: Sequence[str] = (), **options: Any
) -> aiosqlite.Connection:
    """Open a database file and set pragmas; options and errors as in :func:`sqlite3.connect`."""
    connection = _Connection(lambda: _open(path, pragmas, options), iter_chunk_size=64)
    # As in SQLAlchemy: a connection that was not closed must not keep the process alive.
    connection._thread.daemon = True
    try:
        return await connection
    except sqlite3.Error:
        # The thread reports its end to the event loop, which must still run at that time.
        await asyncio.to_thread(connection._thread.join)
        raise


def _open(path: str, pragmas: Sequence[str], options: dict[str, Any]) -> sqlite3.Connection:
    connection: sqlite3.Connection = sqlite3.connect(path, **{"timeout": BUSY_SECONDS, **options})
    try:
        for pragma in pragmas:
            _while_busy()(connection.execute, f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _while_busy() -> tenacity.Retrying:
    """Return a retry policy for a file that is busy, in place of SQLite's own timeout.

    That timeout does not cover the first ``journal_mode=WAL`` of a new file: of two connections
    that read it and want its lock, one would wait forever, so SQLite returns SQLITE_BUSY at once
    (``sqlite3_busy_handler``).
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_busy),
        wait=tenacity.wait_random(0.005, 0.05),
        stop=tenacity.stop_after_delay(BUSY_SECONDS),
        reraise=True,
    )


def _busy(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


class _Connection(aiosqlite.Connection):
    def cursor(self) -> Any:
        return _Cursor(self)

    async def visit(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run a function in the connection's thread."""
        return await self._execute(lambda: work(self._conn))  # type: ignore[no-untyped-call]


class _Cursor:
    """The results of one statement, with the attributes that SQLAlchemy's adapter needs."""

    arraysize = 1

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        """Run a statement and fetch all its rows."""
        return await self._run(lambda connection: connection.execute(sql, parameters))

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> Self:
        """Run a statement once for each set of parameters."""
        return await self._run(lambda connection: connection.executemany(sql, parameters))

    async def fetchall(self) -> list[Any]:
        """Return the rows."""
        return self._rows

    async def close(self) -> None:
        """Do nothing, because the cursor is closed already."""

    async def _run(self, run: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> Self:
        def visit(connection: sqlite3.Connection) -> None:
            cursor = run(connection)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
            cursor.close()

        await self._connection.visit(visit)
        return self
