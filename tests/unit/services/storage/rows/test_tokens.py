"""Tokens and their sessions in both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from services.domain.access.token import Token
from services.storage.engine.database import Database
from services.storage.rows.access import tokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(token_id: str, **fields: str) -> Token:
    return Token(token_id, "-", "digest", "", (), NOW, **fields)  # type: ignore[arg-type]


async def test_a_session_that_is_just_made_ends_with_its_token(database: Database) -> None:
    async with database.write() as conn:
        await tokens.add(conn, new("parent"))

    async def revoke() -> None:
        async with database.write() as conn:
            await tokens.revoke(conn, "parent", NOW)

    async with database.write() as conn:
        await tokens.lock(conn, "parent")
        revocation = asyncio.create_task(revoke())
        # Long enough for the revocation to begin and wait.
        await asyncio.sleep(0.1)
        await tokens.add(conn, new("session", subject="token:parent", parent_id="parent"))
    await revocation
    async with database.read() as conn:
        stored = await tokens.find(conn, ["parent", "session"])
    assert {token.revoke_time for token in stored.values()} == {NOW}
