"""Log lines accepted durably, beside the same stream into a server without storage."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from benchmarks.load.lease import acquire, register
from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.raw_server import raw_server
from benchmarks.load.row import Row, at_least, quantile, ratio_of_medians
from benchmarks.load.rows.log_stream import LogStream
from benchmarks.load.scale import Scale
from benchmarks.load.spec import spec_message
from tailrace.channel import connect_aio
from tailrace.v1 import run_pb2, run_pb2_grpc
from tests.servers.worker_token import WorkerStub

ATTEMPTS = (1, 16)
LINES_PER_SECOND = 50_000.0


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per database and number of attempts."""
    rows = []
    for backend in BACKENDS:
        with machine.stack(backend) as stack, raw_server() as raw:
            rows += [
                asyncio.run(_measure(scale, backend, stack.address, raw, attempts))
                for attempts in ATTEMPTS
            ]
    return rows


async def _measure(scale: Scale, backend: str, address: str, raw: str, attempts: int) -> Row:
    rates, raw_rates = [], []
    for _ in range(scale.rounds):
        tokens = await leases(address, attempts)
        rates.append(await _rate(address, tokens, scale.seconds))
        raw_rates.append(await _rate(raw, tokens, scale.seconds))
    what = "one attempt" if attempts == 1 else f"{attempts} attempts"
    rate = quantile(rates, 0.5)
    return Row(
        f"Log lines accepted durably, {what}",
        backend,
        f"{rate:,.0f} lines/s",
        f"{quantile(raw_rates, 0.5):,.0f} lines/s without storage",
        [
            at_least(ratio_of_medians(rates, raw_rates), 0.4 / scale.slack),
            at_least(rate, LINES_PER_SECOND / scale.slack, " lines/s"),
        ],
    )


async def leases(address: str, count: int) -> list[str]:
    """Leases of new runs, held by a simulated worker."""
    channel = connect_aio(address)
    runs: Any = run_pb2_grpc.RunServiceStub(channel)
    stages = WorkerStub(channel)
    # The slots of an earlier round's worker are still taken by its leases.
    worker = f"writer-{secrets.token_hex(4)}"
    secret = await register(stages, worker, slots=count)
    request = run_pb2.CreateRunRequest(spec=spec_message())
    made = [await runs.CreateRun(request, timeout=60) for _ in range(count)]
    tokens = [await acquire(stages, worker, secret, run, slot) for slot, run in enumerate(made)]
    await channel.close(None)
    return tokens


async def _rate(address: str, tokens: list[str], seconds: float) -> float:
    """Lines per second from the first to the last acknowledgement, all attempts together."""
    channel = connect_aio(address)
    stub = WorkerStub(channel)
    streams = [LogStream(stub, token) for token in tokens]
    started = time.monotonic()
    await asyncio.gather(*(stream.run(seconds) for stream in streams))
    took = time.monotonic() - started
    await channel.close(None)
    return sum(stream.acknowledged for stream in streams) / took
