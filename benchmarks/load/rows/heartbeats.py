"""A fleet of simulated workers and a long queue: what the control plane's own process costs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.load.lease import acquire, register
from benchmarks.load.machine import BACKENDS, Machine, server_process
from benchmarks.load.row import Row, at_most
from benchmarks.load.scale import Scale
from benchmarks.load.spec import spec_message
from tailrace.channel import connect_aio
from tailrace.v1 import run_pb2, run_pb2_grpc, stage_pb2
from tests.servers.worker_token import WorkerStub

BEAT_SECONDS = 10.0
LEASED = 0.5
"""Share of the workers that hold a lease; the others are idle."""

FLAT_MIB = 16.0
"""Growth of resident memory, in MiB, that still counts as flat."""

QUEUED = {"train": {"pool": "busy"}}
"""Where the queued runs wait: nobody serves that pool."""

AT_ONCE = 32
"""Calls under way while the database is filled."""


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per database."""
    return [_row(machine, scale, backend) for backend in BACKENDS]


def _row(machine: Machine, scale: Scale, backend: str) -> Row:
    cost = fleet_cost(machine, backend, scale.workers, scale.queued_runs, scale.watch_seconds)
    return Row(
        f"{scale.workers:,} workers beating every {BEAT_SECONDS:g} s, {scale.queued_runs:,} queued "
        f"runs, {scale.watch_seconds:,.0f} s",
        backend,
        f"{cost.share:.0%} of a core, {cost.resident:.0f} MiB, {cost.growth:+.1f} MiB in the "
        f"second half, {cost.beats:.0f} beats/s",
        "",
        [
            at_most(cost.share * 100, min(95.0, 50 * scale.slack), "% of a core"),
            at_most(cost.growth, FLAT_MIB * scale.slack, " MiB growth"),
        ],
    )


@dataclass(frozen=True)
class Cost:
    """What the control plane's process used."""

    share: float
    """CPU, as a share of one core."""
    growth: float
    """Resident memory gained over the second half, in MiB."""
    resident: float
    """Resident memory at the end, in MiB."""
    beats: float
    """Heartbeats answered, per second."""


def fleet_cost(machine: Machine, backend: str, workers: int, queued: int, seconds: float) -> Cost:
    """Watch a control plane with so many workers and queued runs."""
    with machine.stack(backend, lease_seconds="120") as stack:
        process = server_process(stack)
        return asyncio.run(_watch(stack.address, process, workers, queued, seconds))


async def _watch(
    address: str, process: psutil.Process, workers: int, queued: int, seconds: float
) -> Cost:
    channel = connect_aio(address)
    runs: Any = run_pb2_grpc.RunServiceStub(channel)
    stages = WorkerStub(channel)
    secrets, tokens = await _fill(runs, stages, workers, queued)
    beats = 0

    async def beat(number: int) -> None:
        nonlocal beats
        request = stage_pb2.WorkerHeartbeatRequest(
            worker=f"workers/w{number}",
            lease_tokens=tokens.get(number, []),
            worker_secret=secrets[number],
        )
        await asyncio.sleep(BEAT_SECONDS * number / workers)
        while True:
            answer = await stages.WorkerHeartbeat(request, timeout=60)
            if stage_pb2.DIRECTIVE_LEASE_LOST in answer.lease_directives:
                raise RuntimeError(f"worker w{number} lost its lease")
            beats += 1
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.gather(*(beat(number) for number in range(workers)))
    await _sleep(BEAT_SECONDS, beating)
    before, beats, started = _cpu(process), 0, time.monotonic()
    await _sleep(seconds / 2, beating)
    memory = process.memory_info().rss
    await _sleep(seconds / 2, beating)
    took = time.monotonic() - started
    share = (_cpu(process) - before) / took
    resident = process.memory_info().rss
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    await channel.close(None)
    mib = 2**20
    return Cost(share, (resident - memory) / mib, resident / mib, beats / took)


async def _fill(
    runs: Any, stages: Any, workers: int, queued: int
) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Register the workers, give some of them leases and queue the rest; secrets and leases."""
    secrets: dict[int, str] = {}
    held: dict[int, list[str]] = {}
    leased = run_pb2.CreateRunRequest(spec=spec_message())
    waiting = run_pb2.CreateRunRequest(spec=spec_message(execution=QUEUED))

    async def join(number: int) -> None:
        secrets[number] = await register(stages, f"w{number}")
        if number < LEASED * workers:
            run = await runs.CreateRun(leased, timeout=300)
            held[number] = [await acquire(stages, f"w{number}", secrets[number], run)]

    async def submit(_: int) -> None:
        await runs.CreateRun(waiting, timeout=300)

    # The fleet comes last: its leases run while it waits for the others.
    await _for_each(queued, submit)
    await _for_each(workers, join)
    return secrets, held


async def _for_each(count: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Do something ``count`` times, a few at a time."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _sleep(seconds: float, beating: asyncio.Future[Any]) -> None:
    """Wait, unless a heartbeat fails, which is raised."""
    await asyncio.wait([beating], timeout=seconds)
    if beating.done():
        beating.result()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
