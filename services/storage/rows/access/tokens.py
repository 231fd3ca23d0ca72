"""API tokens in the database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.access.token import Token
from services.domain.scope import Role, Scope
from services.storage.engine.columns import UtcDateTime, metadata

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("token_id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("worker_id", sa.String(63), nullable=False, server_default=""),
    sa.Column("pools", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("expire_time", UtcDateTime),
    sa.Column("last_used_time", UtcDateTime),
    sa.Column("revoke_time", UtcDateTime),
    sa.Column("subject", sa.String(1000), nullable=False, server_default=""),
    sa.Column("parent_id", sa.String(32), nullable=False, server_default=""),
    sa.Column("roles", sa.JSON, nullable=False, server_default="{}"),
    sa.Index("ix_tokens_parent_id", "parent_id"),
)
"""API tokens, by the id in their text; the text itself is not stored. ``project`` is ``-`` for
rights in every project. Sessions have a ``subject``."""

_SELECT = sa.select(tokens)


async def add(conn: AsyncConnection, token: Token) -> None:
    """Store a new token."""
    row = {field: getattr(token, field) for field in token.__dataclass_fields__}
    row["scopes"] = [str(scope) for scope in token.scopes]
    row["pools"] = list(token.pools)
    await conn.execute(sa.insert(tokens).values(**row))


async def find(conn: AsyncConnection, token_ids: Collection[str]) -> dict[str, Token]:
    """Return the tokens that exist, by id."""
    rows = (await conn.execute(_SELECT.where(tokens.c.token_id.in_(token_ids)))).mappings()
    return {row["token_id"]: _token(row) for row in rows}


async def lock(conn: AsyncConnection, token_id: str) -> Token | None:
    """Return a token, which no other transaction changes until the end of the transaction."""
    query = _SELECT.where(tokens.c.token_id == token_id).with_for_update()
    row = (await conn.execute(query)).mappings().one_or_none()
    return None if row is None else _token(row)


async def page(
    conn: AsyncConnection, project: str | None, *, after: str, limit: int
) -> list[Token]:
    """Return a page of API tokens, of one project or of all, by id, after the id ``after``."""
    is_next = sa.and_(tokens.c.token_id > after, tokens.c.subject == "", *_of(project))
    query = _SELECT.where(is_next)
    rows = await conn.execute(query.order_by(tokens.c.token_id).limit(limit))
    return [_token(row) for row in rows.mappings()]


async def revoke(conn: AsyncConnection, token_id: str, now: datetime) -> bool:
    """Record a revocation of a token and its sessions, unless there is one.

    Returns whether one of them was in force before.
    """
    # A session that another transaction adds meanwhile must be seen below: that one holds the lock.
    await lock(conn, token_id)
    is_meant = (tokens.c.token_id == token_id) | (tokens.c.parent_id == token_id)
    is_valid = sa.and_(is_meant, tokens.c.revoke_time.is_(None))
    revoked = await conn.execute(sa.update(tokens).where(is_valid).values(revoke_time=now))
    return revoked.rowcount > 0


async def record_use(
    conn: AsyncConnection, token_ids: Collection[str], now: datetime, interval: timedelta
) -> None:
    """Record a use of tokens whose last recorded use is older than ``interval``."""
    is_due = tokens.c.last_used_time.is_(None) | (tokens.c.last_used_time < now - interval)
    used = sa.update(tokens).where(tokens.c.token_id.in_(token_ids), is_due)
    await conn.execute(used.values(last_used_time=now))


async def delete_oldest_sessions(conn: AsyncConnection, subject: str, keep: int) -> None:
    """Delete all sessions of a holder but the ``keep`` newest."""
    newest = (
        sa.select(tokens.c.token_id)
        .where(tokens.c.subject == subject)
        .order_by(tokens.c.create_time.desc(), tokens.c.token_id)
        .limit(keep)
    )
    is_surplus = sa.and_(tokens.c.subject == subject, tokens.c.token_id.not_in(newest))
    await conn.execute(sa.delete(tokens).where(is_surplus))


async def delete_sessions(conn: AsyncConnection, before: datetime) -> int:
    """Delete the sessions that expired before a time; return their number."""
    is_over = sa.and_(tokens.c.subject != "", tokens.c.expire_time < before)
    return (await conn.execute(sa.delete(tokens).where(is_over))).rowcount


def _of(project: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if project is None else [tokens.c.project == project]


def _token(row: Any) -> Token:
    values = dict(row)
    scopes = tuple(Scope(scope) for scope in values.pop("scopes"))
    roles = {project: Role(role) for project, role in values.pop("roles").items()}
    pools = tuple(values.pop("pools"))
    return Token(scopes=scopes, roles=roles, pools=pools, **values)
