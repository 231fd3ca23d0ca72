"""The database: atomic transactions, and outages as errors of the domain.

SQLite has one writer (a pool of one connection, BEGIN IMMEDIATE, WAL, synchronous=FULL) and
readers; PostgreSQL has one pool. Both dialects run the same SQLAlchemy Core statements.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import InvalidInput, Unavailable
from services.storage.engine import read_cache
from services.storage.engine.pools import postgresql_engines, sqlite_engines
from tailrace.formats.service_url import SQLITE, database_url, is_pooled

_log = structlog.get_logger(__name__)

_POOLER_HINT = (
    "a pooler such as pgbouncer shares sessions: set TAILRACE_DATABASE_STATEMENT_CACHE=false"
)


_SETTING_STATES = ("28", "3D")
"""SQLSTATE classes of a wrong login and of a database that does not exist."""


class DatabaseSettingError(ValueError):
    """The database's URL must be changed; the message gives the reason."""


class Database:
    """Transactions on one database, given by a URL of :mod:`tailrace.formats.service_url`."""

    def __init__(self, url: str, *, pool_size: int = 10, statement_cache: bool = True) -> None:
        url = database_url(url)
        self._facts: dict[Any, Any] = {}
        if url.startswith(SQLITE):
            self._writer, self._reader = sqlite_engines(url, pool_size)
        else:
            self._writer, self._reader = postgresql_engines(
                url, pool_size, statement_cache=statement_cache and not is_pooled(url)
            )

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction that commits when the block ends and rolls back when it raises.

        Raises:
            Unavailable: The database cannot be reached (DATABASE_UNAVAILABLE).
        """
        with _outage():
            async with self._writer.begin() as conn:
                read_cache.begin(conn, self._facts)
                yield conn

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Begin a read-only transaction that sees one state of the database throughout.

        Raises:
            Unavailable: The database cannot be reached (DATABASE_UNAVAILABLE).
        """
        with _outage():
            async with self._reader.connect() as conn:
                read_cache.begin(conn, self._facts)
                yield conn

    async def check(self) -> None:
        """Run an empty query.

        Raises:
            DatabaseSettingError: The server refuses the login, or the database does not exist.
            Unavailable: The database cannot be reached (DATABASE_UNAVAILABLE); the message gives
                the reason.
        """
        try:
            async with self.read() as conn:
                await conn.execute(sa.select(1))
        except Unavailable as error:
            cause = error.__cause__
            origin = getattr(cause, "orig", None) or cause
            state = str(getattr(origin, "sqlstate", None) or "")
            if state.startswith(_SETTING_STATES):
                raise DatabaseSettingError(
                    f"TAILRACE_DATABASE_URL: the database refuses the connection: {origin}"
                ) from error
            raise Unavailable(
                error.reason, f"the database of TAILRACE_DATABASE_URL cannot be reached: {origin}"
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


_OUTAGES = (
    sa.exc.DBAPIError,
    sa.exc.TimeoutError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)


@contextmanager
def _outage() -> Iterator[None]:
    """Turn the errors of an absent or overloaded database into errors of the domain."""
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        raise
    except _OUTAGES as error:
        if _is_about_data(error):
            raise InvalidInput.field(
                "(request)", "holds a value that the database cannot store"
            ) from error
        hint = {"hint": _POOLER_HINT} if "prepared statement" in str(error) else {}
        _log.warning("database unavailable", error=repr(error), **hint)
        raise Unavailable(
            "DATABASE_UNAVAILABLE", "the database cannot be reached now: try again"
        ) from error


def _is_about_data(error: Exception) -> bool:
    """Return whether the database refused a value, such as a NUL (SQLSTATE class 22).

    The driver itself refuses some values before it sends them.
    """
    cause = getattr(getattr(error, "orig", None), "__cause__", None)
    state = str(getattr(cause, "sqlstate", None) or "")
    return isinstance(error, sa.exc.DataError) or state.startswith("22") or _is_refusal(cause)


def _is_refusal(cause: BaseException | None) -> bool:
    return isinstance(cause, asyncpg.exceptions.InterfaceError) and isinstance(cause, ValueError)
