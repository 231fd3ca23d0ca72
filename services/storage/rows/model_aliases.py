"""Aliases of model versions in the database, and the history of their moves."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.model import AliasMove
from services.storage.engine.columns import BigInt, UtcDateTime, metadata, utc_now
from services.storage.engine.insert import upsert

_KEY = ("project", "model_id", "alias")

model_aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("model_id", sa.String(63), primary_key=True),
    sa.Column("alias", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
"""The version that an alias of a model refers to now."""

model_alias_moves = sa.Table(
    "model_alias_moves",
    metadata,
    sa.Column("id", BigInt, primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("model_id", sa.String(63), nullable=False),
    sa.Column("alias", sa.String(63), nullable=False),
    sa.Column("from_version", sa.Integer, nullable=False),
    sa.Column("to_version", sa.Integer, nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Index("ix_model_alias_moves_model", "project", "model_id", "id"),
)
"""Every move of an alias; version 0 stands for no version."""


async def find(conn: AsyncConnection, project: str, model_id: str, alias: str) -> int:
    """Return the version that an alias refers to; 0 if there is no such alias."""
    query = sa.select(model_aliases.c.version).where(
        *_of(model_aliases, project, model_id), model_aliases.c.alias == alias
    )
    return int(await conn.scalar(query) or 0)


async def move(
    conn: AsyncConnection, project: str, model_id: str, alias: str, version: int
) -> bool:
    """Point an alias to a version, or remove it with version 0; the history keeps the move.

    Returns whether the alias referred to another version before.
    """
    before = await find(conn, project, model_id, alias)
    if before == version:
        return False
    key = {"project": project, "model_id": model_id, "alias": alias}
    if version:
        await upsert(conn, model_aliases, [{**key, "version": version}], _KEY)
    else:
        named = (*_of(model_aliases, project, model_id), model_aliases.c.alias == alias)
        await conn.execute(sa.delete(model_aliases).where(*named))
    change = {**key, "from_version": before, "to_version": version, "time": utc_now()}
    await conn.execute(model_alias_moves.insert(), change)
    return True


async def by_model(
    conn: AsyncConnection, project: str, model_ids: Iterable[str]
) -> dict[tuple[str, int], list[str]]:
    """Return the aliases of models by id and version, sorted."""
    query = sa.select(model_aliases).where(
        model_aliases.c.project == project, model_aliases.c.model_id.in_(set(model_ids))
    )
    aliases: dict[tuple[str, int], list[str]] = {}
    for row in await conn.execute(query.order_by(model_aliases.c.alias)):
        aliases.setdefault((row.model_id, row.version), []).append(row.alias)
    return aliases


async def list_moves(conn: AsyncConnection, project: str, model_id: str) -> list[AliasMove]:
    """Return the moves of a model's aliases, oldest first."""
    query = sa.select(model_alias_moves).where(*_of(model_alias_moves, project, model_id))
    rows = await conn.execute(query.order_by(model_alias_moves.c.id))
    return [AliasMove(r.alias, r.from_version, r.to_version, r.time) for r in rows]


def _of(table: sa.Table, project: str, model_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.project == project, table.c.model_id == model_id
