"""A worker's side of PublishEvents: batches as full as they may be, a window of them under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from tailrace.v1 import run_pb2, stage_pb2

BATCH = 1000
"""Lines of a batch: what a worker sends once lines wait (the contract's maximum)."""

WINDOW = 8
"""Batches under way without an acknowledgement, as in workers."""


def batch(token: str, first: int, size: int) -> stage_pb2.PublishEventsRequest:
    """Lines as a training writes them; their time is now."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    request = stage_pb2.PublishEventsRequest(lease_token=token, first_sequence=first)
    for number in range(first, first + size):
        record = request.events.add().log
        record.level = run_pb2.LOG_LEVEL_INFO
        record.text = (
            f"step {number:8d} loss {7.3 / number:.6f} lr 3.0e-04 grad_norm {number % 97 / 9:.4f} "
            f"tokens/s {9000 + number % 811}"
        )
        record.time.seconds, record.time.nanos = seconds, nanos
    return request


class LogStream:
    """One attempt's stream."""

    def __init__(self, stub: Any, token: str) -> None:
        self._stub = stub
        self._token = token
        self._room = asyncio.Semaphore(WINDOW)
        self.sent = 0
        self.acknowledged = 0

    async def run(self, seconds: float) -> None:
        """Send for so long, then wait until everything is acknowledged."""
        end = time.monotonic() + seconds

        async def requests() -> AsyncIterator[stage_pb2.PublishEventsRequest]:
            while time.monotonic() < end:
                await self._room.acquire()
                yield batch(self._token, self.sent + 1, BATCH)
                self.sent += BATCH

        async for answer in self._stub.PublishEvents(requests()):
            self.acknowledged = answer.acknowledged_sequence
            self._room.release()
        if self.acknowledged != self.sent:
            raise RuntimeError(f"{self.acknowledged} of {self.sent} lines were acknowledged")
