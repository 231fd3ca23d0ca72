"""Logs of a run: a window of lines that can be anywhere in a long log, and the lines to come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tailrace.client.aio import AsyncClient
from tailrace.console.events import Event, event_response, last_cursor, reconnecting
from tailrace.console.pages.run import run_values
from tailrace.console.rendering import client, render
from tailrace.formats.stage_protocol import LogLevel
from tailrace.protomap import enum_word
from tailrace.v1 import run_pb2

WINDOW_LINES = 200
"""Lines of a page without JavaScript, and of the first view with it."""

MOST_LINES = 1000
"""Maximum number of lines of one request."""

LEVELS = [level.value for level in LogLevel]
_LEVEL = run_pb2.LogLevel.DESCRIPTOR


async def logs(request: Request) -> Response:
    """Show the end of an attempt's log, or another part of it."""
    values = await run_values(request)
    stage = request.query_params.get("stage") or _current_stage(values["run"])
    attempts = next((s.attempts for s in values["run"].stages if s.id == stage), ())
    page = await _lines(request, stage, WINDOW_LINES)
    earlier, later = _neighbours(request, page)
    return render(
        request,
        "run_logs.html",
        **values,
        stage=stage,
        attempts=[attempt.number for attempt in attempts],
        attempt=page.attempt,
        lines=[_line(line) for line in page.lines],
        line_count=page.line_count,
        cursor=page.cursor,
        levels=LEVELS,
        level=_level(request),
        contains=request.query_params.get("contains", ""),
        earlier=earlier,
        later=later,
    )


async def lines(request: Request) -> Response:
    """Return a part of an attempt's log as JSON."""
    page = await _lines(request, request.query_params.get("stage", ""), MOST_LINES)
    return JSONResponse(
        {
            "lines": [_line(line) for line in page.lines],
            "next": page.next_sequence,
            "count": page.line_count,
            "attempt": page.attempt,
            "cursor": page.cursor,
        }
    )


async def log_events(request: Request) -> Response:
    """Send new lines of a stage as they arrive."""
    plane, name = client(request), request.path_params["run"]
    follower = _Follower(
        plane,
        name,
        last_cursor(request),
        stage=request.query_params.get("stage", ""),
        min_level=_level(request),
        contains=request.query_params.get("contains", ""),
    )
    return event_response(reconnecting(follower.events, lambda: plane.get_run(name)))


class _Follower:
    """Events of a stage's log after a cursor, across reconnections."""

    def __init__(self, plane: AsyncClient, name: str, cursor: str, **filters: str) -> None:
        self._plane = plane
        self._name = name
        self._cursor = cursor
        self._filters = filters

    def events(self) -> AsyncIterator[Event]:
        """Yield the events, until the run has ended."""
        return self._events()

    async def _events(self) -> AsyncGenerator[Event, None]:
        batches = self._plane.stream_logs(
            self._name, follow=True, cursor=self._cursor, **self._filters
        )
        async for batch in batches:
            self._cursor = batch.cursor
            if batch.lines:
                lines = {"attempt": batch.attempt, "lines": [_line(line) for line in batch.lines]}
                yield Event("lines", lines, batch.cursor)


async def _lines(request: Request, stage: str, most: int) -> run_pb2.ListLogLinesResponse:
    query = request.query_params
    return await client(request).list_log_lines(
        request.path_params["run"],
        stage,
        attempt=_number(query.get("attempt")),
        sequence=_number(query.get("from")),
        backwards=query.get("direction", "back") == "back",
        page_size=min(_number(query.get("size")) or most, most),
        min_level=_level(request),
        contains=query.get("contains", ""),
    )


def _neighbours(request: Request, page: run_pb2.ListLogLinesResponse) -> tuple[str, str]:
    """Return the URLs of the parts before and after a page; empty at the ends."""
    first = page.lines[0].sequence if page.lines else 0
    last = page.lines[-1].sequence if page.lines else 0
    is_back = request.query_params.get("direction", "back") == "back"
    before = page.next_sequence if is_back else max(first - 1, 0)
    after = (last + 1 if last < page.line_count else 0) if is_back else page.next_sequence

    def url(place: int, direction: str) -> str:
        changes = {"from": place, "direction": direction, "attempt": page.attempt}
        return str(request.url.include_query_params(**changes)) if place else ""

    return url(before, "back"), url(after, "on")


def _current_stage(run: run_pb2.Run) -> str:
    """Return the stage that runs, else the last one with a log, else the first."""
    started = [stage for stage in run.stages if stage.attempts]
    busy = [stage for stage in started if stage.state == run_pb2.STAGE_STATE_RUNNING]
    logged = [stage for stage in started if any(a.log_lines for a in stage.attempts)]
    candidates = busy or logged[::-1] or list(run.stages)
    return candidates[0].id if candidates else ""


def _level(request: Request) -> str:
    level = request.query_params.get("level", "")
    # Every line is at least DEBUG.
    return level if level in LEVELS and level != LogLevel.DEBUG else ""


def _line(line: run_pb2.LogLine) -> list[Any]:
    """Return number, time of day in UTC, level and text."""
    clock = line.time.ToDatetime(UTC).strftime("%H:%M:%S")
    return [line.sequence, clock, enum_word(_LEVEL, line.level), line.text]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 16 else 0


ROUTES = [
    Route("/runs/{run}/logs", logs),
    Route("/runs/{run}/lines", lines),
    Route("/runs/{run}/logs/events", log_events),
]
