"""The database: engines, transactions, portable column types and statements.

SQLite has one writer engine (a pool of one connection, BEGIN IMMEDIATE, WAL, synchronous=FULL) and
a reader engine; PostgreSQL has one engine. Both dialects see the same SQLAlchemy Core statements.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import (
    AsyncIterator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from services.domain.errors import Unavailable
from services.storage import answers
from services.storage.sqlite_connection import connect

_log = structlog.get_logger(__name__)

_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("name", type_=sa.BigInteger)))
_TRY_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("name", type_=sa.BigInteger)))

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of the control plane; constraints are named so that migrations can alter them."""

DEFAULT_PROJECT = "default"
"""The project of callers without a token."""

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64-bit integer; SQLite counts up only columns declared INTEGER."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A point in time with microseconds: always aware and in UTC in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite stores text without an offset, so everything is brought to UTC first."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime names no point in time")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def enum_type(kind: type[enum.StrEnum], name: str) -> sa.Enum:
    """A column type that stores the values of ``kind`` as text, guarded by a CHECK constraint."""
    return sa.Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


def utc_now() -> datetime:
    """The time, as it is written into rows."""
    return datetime.now(UTC)


class Database:
    """Transactions on one database, given by its SQLAlchemy URL."""

    def __init__(self, url: str, *, pool_size: int = 10, statement_cache: bool = True) -> None:
        self.url = make_url(url)
        self._facts: dict[Any, Any] = {}
        if self.url.get_backend_name() == "sqlite":
            self._writer, self._reader = _sqlite_engines(url, pool_size)
        elif self.url.get_backend_name() == "postgresql":
            # A pooler between us and the server hands one session's statements to another's.
            uncached = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
            self._writer = create_async_engine(
                url,
                pool_size=pool_size,
                pool_use_lifo=True,
                connect_args={} if statement_cache else uncached,
            )
            _drop_closed_connections(self._writer)
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        else:
            raise ValueError(
                f"database_url: {self.url.drivername!r} is neither SQLite nor PostgreSQL"
            )

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises ``Unavailable`` (DATABASE_UNAVAILABLE) when the database cannot be reached.
        """
        with _outage():
            async with self._writer.begin() as conn:
                answers.begin(conn, self._facts)
                yield conn

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction that sees one state of the database throughout.

        Raises ``Unavailable`` (DATABASE_UNAVAILABLE) when the database cannot be reached.
        """
        with _outage():
            async with self._reader.connect() as conn:
                answers.begin(conn, self._facts)
                yield conn

    async def close(self) -> None:
        """Close all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


async def upsert(
    conn: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> None:
    """Insert rows; a row whose ``key`` columns exist already replaces the other columns."""
    if not rows:
        return
    statement = _dialect_insert(conn.dialect.name, table)
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in key}
    await conn.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), rows)


async def insert_new(
    conn: AsyncConnection, table: sa.Table, row: Mapping[str, Any], key: Sequence[str]
) -> bool:
    """Insert a row unless its ``key`` columns exist already; whether it was inserted."""
    statement = _dialect_insert(conn.dialect.name, table).values(**row)
    result = await conn.execute(statement.on_conflict_do_nothing(index_elements=key))
    return result.rowcount == 1


async def insert_all_new(
    conn: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    key: tuple[str, ...],
    identity: sa.Column[Any],
) -> set[Any]:
    """Insert those rows whose ``key`` columns do not exist yet; their values of ``identity``."""
    if not rows:
        return set()
    inserted = await conn.execute(_insert_new(conn.dialect.name, table, key, identity), rows)
    return set(inserted.scalars())


async def advisory_lock(conn: AsyncConnection, name: str) -> None:
    """Wait until no other transaction holds ``name``; held until the transaction ends.

    On SQLite the one writer is the lock.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(_LOCK, {"name": zlib.crc32(name.encode())})


async def try_advisory_lock(conn: AsyncConnection, name: str) -> bool:
    """As :func:`advisory_lock`, but without waiting; whether this transaction holds ``name``."""
    if conn.dialect.name != "postgresql":
        return True
    return bool(await conn.scalar(_TRY_LOCK, {"name": zlib.crc32(name.encode())}))


@contextmanager
def _outage() -> Iterator[None]:
    """Tell an absent or overloaded database from a wrong statement."""
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.DataError, sa.exc.ProgrammingError):
        raise
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, ConnectionError, TimeoutError) as error:
        _log.warning("database unavailable", error=repr(error))
        raise Unavailable(
            "DATABASE_UNAVAILABLE", "the database cannot be reached now: try again"
        ) from error


def _dialect_insert(dialect: str, table: sa.Table) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


@cache
def _insert_new(
    dialect: str, table: sa.Table, key: tuple[str, ...], identity: sa.Column[Any]
) -> sa.Executable:
    statement = _dialect_insert(dialect, table).on_conflict_do_nothing(index_elements=key)
    returning: sa.Executable = statement.returning(identity)
    return returning


def _drop_closed_connections(engine: AsyncEngine) -> None:
    """Have the pool replace connections that the server has closed, as at its restart.

    The driver knows; SQLAlchemy's ``pool_pre_ping`` would ask the server, in a transaction of its
    own: three round trips before each of ours.
    """

    @event.listens_for(engine.sync_engine, "checkout")
    def _checkout(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
        if dbapi_connection.driver_connection.is_closed():
            raise sa.exc.InvalidatePoolError


def _sqlite_engines(url: str, pool_size: int) -> tuple[AsyncEngine, AsyncEngine]:
    path = make_url(url).database
    if not path or path == ":memory:" or path.startswith("file:"):
        raise ValueError("database_url: SQLite needs a file, sqlite+aiosqlite:///PATH")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    writing = ["journal_mode=WAL", "synchronous=FULL"]
    writer = _sqlite_engine(
        url, "BEGIN IMMEDIATE", writing, pool_size=1, max_overflow=0, pool_timeout=60
    )
    reader = _sqlite_engine(url, "BEGIN", ["query_only=ON"], pool_size=pool_size)
    return writer, reader


def _sqlite_engine(url: str, begin: str, pragmas: list[str], **pool: Any) -> AsyncEngine:
    parsed = make_url(url)
    where, how = parsed.get_dialect()().create_connect_args(parsed)
    creator = partial(connect, *where, pragmas=["foreign_keys=ON", *pragmas], **how)
    engine = create_async_engine(
        url, poolclass=AsyncAdaptedQueuePool, async_creator=creator, **pool
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(dbapi_connection: Any, _record: Any) -> None:
        # The driver's own transactions begin too late: at the first write, after the reads.
        dbapi_connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
