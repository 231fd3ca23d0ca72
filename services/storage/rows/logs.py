"""The log store: log lines and metric points in compressed chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import zstandard
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.event import Channel, LogLine, MetricPoint, extend_digest
from services.storage.engine.columns import BigInt, UtcDateTime, enum_type, metadata, utc_now
from tailrace.formats.dispatch import TaskId

CHUNK_BYTES = 256 * 1024
"""Size of a chunk's records, before compression, from which the next chunk begins."""

SMALL_BYTES = 16 * 1024
"""Size of a chunk's records, before compression, below which later records join it, so that a stage
that logs a line per second does not leave a row for each.
"""

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("run_uid", sa.String(32), primary_key=True),
    sa.Column("stage_id", sa.String(63), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("channel", enum_type(Channel, "channel"), primary_key=True),
    sa.Column("last_sequence", BigInt, primary_key=True, autoincrement=False),
    sa.Column("first_sequence", BigInt, nullable=False),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(
        ["run_uid", "stage_id", "attempt"],
        ["attempts.run_uid", "attempts.stage_id", "attempts.number"],
    ),
)
"""Records ``first_sequence`` to ``last_sequence`` of an attempt's channel as JSON compressed with
zstandard, with the digest chain after the last record and the size before compression.
"""

Record = LogLine | MetricPoint


@dataclass(frozen=True)
class Head:
    """The end of a channel."""

    count: int
    """Number of stored records, which is the sequence of the last one."""
    digest: str
    """Digest chain over the records."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive records of a channel."""

    first_sequence: int
    """Sequence of the first record."""
    records: list[list[Any]]
    """Records as plain data, see :class:`services.domain.event.LogLine`."""

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record."""
        return self.first_sequence + len(self.records) - 1


async def append(
    conn: AsyncConnection,
    project: str,
    task_id: TaskId,
    channel: Channel,
    head: Head,
    records: Sequence[Record],
) -> Head:
    """Store records after ``head`` and return the new head.

    The caller must hold the run's lock and have read ``head`` under it.
    """
    if not records:
        return head
    common = {**_key(task_id, channel), "project": project, "create_time": utc_now()}
    raw, size = await _take_small_tail(conn, task_id, channel)
    rows = []
    for part, digested in _parts(records):
        head = Head(head.count + len(part), extend_digest(head.digest, digested))
        raw = raw + [record.record() for record in part]
        text = json.dumps(raw, ensure_ascii=False, separators=(",", ":"))
        row = {
            "first_sequence": head.count - len(raw) + 1,
            "last_sequence": head.count,
            "digest": head.digest,
            "size_bytes": size + sum(map(len, digested)),
            "payload": zstandard.compress(text.encode()),
        }
        rows.append(common | row)
        raw, size = [], 0
    await conn.execute(chunks.insert(), rows)
    return head


async def read(
    conn: AsyncConnection, task_id: TaskId, channel: Channel, after: int, limit: int
) -> list[Chunk]:
    """Return the next chunks, at most ``limit``, without the records up to sequence ``after``."""
    query = (
        sa.select(chunks.c.first_sequence, chunks.c.payload)
        .where(_is(task_id, channel), chunks.c.last_sequence > after)
        .order_by(chunks.c.last_sequence)
        .limit(limit)
    )
    return [_chunk(first, payload, after) for first, payload in await conn.execute(query)]


async def read_backwards(
    conn: AsyncConnection, task_id: TaskId, channel: Channel, before: int, limit: int
) -> list[Chunk]:
    """Return the chunks below sequence ``before``, at most ``limit``, the latest first.

    The first one lacks its records from ``before`` on.
    """
    query = (
        sa.select(chunks.c.first_sequence, chunks.c.payload)
        .where(_is(task_id, channel), chunks.c.first_sequence < before)
        .order_by(chunks.c.last_sequence.desc())
        .limit(limit)
    )
    rows = await conn.execute(query)
    return [
        Chunk(first, _chunk(first, payload, 0).records[: before - first]) for first, payload in rows
    ]


def _chunk(first: int, payload: bytes, after: int) -> Chunk:
    records = json.loads(zstandard.decompress(payload))
    seen = max(0, after + 1 - first)
    return Chunk(first + seen, records[seen:])


async def _take_small_tail(
    conn: AsyncConnection, task_id: TaskId, channel: Channel
) -> tuple[list[Sequence[Any]], int]:
    """Remove the channel's last chunk if it is small; return its records and their size."""
    query = (
        sa.select(chunks.c.last_sequence, chunks.c.size_bytes, chunks.c.payload)
        .where(_is(task_id, channel))
        .order_by(chunks.c.last_sequence.desc())
        .limit(1)
    )
    last = (await conn.execute(query)).mappings().first()
    if last is None or last["size_bytes"] >= SMALL_BYTES:
        return [], 0
    removed = sa.delete(chunks).where(
        _is(task_id, channel), chunks.c.last_sequence == last["last_sequence"]
    )
    await conn.execute(removed)
    return json.loads(zstandard.decompress(last["payload"])), last["size_bytes"]


def _key(task_id: TaskId, channel: Channel) -> dict[str, Any]:
    return {
        "run_uid": task_id.run_uid,
        "stage_id": task_id.stage,
        "attempt": task_id.attempt,
        "channel": channel,
    }


def _is(task_id: TaskId, channel: Channel) -> sa.ColumnElement[bool]:
    columns = _key(task_id, channel)
    return sa.and_(*(chunks.c[name] == value for name, value in columns.items()))


def _parts(records: Sequence[Record]) -> Iterator[tuple[Sequence[Record], list[bytes]]]:
    """Yield the records of each chunk with the bytes that the digest covers."""
    digested = [record.digest_input() for record in records]
    start = size = 0
    for end, covered in enumerate(digested, start=1):
        size += len(covered)
        if size >= CHUNK_BYTES or end == len(digested):
            yield records[start:end], digested[start:end]
            start, size = end, 0
