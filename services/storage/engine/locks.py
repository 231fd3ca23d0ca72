"""Named locks that the transactions of all replicas share."""

from __future__ import annotations

import zlib

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("name", type_=sa.BigInteger)))
_LOCK_SHARED = sa.select(
    sa.func.pg_advisory_xact_lock_shared(sa.bindparam("name", type_=sa.BigInteger))
)
_TRY_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("name", type_=sa.BigInteger)))


async def advisory_lock(conn: AsyncConnection, name: str) -> None:
    """Wait until no other transaction holds ``name``, and hold it until the transaction ends.

    On SQLite the single writer is the lock.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(_LOCK, {"name": zlib.crc32(name.encode())})


async def shared_advisory_lock(conn: AsyncConnection, name: str) -> None:
    """Wait until no :func:`advisory_lock` is held on ``name``, and keep others from taking one."""
    if conn.dialect.name == "postgresql":
        await conn.execute(_LOCK_SHARED, {"name": zlib.crc32(name.encode())})


async def try_advisory_lock(conn: AsyncConnection, name: str) -> bool:
    """Try :func:`advisory_lock` without waiting; return whether this transaction holds ``name``."""
    if conn.dialect.name != "postgresql":
        return True
    return bool(await conn.scalar(_TRY_LOCK, {"name": zlib.crc32(name.encode())}))
