"""What the database answered, kept: for a transaction, or for good where it never changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection

Answer = TypeVar("Answer")

MOST = 1_000
"""Answers kept for good, by one process; more, and it begins anew."""

_ANSWERS, _FACTS = "answers", "facts"
"""Where a connection keeps them."""


def begin(conn: AsyncConnection, facts: dict[Any, Any]) -> None:
    """Begin a transaction that has been told nothing but ``facts``, its database's."""
    conn.info[_ANSWERS] = {}
    conn.info[_FACTS] = facts


async def once_per_transaction(
    conn: AsyncConnection, question: Callable[..., Awaitable[Answer]], *arguments: Hashable
) -> Answer:
    """What ``question(conn, *arguments)`` answers, asked once in this transaction.

    For what many callers who share a transaction ask alike, and what the transaction itself does
    not change.
    """
    return await _cached(conn.info[_ANSWERS], conn, question, arguments)


async def once_per_database(
    conn: AsyncConnection, question: Callable[..., Awaitable[Answer]], *arguments: Hashable
) -> Answer:
    """What ``question(conn, *arguments)`` answers, asked once of this database.

    For what never changes once it is stored, such as a version; that nothing is there is an error
    of the question's, which is not kept. Not for what the transaction itself has written.
    """
    facts = conn.info[_FACTS]
    if len(facts) >= MOST:
        facts.clear()
    return await _cached(facts, conn, question, arguments)


async def _cached(
    answers: dict[Any, Any],
    conn: AsyncConnection,
    question: Callable[..., Awaitable[Answer]],
    arguments: tuple[Hashable, ...],
) -> Answer:
    asked = (question, *arguments)
    if asked not in answers:
        answers[asked] = await question(conn, *arguments)
    return cast("Answer", answers[asked])
