"""API tokens in the database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.scope import Scope
from services.domain.token import Token
from services.storage.engine.columns import UtcDateTime, metadata

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("token_id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("expire_time", UtcDateTime),
    sa.Column("last_used_time", UtcDateTime),
    sa.Column("revoke_time", UtcDateTime),
)
"""API tokens, by the id in their text; the text itself is not stored. ``project`` is ``-`` for
rights in every project."""

_SELECT = sa.select(tokens)


async def add(conn: AsyncConnection, token: Token) -> None:
    """Store a new token."""
    row = {field: getattr(token, field) for field in token.__dataclass_fields__}
    row["scopes"] = [str(scope) for scope in token.scopes]
    await conn.execute(sa.insert(tokens).values(**row))


async def find(conn: AsyncConnection, token_ids: Collection[str]) -> dict[str, Token]:
    """Return the tokens that exist, by id."""
    rows = (await conn.execute(_SELECT.where(tokens.c.token_id.in_(token_ids)))).mappings()
    return {row["token_id"]: _token(row) for row in rows}


async def page(conn: AsyncConnection, *, after: str, limit: int) -> list[Token]:
    """Return a page of tokens by id, after the id ``after``."""
    query = _SELECT.where(tokens.c.token_id > after).order_by(tokens.c.token_id).limit(limit)
    return [_token(row) for row in (await conn.execute(query)).mappings()]


async def revoke(conn: AsyncConnection, token_id: str, now: datetime) -> None:
    """Record a revocation, unless there is one."""
    is_valid = sa.and_(tokens.c.token_id == token_id, tokens.c.revoke_time.is_(None))
    await conn.execute(sa.update(tokens).where(is_valid).values(revoke_time=now))


async def record_use(
    conn: AsyncConnection, token_ids: Collection[str], now: datetime, interval: timedelta
) -> None:
    """Record a use of tokens whose last recorded use is older than ``interval``."""
    is_due = tokens.c.last_used_time.is_(None) | (tokens.c.last_used_time < now - interval)
    used = sa.update(tokens).where(tokens.c.token_id.in_(token_ids), is_due)
    await conn.execute(used.values(last_used_time=now))


def _token(row: Any) -> Token:
    values = dict(row)
    scopes = tuple(Scope(scope) for scope in values.pop("scopes"))
    return Token(scopes=scopes, **values)
