from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.domain.errors import InvalidInput, NotFound, Unavailable
from services.domain.event import Channel
from services.storage.rows import attempts
from services.usecases.runs import follow as following
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.follow import Follow, LogPage, LogPlace, Piece, follow, list_lines
from services.usecases.runs.retry import retry_run
from services.usecases.runs.watch import watch_run
from services.usecases.stages.expire import expire_attempt
from tests.unit.services.driver import CALLER, Driver, line


async def read(driver: Driver, cursor: str = "", *, stage: str = "") -> list[Piece]:
    command = Follow(Channel.LOGS, cursor, follow=False, stage=stage)
    return [piece async for piece in follow(driver.context, CALLER, "r", command)]


def texts(pieces: list[Piece]) -> list[Any]:
    return [record[2] for piece in pieces for record in piece.records]


async def two_attempts(driver: Driver) -> None:
    """Stage train: an attempt with 3 lines that failed, one with 2 lines that runs."""
    await driver.create()
    order = await driver.start()
    await driver.publish(order, 1, line("1a"), line("1b"))
    await driver.publish(order, 3, line("1c"))
    await driver.fail(order)
    order = await driver.start()
    await driver.publish(order, 1, line("2a"), line("2b"))


async def test_reading_from_every_cursor_gives_the_rest_exactly_once(driver: Driver) -> None:
    await two_attempts(driver)
    pieces = await read(driver)
    assert texts(pieces) == ["1a", "1b", "1c", "2a", "2b"]
    ends = [(piece.attempt, piece.end.count) for piece in pieces if piece.end]
    assert ends == [(1, 3)]
    for i, piece in enumerate(pieces):
        rest = await read(driver, piece.cursor.encode())
        assert texts(rest) == texts(pieces[i + 1 :])
        assert sum(1 for p in rest if p.end) == sum(1 for p in pieces[i + 1 :] if p.end)


async def test_a_cursor_within_a_chunk_continues_there(driver: Driver) -> None:
    await two_attempts(driver)
    first = (await read(driver))[0]
    inside = type(first.cursor)(0, 1, 1)
    assert texts(await read(driver, inside.encode()))[:2] == ["1b", "1c"]


async def test_following_ends_with_the_run(driver: Driver) -> None:
    await two_attempts(driver)

    async def collect() -> list[Piece]:
        command = Follow(Channel.LOGS, "", follow=True)
        return [piece async for piece in follow(driver.context, CALLER, "r", command)]

    reader = asyncio.create_task(collect())
    await asyncio.sleep(0.05)
    order_task = (await driver.get()).stages[0].stage.task_id
    assert order_task.attempt == 2
    await cancel_run(driver.context, CALLER, "r")
    await asyncio.sleep(0.05)
    assert not reader.done()
    async with driver.context.database.read() as conn:
        seen = await attempts.get(conn, order_task)
    assert seen is not None
    await expire_attempt(driver.context, seen)
    pieces = await asyncio.wait_for(reader, 5)
    assert texts(pieces) == ["1a", "1b", "1c", "2a", "2b"]
    assert [(p.attempt, p.end.count) for p in pieces if p.end] == [(1, 3), (2, 2)]


async def test_a_retried_run_is_followed_on_from_an_old_cursor(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    await driver.publish(order, 1, line("one"))
    await driver.fail(order, retryable=False)
    last = (await read(driver))[-1]
    await retry_run(driver.context, CALLER, "r", "")
    order = await driver.start()
    await driver.publish(order, 1, line("two"))
    assert texts(await read(driver, last.cursor.encode())) == ["two"]


async def test_a_stage_filter_reads_only_that_stage(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    await driver.publish(order, 1, line("train"))
    await driver.complete(order, last_event=1)
    order = await driver.start()
    await driver.publish(order, 1, line("infer"))
    assert texts(await read(driver, stage="infer")) == ["infer"]
    with pytest.raises(InvalidInput, match="has no stage 'nap'"):
        await read(driver, stage="nap")


async def test_wrong_cursors_and_runs_are_refused(driver: Driver) -> None:
    with pytest.raises(NotFound):
        await read(driver)
    await driver.create()
    for cursor in ("x", "????", "MS4xLjE", "LTEuMS4xLjE"):
        with pytest.raises(InvalidInput, match="cursor"):
            await read(driver, cursor)


async def test_a_draining_server_ends_followers_and_watchers(driver: Driver) -> None:
    await driver.create()

    async def follow_logs() -> None:
        command = Follow(Channel.LOGS, "", follow=True)
        async for _piece in follow(driver.context, CALLER, "r", command):
            pass

    async def watch() -> None:
        async for _view in watch_run(driver.context, CALLER, "r", after_revision=0):
            pass

    tasks = [asyncio.create_task(follow_logs()), asyncio.create_task(watch())]
    await asyncio.sleep(0.1)
    driver.context.shutdown.begin()
    driver.context.wakeups.wake_all()
    for task in tasks:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(task, 5)


async def test_a_watcher_sees_changes_and_the_end(driver: Driver) -> None:
    await driver.create()
    seen: list[tuple[int, str]] = []

    async def watch() -> None:
        async for view in watch_run(driver.context, CALLER, "r", after_revision=0):
            seen.append((view.run.revision, view.run.state.value))

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    order = await driver.start()
    await asyncio.sleep(0.1)
    await driver.fail(order, retryable=False)
    await asyncio.wait_for(watcher, 5)
    run_states = [state for _revision, state in seen]
    assert run_states[0] == "QUEUED"
    assert "RUNNING" in run_states
    assert run_states[-1] == "FAILED"
    revisions = [revision for revision, _state in seen]
    assert revisions == sorted(set(revisions))
    again = watch_run(driver.context, CALLER, "r", after_revision=revisions[-1])
    assert [view async for view in again] == []


async def page(driver: Driver, **place: Any) -> LogPage:
    defaults: dict[str, Any] = {"attempt": 0, "sequence": 0, "backwards": False, "size": 0}
    return await list_lines(
        driver.context, CALLER, "r", LogPlace(**{"stage": "train", **defaults, **place})
    )


def numbers(lines: LogPage) -> list[int]:
    return [number for number, _ in lines.lines]


async def test_a_long_log_is_read_from_any_place(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.storage.rows.logs.CHUNK_BYTES", 8)
    monkeypatch.setattr("services.storage.rows.logs.SMALL_BYTES", 0)
    await driver.create()
    order = await driver.start()
    await driver.publish(order, 1, *(line(f"l{i:02}") for i in range(1, 31)))
    end = await page(driver, backwards=True, size=5)
    assert (numbers(end), end.next_sequence) == ([26, 27, 28, 29, 30], 25)
    assert (end.line_count, end.attempt) == (30, 1)
    middle = await page(driver, sequence=12, size=4)
    assert (numbers(middle), middle.next_sequence) == ([12, 13, 14, 15], 16)
    before = await page(driver, sequence=3, backwards=True)
    assert (numbers(before), before.next_sequence) == ([1, 2, 3], 0)
    matches = await page(driver, contains="5", sequence=6)
    assert (numbers(matches), matches.next_sequence) == ([15, 25], 0)
    monkeypatch.setattr(following, "CHUNKS_PER_PAGE", 2)
    rare = await page(driver, contains="l30")
    assert not rare.lines
    assert 1 < rare.next_sequence < 30
    # What comes next arrives through the stream.
    await driver.publish(order, 31, line("more"))
    assert texts(await read(driver, end.cursor.encode())) == ["more"]


async def test_a_place_that_does_not_exist_is_refused(driver: Driver) -> None:
    await two_attempts(driver)
    assert numbers(await page(driver)) == [1, 2]
    assert numbers(await page(driver, attempt=1)) == [1, 2, 3]
    assert (await page(driver, stage="judge")).line_count == 0
    for place in ({"stage": "x"}, {"attempt": 3}, {"sequence": -1}, {"size": -1}):
        with pytest.raises(InvalidInput):
            await page(driver, **place)
