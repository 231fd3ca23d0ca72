"""StreamLogs and StreamMetrics: read a channel of a run from a cursor, and wait for more."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller
from services.domain.cursor import Cursor, decode_cursor
from services.domain.errors import InvalidInput
from services.domain.event import Channel
from services.domain.pagination import page_size
from services.domain.run import RUN_TERMINAL, Run
from services.domain.stage import Attempt, AttemptState, Stage
from services.storage.rows import attempts, logs, runs, stages
from services.usecases.context import Context
from services.usecases.runs.watch import draining
from tailrace.formats.dispatch import TaskId

DEFAULT_LINES = 200
"""Default page size of log lines."""

CHUNKS_PER_PAGE = 16
"""Maximum number of chunks that a page of matching lines reads: about 50 ms of work."""

CHUNKS_PER_READ = 4
"""Maximum number of chunks read at a time, and so kept in memory per reader."""


@dataclass(frozen=True)
class Follow:
    """Request to follow a channel."""

    channel: Channel
    cursor: str
    """Cursor to continue from; empty for the start."""
    follow: bool
    """True to wait for more until the run is terminal."""
    stage: str = ""
    """Id of the only stage to read; empty for all."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive records of one attempt, its end, or both; followers share it."""

    stage_id: str
    attempt: int
    first_sequence: int
    """Sequence number of the first record."""
    records: list[list[Any]]
    """Plain data, see :mod:`services.domain.event`."""
    cursor: Cursor
    """Cursor after the records."""
    end: logs.Head | None = None
    """Head of the attempt's channel, once it is complete."""
    cached_from: str = ""
    """Stage whose result was reused, so that nothing ran; the attempt is then 0."""


@dataclass(frozen=True)
class LogPlace:
    """Request for a page of the log lines of one attempt."""

    stage: str
    attempt: int
    """Number of the attempt; 0 for the newest."""
    sequence: int
    """First line to consider; 0 for the start, or backwards for the end."""
    backwards: bool
    size: int
    """Page size; 0 for the default."""
    min_level: int = 0
    contains: str = ""


@dataclass(frozen=True)
class LogPage:
    """Log lines with their numbers, in ascending order."""

    lines: list[tuple[int, list[Any]]]
    next_sequence: int
    """Line at which the next page begins; 0 at the end."""
    attempt: int
    line_count: int
    cursor: Cursor
    """Place after the last stored line."""


@dataclass(frozen=True)
class _Step:
    """Outcome of one read of the store."""

    pieces: list[Piece]
    caught_up: bool
    """True if there is nothing more to read now."""
    ended: bool
    """True if the run is terminal, so that nothing more will come."""


async def follow(
    context: Context, caller: Caller, run_id: str, command: Follow
) -> AsyncIterator[Piece]:
    """Yield the records after the cursor, in order, each exactly once.

    Records always come from the store; a wake-up only says when to read it.

    Raises:
        NotFound: The run does not exist.
        InvalidInput: The cursor or the stage is not valid.
        Unavailable: The server drains (DRAINING).
    """
    cursor = decode_cursor(command.cursor)
    async with context.database.read() as conn:
        run = await runs.get(conn, caller.project, run_id)
        stage_ids = [stage.stage_id for stage in await stages.list_for_run(conn, run.uid)]
    if command.stage and command.stage not in stage_ids:
        raise InvalidInput.field(
            "stage", f"{run.name} has no stage {command.stage!r}; it has {', '.join(stage_ids)}"
        )
    with context.wakeups.subscribe(run.uid) as subscription:
        while True:
            step = await _shared_look(context, run, command, cursor)
            for piece in step.pieces:
                cursor = piece.cursor
                yield piece
            if step.caught_up and (step.ended or not command.follow):
                return
            if context.shutdown.in_progress:
                raise draining()
            if step.caught_up:
                await subscription.wait(context.settings.poll_seconds)


async def _shared_look(context: Context, run: Run, command: Follow, cursor: Cursor) -> _Step:
    """Read once for all followers at the same cursor with the same number of wake-ups."""

    async def look() -> _Step:
        async with context.database.read() as conn:
            return await _look(conn, run, command, cursor)

    wake_count = context.wakeups.wake_count(run.uid)
    key = (run.uid, wake_count, command.channel, command.stage, cursor)
    return await context.reads.read(key, look)


async def _look(conn: AsyncConnection, run: Run, command: Follow, cursor: Cursor) -> _Step:
    """Return the next pieces of one attempt, from one state of the database."""
    current = await runs.find_by_uid(conn, run.uid)
    ended = current is None or current.state in RUN_TERMINAL
    run_stages = await stages.list_for_run(conn, run.uid)
    run_attempts = await attempts.list_for_run(conn, run.uid)
    for stage in run_stages:
        if command.stage and stage.stage_id != command.stage:
            continue
        if stage.cached_from and command.channel is Channel.LOGS:
            place = Cursor(stage.ordinal)
            if place.after_attempt() > cursor:
                return _Step([_reused(stage, place)], caught_up=False, ended=ended)
            continue
        for attempt in await _attempts(conn, stage, run_attempts):
            place = Cursor(attempt.ordinal, attempt.number)
            if place.after_attempt() <= cursor:
                continue
            pieces = await _read(conn, attempt, command.channel, max(place, cursor))
            if pieces:
                return _Step(pieces, caught_up=False, ended=ended)
    return _Step([], caught_up=True, ended=ended)


async def list_lines(context: Context, caller: Caller, run_id: str, place: LogPlace) -> LogPage:
    """Return matching log lines of one attempt from a place on.

    Raises:
        NotFound: The run does not exist.
        InvalidInput: There is no such stage or attempt, or the place or size is negative.
    """
    limit = page_size(place.size, default=DEFAULT_LINES)
    if place.sequence < 0:
        raise InvalidInput.field("sequence", f"must not be negative, not {place.sequence}")
    async with context.database.read() as conn:
        run = await runs.get(conn, caller.project, run_id)
        attempt, ordinal = await _attempt(conn, run, place)
        if attempt is None:
            return LogPage([], 0, 0, 0, Cursor(ordinal))
        page = LogPage(
            [],
            0,
            attempt.number,
            attempt.log_lines,
            Cursor(attempt.ordinal, attempt.number, attempt.log_lines),
        )
        start = place.sequence or (attempt.log_lines if place.backwards else 1)
        lines, rest = await _matching(conn, attempt, place, min(start, attempt.log_lines), limit)
        return dataclasses.replace(page, lines=lines, next_sequence=rest)


async def _attempt(conn: AsyncConnection, run: Run, place: LogPlace) -> tuple[Attempt | None, int]:
    """Return the attempt of a place, if its stage has any, and the ordinal of the stage."""
    run_stages = {stage.stage_id: stage for stage in await stages.list_for_run(conn, run.uid)}
    stage = run_stages.get(place.stage)
    if stage is None:
        raise InvalidInput.field(
            "stage", f"{run.name} has no stage {place.stage!r}; it has {', '.join(run_stages)}"
        )
    tried = [
        attempt
        for attempt in await attempts.list_for_run(conn, run.uid)
        if attempt.stage_id == stage.stage_id
    ]
    if not place.attempt:
        return (tried[-1] if tried else None), stage.ordinal
    for attempt in tried:
        if attempt.number == place.attempt:
            return attempt, stage.ordinal
    raise InvalidInput.field(
        "attempt", f"stage {place.stage} has {len(tried)} attempts, but no number {place.attempt}"
    )


async def _matching(
    conn: AsyncConnection, attempt: Attempt, place: LogPlace, start: int, limit: int
) -> tuple[list[tuple[int, list[Any]]], int]:
    """Return at most ``limit`` matching lines from ``start`` on, and the place to continue."""
    task_id = TaskId(attempt.run_uid, attempt.stage_id, attempt.number)
    step = -1 if place.backwards else 1
    lines: list[tuple[int, list[Any]]] = []
    here = start
    for _ in range(CHUNKS_PER_PAGE):
        # One at a time: an unfiltered page needs only the first.
        read = logs.read_backwards if place.backwards else logs.read
        edge = here + 1 if place.backwards else here - 1
        chunks = await read(conn, task_id, Channel.LOGS, edge, 1)
        if not chunks:
            return lines[::step], 0
        numbered = list(enumerate(chunks[0].records, start=chunks[0].first_sequence))
        for number, record in numbered[::step]:
            if len(lines) == limit:
                return lines[::step], number
            if record[1] >= place.min_level and place.contains in record[2]:
                lines.append((number, record))
        here = (numbered[0] if place.backwards else numbered[-1])[0] + step
    return lines[::step], here if 1 <= here <= attempt.log_lines else 0


def _reused(stage: Stage, place: Cursor) -> Piece:
    """Return the end marker of a log that is empty because nothing ran."""
    return Piece(
        stage.stage_id,
        0,
        1,
        [],
        place.after_attempt(),
        logs.Head(0, ""),
        cached_from=stage.cached_from,
    )


async def _attempts(conn: AsyncConnection, stage: Stage, tried: list[Attempt]) -> list[Attempt]:
    """Return a stage's attempts; for a reused result those of the original, at this ordinal."""
    if not stage.cached_from:
        return [attempt for attempt in tried if attempt.stage_id == stage.stage_id]
    return [
        dataclasses.replace(attempt, ordinal=stage.ordinal)
        for attempt in await attempts.list_for_run(conn, stage.cached_run_uid)
        if attempt.stage_id == stage.stage_id
    ]


async def _read(
    conn: AsyncConnection, attempt: Attempt, channel: Channel, place: Cursor
) -> list[Piece]:
    task_id = TaskId(attempt.run_uid, attempt.stage_id, attempt.number)
    after = place.sequence
    pieces = []
    for chunk in await logs.read(conn, task_id, channel, after, CHUNKS_PER_READ):
        after = chunk.last_sequence
        cursor = Cursor(attempt.ordinal, attempt.number, after)
        pieces.append(
            Piece(attempt.stage_id, attempt.number, chunk.first_sequence, chunk.records, cursor)
        )
    head = _head(attempt, channel)
    if attempt.state is not AttemptState.RUNNING and after >= head.count:
        cursor = Cursor(attempt.ordinal, attempt.number).after_attempt()
        pieces.append(Piece(attempt.stage_id, attempt.number, after + 1, [], cursor, head))
    return pieces


def _head(attempt: Attempt, channel: Channel) -> logs.Head:
    if channel is Channel.LOGS:
        return logs.Head(attempt.log_lines, attempt.log_digest)
    return logs.Head(attempt.metric_points, attempt.metric_digest)
