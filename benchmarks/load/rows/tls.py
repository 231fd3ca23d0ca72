"""The cost of TLS and tokens: the same control plane with and without, in interleaved pairs.

Connections are established before anything is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.load.lease import acquire, register
from benchmarks.load.machine import PRODUCTION, Machine
from benchmarks.load.rate import CALLERS, rate_of
from benchmarks.load.row import Row, at_most
from benchmarks.load.rows.dispatch import STAGE_COMMAND, run_to_the_end, until_acquired
from benchmarks.load.rows.log_stream import LogStream
from benchmarks.load.scale import Scale
from benchmarks.load.spec import spec_message
from tailrace.access import PLAINTEXT, Access
from tailrace.channel import connect, connect_aio
from tailrace.tls_files import TlsFiles
from tailrace.v1 import run_pb2, run_pb2_grpc
from tests.servers.secure import secure, worker_settings
from tests.servers.worker_token import WorkerStub
from tests.stack import Stack

PAIRS = 5
MOST = 1.25
"""Largest ratio of the figures with TLS and tokens to those without."""

WRITER = "writer"
"""The simulated worker, and the name in its certificate."""


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row for each of dispatch, CreateRun and log lines."""
    with (
        machine.stack(PRODUCTION) as plain,
        machine.stack(PRODUCTION, prepare=lambda s: secure(s, machine.rabbitmq)) as guarded,
    ):
        stacks = (plain, guarded)
        # First, while nothing else waits in the queues.
        rows = [_dispatch(stacks, scale)]
        return rows + asyncio.run(_rates(stacks, scale))


def _dispatch(stacks: tuple[Stack, Stack], scale: Scale) -> Row:
    medians: tuple[list[float], list[float]] = ([], [])
    with contextlib.ExitStack() as open_clients:
        sides = []
        for stack in stacks:
            stack.start_worker(stage_command=STAGE_COMMAND)
            client = open_clients.enter_context(stack.client())
            channel = open_clients.enter_context(connect(stack.address, _access(stack)))
            run_to_the_end(client, "warm")
            stub: Any = run_pb2_grpc.RunServiceStub(channel)
            sides.append((stack, client, stub))
        for pair in range(PAIRS):
            for side, (stack, client, stub) in enumerate(sides):
                seconds = [
                    until_acquired(stack, client, stub, f"r{pair}-{number}")
                    for number in range(max(2, scale.samples // PAIRS))
                ]
                medians[side].append(statistics.median(seconds))
    for stack in stacks:
        stack.workers[-1].stop(timeout=30)
    plain, guarded = (statistics.median(side) * 1000 for side in medians)
    return Row(
        "CreateRun → AcquireStage answered, with TLS and tokens",
        PRODUCTION,
        f"{guarded:.1f} ms",
        f"{plain:.1f} ms without",
        [at_most(guarded / plain, MOST * scale.slack, "×")],
    )


async def _rates(stacks: tuple[Stack, Stack], scale: Scale) -> list[Row]:
    creates: tuple[list[float], list[float]] = ([], [])
    lines: tuple[list[float], list[float]] = ([], [])
    async with contextlib.AsyncExitStack() as open_sides:
        sides = [await open_sides.enter_async_context(_side(stack)) for stack in stacks]
        for pair in range(PAIRS):
            for number, side in enumerate(sides):
                rate, _ = await rate_of(side.create, scale.seconds)
                creates[number].append(rate)
            for number, side in enumerate(sides):
                lines[number].append(await side.lines_per_second(pair, scale.seconds))
    return [
        _row(f"CreateRun, durable, {CALLERS} clients, with TLS and tokens", "/s", creates, scale),
        _row(
            "Log lines accepted durably, one attempt, with TLS and tokens",
            " lines/s",
            lines,
            scale,
        ),
    ]


def _row(what: str, unit: str, rates: tuple[list[float], list[float]], scale: Scale) -> Row:
    plain, guarded = map(statistics.median, rates)
    return Row(
        what,
        PRODUCTION,
        f"{guarded:,.0f}{unit}",
        f"{plain:,.0f}{unit} without",
        [at_most(plain / guarded, MOST * scale.slack, "×")],
    )


class _Side:
    """Client and simulated worker of one stack."""

    def __init__(self, runs: Any, stages: WorkerStub, secret: str) -> None:
        self._runs, self._stages, self._secret = runs, stages, secret
        self._spec = spec_message()

    async def create(self) -> None:
        """Create a run."""
        request = run_pb2.CreateRunRequest(spec=self._spec, request_id=secrets.token_hex(16))
        await self._runs.CreateRun(request, timeout=60)

    async def lines_per_second(self, slot: int, seconds: float) -> float:
        """Log lines of a new attempt, from the first to the last acknowledgement."""
        run = await self._runs.CreateRun(run_pb2.CreateRunRequest(spec=self._spec), timeout=60)
        lease = await acquire(self._stages, WRITER, self._secret, run, slot)
        stream = LogStream(self._stages, lease)
        began = time.monotonic()
        await stream.run(seconds)
        return stream.acknowledged / (time.monotonic() - began)


@contextlib.asynccontextmanager
async def _side(stack: Stack) -> AsyncIterator[_Side]:
    access = worker_access = _access(stack)
    if stack.access is not None:
        settings = worker_settings(stack, WRITER)
        paths = ("TAILRACE_CA_FILE", "TAILRACE_CERT_FILE", "TAILRACE_KEY_FILE")
        worker_access = Access(tls=TlsFiles(*(Path(settings[name]) for name in paths)))
    async with (
        connect_aio(stack.address, access) as channel,
        connect_aio(stack.worker_address, worker_access) as worker_channel,
    ):
        stages = WorkerStub(worker_channel)
        secret = await register(stages, WRITER, slots=PAIRS)
        side = _Side(run_pb2_grpc.RunServiceStub(channel), stages, secret)
        await side.create()
        yield side


def _access(stack: Stack) -> Access:
    return stack.access or PLAINTEXT
