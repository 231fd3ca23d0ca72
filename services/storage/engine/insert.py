"""Inserts that may meet existing rows, for both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def upsert(
    conn: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> None:
    """Insert rows; where the ``key`` columns exist, replace the other columns."""
    if not rows:
        return
    statement = _dialect_insert(conn.dialect.name, table)
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in key}
    await conn.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), rows)


async def insert_new(
    conn: AsyncConnection, table: sa.Table, row: Mapping[str, Any], key: Sequence[str]
) -> bool:
    """Insert a row unless its ``key`` columns exist; return whether it was inserted."""
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
    """Insert the rows whose ``key`` columns do not exist; return their values of ``identity``."""
    if not rows:
        return set()
    inserted = await conn.execute(_insert_new(conn.dialect.name, table, key, identity), rows)
    return set(inserted.scalars())


def _dialect_insert(dialect: str, table: sa.Table) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


@cache
def _insert_new(
    dialect: str, table: sa.Table, key: tuple[str, ...], identity: sa.Column[Any]
) -> sa.Executable:
    statement = _dialect_insert(dialect, table).on_conflict_do_nothing(index_elements=key)
    returning: sa.Executable = statement.returning(identity)
    return returning
