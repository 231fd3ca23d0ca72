"""Engines: two of SQLite, which has a single writer, and one of PostgreSQL.

Each function returns a pair, the writer and the reader; the reader refuses to write.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from services.storage.engine.sqlite_connection import connect
from tailrace.formats.service_url import POSTGRESQL, SQLITE, postgresql_dsn, sqlite_path


def sqlite_engines(url: str, pool_size: int) -> tuple[AsyncEngine, AsyncEngine]:
    """Return a pool of one writing connection and a pool of ``pool_size`` reading connections."""
    path = sqlite_path(url)
    _make_private(Path(path))
    writing = ["journal_mode=WAL", "synchronous=FULL"]
    writer = _sqlite_engine(
        path, "BEGIN IMMEDIATE", writing, pool_size=1, max_overflow=0, pool_timeout=60
    )
    reader = _sqlite_engine(path, "BEGIN", ["query_only=ON"], pool_size=pool_size)
    return writer, reader


def _make_private(path: Path) -> None:
    """Create the file for its owner alone, unless it exists; log and index get the same mode.

    Files of an earlier release lose the access of other users.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file == path:
            file.touch(mode=0o600)
        with contextlib.suppress(OSError):
            file.chmod(file.stat().st_mode & ~0o007)


def _sqlite_engine(path: str, begin: str, pragmas: list[str], **pool: Any) -> AsyncEngine:
    parsed = sa.URL.create(SQLITE, database=path)
    where, how = parsed.get_dialect()().create_connect_args(parsed)
    creator = partial(connect, *where, pragmas=["foreign_keys=ON", *pragmas], **how)
    engine = create_async_engine(
        parsed, poolclass=AsyncAdaptedQueuePool, async_creator=creator, **pool
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(dbapi_connection: Any, _record: Any) -> None:
        # The driver's own transactions begin too late: at the first write, after the reads.
        dbapi_connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def postgresql_engines(
    url: str, pool_size: int, *, statement_cache: bool
) -> tuple[AsyncEngine, AsyncEngine]:
    """Return one pool as both; ``statement_cache`` must be off for poolers that share sessions."""
    # A pooler in front of the server mixes the prepared statements of its sessions.
    uncached = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    dsn, timeout = postgresql_dsn(url)
    writer = create_async_engine(
        # The driver reads libpq's options, such as sslmode, from its own URL.
        sa.URL.create(POSTGRESQL),
        pool_size=pool_size,
        pool_use_lifo=True,
        connect_args={
            "dsn": dsn,
            **({"timeout": timeout} if timeout else {}),
            **({} if statement_cache else uncached),
        },
    )
    _drop_closed_connections(writer)
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return writer, reader


def _drop_closed_connections(engine: AsyncEngine) -> None:
    """Make the pool replace connections that the server has closed, as when it restarts.

    The driver knows them. SQLAlchemy's ``pool_pre_ping`` would ask the server in a separate
    transaction, which costs three round trips before each transaction.
    """

    @event.listens_for(engine.sync_engine, "checkout")
    def _checkout(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
        if dbapi_connection.driver_connection.is_closed():
            raise sa.exc.InvalidatePoolError
