"""Cache of queries: per transaction, or per database where the result never changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection

Result = TypeVar("Result")

MOST = 1_000
"""Maximum number of results per database; beyond it, the cache starts empty again."""

_RESULTS, _FACTS = "results", "facts"
"""Keys under which a connection holds its caches."""


def begin(conn: AsyncConnection, facts: dict[Any, Any]) -> None:
    """Begin a transaction with an empty cache and ``facts``, the cache of its database."""
    conn.info[_RESULTS] = {}
    conn.info[_FACTS] = facts


async def once_per_transaction(
    conn: AsyncConnection, query: Callable[..., Awaitable[Result]], *arguments: Hashable
) -> Result:
    """Return the result of ``query(conn, *arguments)``, queried once per transaction.

    For queries that many callers of one transaction repeat and whose results the transaction itself
    does not change.
    """
    return await _cached(conn.info[_RESULTS], conn, query, arguments)


async def once_per_database(
    conn: AsyncConnection, query: Callable[..., Awaitable[Result]], *arguments: Hashable
) -> Result:
    """Return the result of ``query(conn, *arguments)``, queried once per database.

    For rows that never change once they are stored, such as a version. A missing row must be an
    error, because errors are not cached. Not for rows that the transaction itself has written.
    """
    facts = conn.info[_FACTS]
    if len(facts) >= MOST:
        facts.clear()
    return await _cached(facts, conn, query, arguments)


async def _cached(
    results: dict[Any, Any],
    conn: AsyncConnection,
    query: Callable[..., Awaitable[Result]],
    arguments: tuple[Hashable, ...],
) -> Result:
    key = (query, *arguments)
    if key not in results:
        results[key] = await query(conn, *arguments)
    return cast("Result", results[key])
