from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tailrace.console import events
from tailrace.console.events import Event, event_response


async def _two() -> AsyncGenerator[Event, None]:
    yield Event("log", ["a\nb", "<b>"], cursor="7")
    await asyncio.sleep(0.05)
    yield Event("end")


async def test_events_carry_their_cursor_and_one_line_of_data() -> None:
    chunks = [bytes(chunk) async for chunk in event_response(_two()).body_iterator]  # type: ignore[arg-type]
    assert chunks[1] == b'event: log\nid: 7\ndata: ["a\\nb","<b>"]\n\n'
    assert chunks[-1] == b"event: end\ndata: null\n\n"


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.01)
    chunks = [chunk async for chunk in event_response(_two()).body_iterator]
    assert b": waiting\n\n" in chunks


async def test_a_stream_ends_when_its_reader_leaves() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield Event("log")
                await asyncio.sleep(60)
        finally:
            closed.set()

    response = event_response(endless())
    chunks = aiter(response.body_iterator)
    await anext(chunks)
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]
    assert closed.is_set()


def test_events_are_not_buffered_on_their_way() -> None:
    headers = event_response(_two()).headers
    assert headers["x-accel-buffering"] == "no"
    assert "no-transform" in headers["cache-control"]
