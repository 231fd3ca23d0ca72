"""Server-sent events: one stream a page, which continues after the cursor of its last event."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from tailrace.errors import TailraceError, Unavailable

COMMENT_SECONDS = 15.0
"""Longest silence of a stream: proxies end connections on which nothing is sent."""

END = "end"
"""Name of the last event of a stream that has nothing more to send."""

AWAY = "away"
"""Name of the event for a control plane that does not answer; any other event ends its absence."""

BACK = "back"
"""Name of the event for a control plane that answers again."""

RETRY_SECONDS = 1.0
"""Time between two attempts to reach the control plane."""


@dataclass(frozen=True)
class Event:
    """Event with plain data; ``static/live.js`` makes a DOM event ``live:NAME`` of it."""

    name: str
    data: Any = None
    """Plain data, sent as JSON."""
    cursor: str = ""
    """Cursor from which to continue after the event; empty leaves the previous one in force."""

    def encode(self) -> bytes:
        """Return the event in its wire form."""
        cursor = f"id: {self.cursor}\n" if self.cursor else ""
        content = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        return f"event: {self.name}\n{cursor}data: {content}\n\n".encode()


def last_cursor(request: Request) -> str:
    """Return the cursor from which a stream continues; empty for its start.

    A browser that reconnects sends that of the last event; a page that opens the stream again puts
    it into the query.
    """
    return request.headers.get("last-event-id") or request.query_params.get("cursor", "")


async def reconnecting(
    follow: Callable[[], AsyncIterator[Event]], probe: Callable[[], Awaitable[object]]
) -> AsyncGenerator[Event, None]:
    """Yield the events of a stream of the control plane, across its restarts, then :data:`END`.

    Args:
        follow: Opens the stream, after what its earlier events reported.
        probe: Raises ``Unavailable`` while the control plane is away: an open stream may have
            nothing to send.
    """
    while True:
        try:
            async for event in follow():
                yield event
            break
        except Unavailable as error:
            yield Event(AWAY, f"The control plane is away: {error.message}")
        except TailraceError:
            # The page itself, loaded again, says why.
            break
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await probe()
                break
            except Unavailable:
                continue
        yield Event(BACK)
    yield Event(END)


def event_response(events: AsyncGenerator[Event, None]) -> StreamingResponse:
    """Return the response that sends events, and comments while there are none."""
    return StreamingResponse(
        _chunks(events),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"},
    )


async def _chunks(events: AsyncGenerator[Event, None]) -> AsyncIterator[bytes]:
    # Headers are sent with the first bytes.
    yield b": open\n\n"
    upcoming: asyncio.Future[Event] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({upcoming}, timeout=COMMENT_SECONDS)
            if not done:
                yield b": waiting\n\n"
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield event.encode()
    finally:
        if upcoming is not None:
            upcoming.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await upcoming
        await events.aclose()
