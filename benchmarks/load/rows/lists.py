"""GetRun and the first page of ListRuns, with many runs stored and with few."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.row import Row, at_most, quantile
from benchmarks.load.rows import stored
from benchmarks.load.scale import Scale
from tailrace.channel import connect_aio
from tailrace.v1 import run_pb2, run_pb2_grpc

FEW = 1000
PAGES = 20
"""How often each filter is asked for in a round."""


@dataclass(frozen=True)
class Latencies:
    """99th percentiles in ms."""

    get: float
    page: float
    slowest: str
    """The filter whose pages took longest."""


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """Two rows per database."""
    rows = []
    for backend in BACKENDS:
        few = latencies(machine, backend, FEW, scale.rounds)
        many = latencies(machine, backend, scale.stored_runs, scale.rounds)
        stored_text = f"{scale.stored_runs:,} runs stored"
        rows.append(
            Row(
                f"GetRun, {stored_text}",
                backend,
                f"p99 {many.get:.1f} ms",
                f"{few.get:.1f} ms with {FEW:,}",
                [
                    at_most(many.get, 10 * scale.slack, " ms"),
                    at_most(many.get / few.get, 2 * scale.slack, "×"),
                ],
            )
        )
        rows.append(
            Row(
                f"First page of ListRuns, {stored_text}",
                backend,
                f"p99 {many.page:.1f} ms, slowest {many.slowest}",
                f"{few.page:.1f} ms with {FEW:,}",
                [
                    at_most(many.page, 50 * scale.slack, " ms"),
                    at_most(many.page / few.page, 2 * scale.slack, "×"),
                ],
            )
        )
    return rows


@cache
def latencies(machine: Machine, backend: str, count: int, rounds: int) -> Latencies:
    """Of a database of its own with so many runs; measured once, storing them takes minutes."""
    url = machine.database_url(backend)
    stored.store(url, count)
    with machine.stack(backend, url) as stack:
        return asyncio.run(_measure(stack.address, count, rounds * PAGES))


async def _measure(address: str, count: int, pages_each: int) -> Latencies:
    channel = connect_aio(address)
    stub: Any = run_pb2_grpc.RunServiceStub(channel)
    # Which runs are looked at is no secret.
    chance = random.Random(7)  # noqa: S311
    await _page(stub, "")
    got = []
    for _ in range(5 * pages_each):
        request = run_pb2.GetRunRequest(name=f"runs/run-{chance.randrange(count)}")
        started = time.monotonic()
        await stub.GetRun(request, timeout=60)
        got.append(time.monotonic() - started)
    pages: dict[str, list[float]] = {}
    for _ in range(pages_each):
        for name, make in FILTERS.items():
            pages.setdefault(name, []).append(await _page(stub, make(chance, count)))
    await channel.close(None)
    slowest = max(pages, key=lambda name: quantile(pages[name], 0.99))
    everything = [seconds for taken in pages.values() for seconds in taken]
    return Latencies(quantile(got, 0.99) * 1000, quantile(everything, 0.99) * 1000, slowest)


async def _page(stub: Any, text: str) -> float:
    started = time.monotonic()
    await stub.ListRuns(run_pb2.ListRunsRequest(filter=text), timeout=300)
    return time.monotonic() - started


def _since(chance: random.Random, count: int) -> str:
    return f'create_time >= "{stored.created(chance.randrange(count)).isoformat()}"'


FILTERS: dict[str, Callable[[random.Random, int], str]] = {
    "none": lambda chance, count: "",
    "state": lambda chance, count: "state = FAILED",
    "rare state": lambda chance, count: "state = RUNNING",
    "common label": lambda chance, count: 'labels.team = "t3"',
    "rare label": lambda chance, count: f'labels.sweep = "s{chance.randrange(stored.SWEEPS)}"',
    "unknown label": lambda chance, count: 'labels.team = "nobody"',
    "state and label": lambda chance, count: 'state = CANCELLED AND labels.team = "t3"',
    "rare state and common label": lambda chance, count: 'state = RUNNING AND labels.team = "t3"',
    "all three": lambda chance, count: (
        f'state = FAILED AND {_since(chance, count)} AND labels.team = "t{chance.randrange(10)}"'
    ),
    "two labels": lambda chance, count: 'labels.team = "t3" AND labels.sweep = "s13"',
    "two labels that exclude each other": lambda chance, count: (
        'labels.team = "t3" AND labels.sweep = "s14"'
    ),
}
