"""Refused calls in the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.callers import refusals
from services.callers.refusals import MOST_SOURCES, PER_SOURCE, SUPPRESSED, Refusals
from services.domain.access.audit import AuditEvent, AuditOutcome
from services.domain.caller import Caller
from services.domain.errors import Unavailable
from services.domain.scope import Scope
from services.storage.engine.columns import utc_now
from services.storage.rows.access import audit
from services.usecases.access.tokens import NewToken, store_token
from services.usecases.context import Context
from tailrace import AsyncClient, errors
from tailrace.access import Access
from tailrace.retry import RetryPolicy
from tests.unit.services.api_client import ApiClient, serving
from tests.unit.services.driver import spec
from tests.unit.services.usecases.stored_content import make_context


@pytest.fixture
async def context(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    context = make_context(sqlite_url, tmp_path / "data")
    yield context
    await context.database.close()


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(peer: str = "10.0.0.1:1") -> AuditEvent:
    return AuditEvent(
        utc_now(), "-", "", "RunService/GetRun", "", peer, "r", AuditOutcome.UNAUTHENTICATED, "X"
    )


async def stored(context: Context) -> list[AuditEvent]:
    async with context.database.read() as conn:
        page = await audit.page(conn, [], project=None, before=None, limit=1000)
    return [row.event for row in reversed(page)]


async def test_a_noisy_source_is_counted_and_hides_no_other(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 0.01)
    log = Refusals(context)
    for port in range(PER_SOURCE + 25):
        log.note(refusal(f"10.0.0.1:{port}"))
    log.note(refusal("10.0.0.2:1"))
    context.shutdown.begin()
    await log.run()
    *events, count = await stored(context)
    assert [event.peer for event in events].count("10.0.0.2:1") == 1
    assert len(events) == PER_SOURCE + 1
    assert (count.reason, count.peer, count.suppressed) == (SUPPRESSED, "10.0.0.1", 25)


async def test_a_source_starts_again_in_the_next_window(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    log = Refusals(context, clock)
    for _ in range(PER_SOURCE + 1):
        log.note(refusal())
    await log.flush()
    assert len(await stored(context)) == PER_SOURCE
    clock.now = refusals.WINDOW_SECONDS
    monkeypatch.setattr(refusals, "PER_SOURCE", 1)
    context.shutdown.begin()
    await log.run()
    log.note(refusal())
    await log.flush()
    assert [event.suppressed for event in await stored(context)] == [0] * PER_SOURCE + [1, 0]


async def test_many_sources_are_counted_together(context: Context) -> None:
    log = Refusals(context)
    for host in range(MOST_SOURCES + 7):
        log.note(refusal(f"10.0.{host}.1:1"))
    context.shutdown.begin()
    await log.run()
    events = await stored(context)
    assert len(events) == MOST_SOURCES + 1
    assert (events[-1].peer, events[-1].suppressed) == ("", 7)


async def test_refusals_wait_for_an_absent_database(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object) -> None:
        raise Unavailable("DATABASE_UNAVAILABLE", "gone")

    log = Refusals(context)
    log.note(refusal())
    with monkeypatch.context() as patch:
        patch.setattr(audit, "add_all", fail)
        with pytest.raises(Unavailable):
            await log.flush()
    await log.flush()
    await log.flush()
    assert len(await stored(context)) == 1


@pytest.fixture
async def guarded(sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with serving(
        sqlite_url, tmp_path / "data", seed=False, require_tokens=True, max_unfinished_runs=1
    ) as api:
        yield api


def client_of(api: ApiClient, text: str = "") -> AsyncClient:
    access = Access(token=(lambda: text) if text else None)
    return AsyncClient(api.plane.address, access=access, retry=RetryPolicy(attempts=1))


async def test_each_kind_of_refusal_has_an_event(guarded: ApiClient) -> None:
    context = guarded.plane.context
    texts = {}
    for scope in (Scope.READ, Scope.WRITE):
        new = NewToken(scopes=[scope])
        token, text = await store_token(context.database, Caller(), new, "default")
        texts[scope] = token.token_id, text
    wrong = "tr_abcdefghijkm_" + "A" * 43
    async with client_of(guarded) as nobody, client_of(guarded, wrong) as impostor:
        with pytest.raises(errors.Unauthenticated):
            await nobody.get_run("r")
        with pytest.raises(errors.Unauthenticated):
            await impostor.get_run("r")
    reader, read_text = texts[Scope.READ]
    writer, write_text = texts[Scope.WRITE]
    async with client_of(guarded, read_text) as client:
        with pytest.raises(errors.PermissionDenied):
            await client.cancel_run("r")
    async with client_of(guarded, write_text) as client:
        await client.seed_dataset("golden-v2")
        await client.create_run(spec(), run_id="a")
        with pytest.raises(errors.ResourceExhausted):
            await client.create_run(spec(), run_id="b")
        with pytest.raises(errors.NotFound):
            await client.get_run("nothing")
    await guarded.plane._refusals.flush()
    events = [e for e in await stored(context) if e.outcome != AuditOutcome.SUCCEEDED]
    assert [(e.actor, e.method, e.outcome, e.reason) for e in events] == [
        ("", "RunService/GetRun", "UNAUTHENTICATED", "TOKEN_MISSING"),
        ("", "RunService/GetRun", "UNAUTHENTICATED", "TOKEN_INVALID"),
        (f"token:{reader}", "RunService/CancelRun", "PERMISSION_DENIED", "SCOPE_MISSING"),
        (f"token:{writer}", "RunService/CreateRun", "RESOURCE_EXHAUSTED", "TOO_MANY_RUNS"),
    ]
    assert all(e.peer.startswith("127.0.0.1:") and e.request_id for e in events)
    log = str(await stored(context))
    assert not any(text.rpartition("_")[2] in log for text in (wrong, read_text, write_text))
