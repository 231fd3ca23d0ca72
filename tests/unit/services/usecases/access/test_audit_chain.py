"""The audit log in the database: its chain, whatever happens to rows, and its retention."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.domain.access.audit import chain_record, change_of
from services.storage.engine.columns import utc_now
from services.storage.rows.access import audit
from services.storage.rows.access.audit import audit_events
from services.usecases.access.audit_chain import chain_events, delete_old_events
from services.usecases.context import Context
from tailrace.formats.data.audit_chain import ChainError, Place, check_chain
from tests.unit.services.driver import CALLER
from tests.unit.services.usecases.stored_content import make_context


@pytest.fixture
async def context(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    context = make_context(empty_database_url, tmp_path / "data", audit_retention_days=30)
    yield context
    await context.database.close()


async def add(context: Context, *names: str, days_ago: int = 0) -> None:
    time = utc_now() - timedelta(days=days_ago)
    async with context.database.write() as conn:
        await audit.add_all(conn, [change_of(CALLER, name, time) for name in names])


async def chained(context: Context) -> list[str]:
    """The resources of the chained events, in the order of the chain."""
    async with context.database.read() as conn:
        page = await audit.page_of_chain(conn, after=0, limit=100)
    return [stored.event.resource for stored in page]


async def verify(context: Context) -> Place:
    async with context.database.read() as conn:
        state = await audit.chain_state(conn)
        page = await audit.page_of_chain(conn, after=0, limit=100)
    records = [
        chain_record(stored.event, stored.sequence or 0) | {"hash": stored.hash} for stored in page
    ]
    return check_chain(state.anchor, records, [state.head])


async def execute(context: Context, statement: Any) -> None:
    async with context.database.write() as conn:
        await conn.execute(statement)


async def test_events_are_chained_in_batches_and_once(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.usecases.access.audit_chain.BATCH", 2)
    await add(context, "a", "b", "c")
    assert [await chain_events(context) for _ in range(3)] == [2, 1, 0]
    assert await chained(context) == ["a", "b", "c"]
    assert (await verify(context)).sequence == 3


async def test_replicas_chain_no_event_twice(context: Context) -> None:
    await add(context, *(f"e{number}" for number in range(40)))
    counts = await asyncio.gather(*(chain_events(context) for _ in range(4)))
    assert sum(counts) == 40
    assert (await verify(context)).sequence == 40


async def test_an_event_that_commits_after_later_ones_is_not_skipped(context: Context) -> None:
    if "postgresql" not in context.settings.database_url:
        pytest.skip("SQLite has a single writer: rows commit in the order of their numbers")
    async with context.database.write() as late:
        await audit.add_all(late, [change_of(CALLER, "late", utc_now())])
        await add(context, "early")
        assert await chain_events(context) == 1
    assert await chain_events(context) == 1
    assert await chained(context) == ["early", "late"]
    async with context.database.read() as conn:
        page = await audit.page_of_chain(conn, after=0, limit=10)
    assert page[0].event_id > page[1].event_id
    await verify(context)


def _is(sequence: int) -> Any:
    return audit_events.c.sequence == sequence


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        ([sa.update(audit_events).where(_is(3)).values(actor="other")], "event 3 was changed"),
        ([sa.update(audit_events).where(_is(3)).values(outcome="X")], "event 3 was changed"),
        ([sa.delete(audit_events).where(_is(3))], "event 3 is missing"),
        (
            [sa.delete(audit_events).where(audit_events.c.sequence >= 4)],
            "events 4 to 5 are missing",
        ),
        ([sa.delete(audit_events).where(_is(1))], "event 1 is missing"),
        (
            [
                sa.update(audit_events).where(_is(3)).values(sequence=99),
                sa.update(audit_events).where(_is(4)).values(sequence=3),
                sa.update(audit_events).where(_is(99)).values(sequence=4),
            ],
            "event 3 was changed, added or moved",
        ),
    ],
)
async def test_verification_names_what_was_done_to_rows(
    context: Context, statements: list[Any], problem: str
) -> None:
    await add(context, "a", "b", "c", "d", "e")
    await chain_events(context)
    await verify(context)
    for statement in statements:
        await execute(context, statement)
    with pytest.raises(ChainError, match=problem):
        await verify(context)


async def test_a_row_that_was_inserted_into_the_chain_is_named(context: Context) -> None:
    await add(context, "a", "b")
    await chain_events(context)
    forged = dataclasses.asdict(change_of(CALLER, "forged", utc_now()))
    await execute(context, audit_events.insert().values(**forged, sequence=3, hash="0" * 64))
    with pytest.raises(ChainError, match="event 3 was changed, added or moved"):
        await verify(context)


async def test_old_events_go_and_the_rest_is_still_verified(context: Context) -> None:
    await add(context, "old", "older", days_ago=31)
    await add(context, "young", days_ago=29)
    # Not a gap: behind a young event, an old one waits.
    await add(context, "behind", days_ago=40)
    assert await delete_old_events(context) == 0, "what is not chained is kept"
    await chain_events(context)
    assert await delete_old_events(context) == 2
    assert await chained(context) == ["young", "behind"]
    await add(context, "new")
    await chain_events(context)
    assert (await verify(context)).sequence == 5
    assert await delete_old_events(context) == 0


async def test_the_log_goes_on_after_all_events_were_deleted(context: Context) -> None:
    await add(context, "old", days_ago=31)
    await chain_events(context)
    assert await delete_old_events(context) == 1
    assert (await verify(context)).sequence == 1
    await add(context, "new")
    await chain_events(context)
    assert (await verify(context)).sequence == 2
