"""From a line's publication until it arrives at each of twenty clients that follow its run."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Event
from typing import Any

from benchmarks.load.lease import acquire, register
from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.row import Row, at_least, at_most, quantile
from benchmarks.load.rows.log_stream import batch
from benchmarks.load.scale import Scale
from benchmarks.load.spec import spec_message
from tailrace.channel import connect_aio
from tailrace.v1 import run_pb2, run_pb2_grpc, stage_pb2
from tests.servers.worker_token import WorkerStub

FOLLOWERS = 20
LINES_PER_SECOND = 10_000
GATHER_SECONDS = 0.05
"""How often the publishing client sends what has gathered, as workers do."""

SETTLE_SECONDS = 1.0
"""How long it runs before latencies count."""


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per database."""
    rows = []
    for backend in BACKENDS:
        with machine.stack(backend) as stack:
            rows.append(_measure(scale, backend, stack.address))
    return rows


def _measure(scale: Scale, backend: str, address: str) -> Row:
    seconds = SETTLE_SECONDS + 2 * scale.seconds
    run, token = asyncio.run(_lease(address))
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    # Followers in a process of their own: the publisher's pace shall not depend on their work.
    with ProcessPoolExecutor(1, context, initializer=_know, initargs=(ready,)) as pool:
        lines = int(seconds * LINES_PER_SECOND)
        following = pool.submit(_follow_all, address, run.name, lines)
        if not ready.wait(60):
            raise RuntimeError("the followers did not get the first line")
        published = asyncio.run(_publish(address, token, lines))
        latencies = following.result(seconds + 120)
    p50, p99 = (quantile(latencies, share) * 1000 for share in (0.5, 0.99))
    return Row(
        f"Publish → arrival at {FOLLOWERS} followers, {LINES_PER_SECOND:,} lines/s",
        backend,
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms",
        "",
        [
            at_most(p99, 250 * scale.slack, " ms"),
            at_least(published, 0.95 * LINES_PER_SECOND / scale.slack, " lines/s published"),
        ],
    )


async def _lease(address: str) -> tuple[run_pb2.Run, str]:
    channel = connect_aio(address)
    runs: Any = run_pb2_grpc.RunServiceStub(channel)
    stages = WorkerStub(channel)
    secret = await register(stages, "writer")
    run = await runs.CreateRun(run_pb2.CreateRunRequest(spec=spec_message()), timeout=60)
    token = await acquire(stages, "writer", secret, run)
    # Whoever has it follows; what was published before that would be late without fault.
    async for _ in stages.PublishEvents(iter([batch(token, 1, 1)])):
        pass
    await channel.close(None)
    return run, token


async def _publish(address: str, token: str, lines: int) -> float:
    """Publish lines 2 to ``lines`` at a pace; lines per second, until the last is stored."""
    channel = connect_aio(address)
    stub = WorkerStub(channel)
    started = time.monotonic()

    async def requests() -> AsyncIterator[stage_pb2.PublishEventsRequest]:
        sent = 1
        while sent < lines:
            await asyncio.sleep(GATHER_SECONDS)
            due = min(lines, int((time.monotonic() - started) * LINES_PER_SECOND))
            while sent < due:
                size = min(1000, due - sent)
                yield batch(token, sent + 1, size)
                sent += size

    async for answer in stub.PublishEvents(requests()):
        acknowledged = answer.acknowledged_sequence
    if acknowledged != lines:
        raise RuntimeError(f"{acknowledged} of {lines} lines were acknowledged")
    rate = lines / (time.monotonic() - started)
    await channel.close(None)
    return rate


_ready: Event
"""Set once all followers have the first line; known in their process."""


def _know(ready: Event) -> None:
    global _ready
    _ready = ready


def _follow_all(address: str, run: str, lines: int) -> list[float]:
    return asyncio.run(_followers(address, run, lines))


async def _followers(address: str, run: str, lines: int) -> list[float]:
    """Seconds from a line's time to its arrival, over all followers; all lines must come."""
    channel = connect_aio(address)
    stub: Any = run_pb2_grpc.RunServiceStub(channel)
    skipped = int(SETTLE_SECONDS * LINES_PER_SECOND)
    latencies: list[float] = []
    following = 0

    async def follow() -> None:
        nonlocal following
        last = 0
        async for response in stub.StreamLogs(run_pb2.StreamLogsRequest(name=run, follow=True)):
            now = time.time()
            if response.lines[0].sequence != last + 1:
                raise RuntimeError(f"line {response.lines[0].sequence} came after line {last}")
            if last == 0:
                following += 1
                if following == FOLLOWERS:
                    _ready.set()
            last = response.lines[-1].sequence
            # Lines of one batch have one time; the first and the last tell enough.
            latencies.extend(
                now - line.time.seconds - line.time.nanos / 1e9
                for line in (response.lines[0], response.lines[-1])
                if line.sequence > skipped
            )
            if last == lines:
                return

    await asyncio.gather(*(follow() for _ in range(FOLLOWERS)))
    await channel.close(None)
    return latencies
