"""CreateRun by 64 callers, beside the same rows written by the same engine without gRPC."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.rate import CALLERS, rate_of
from benchmarks.load.row import Row, at_least, quantile, ratio_of_medians
from benchmarks.load.scale import Scale
from benchmarks.load.spec import spec_message
from services.storage.engine.database import Database
from services.storage.rows.outbox import outbox
from services.storage.rows.requests import requests
from services.storage.rows.runs import run_labels, runs
from services.storage.rows.stages import stages
from tailrace.channel import connect_aio
from tailrace.v1 import run_pb2, run_pb2_grpc

_TABLES = (runs, run_labels, stages, outbox, requests)
"""What CreateRun writes, in the order in which keys refer to each other."""


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per database."""
    rows = []
    for backend in BACKENDS:
        url = machine.database_url(backend)
        with machine.stack(backend, url) as stack:
            rows.append(asyncio.run(_measure(scale, backend, url, stack.address)))
    return rows


async def _measure(scale: Scale, backend: str, url: str, address: str) -> Row:
    rates, raw_rates, latencies = [], [], []
    channel = connect_aio(address)
    stub: Any = run_pb2_grpc.RunServiceStub(channel)
    spec = spec_message()

    async def create() -> None:
        request = run_pb2.CreateRunRequest(spec=spec, request_id=secrets.token_hex(16))
        await stub.CreateRun(request, timeout=60)

    await create()
    database = Database(url)
    template = await _rows_of_a_run(database)
    for _ in range(scale.rounds):
        rate, round_latencies = await rate_of(create, scale.seconds)
        rates.append(rate)
        latencies += round_latencies
        # What the round left for the relay to publish would slow the yardstick down.
        await _empty_outbox(database)
        raw_rate, _ = await rate_of(lambda: _write(database, template), scale.seconds)
        raw_rates.append(raw_rate)
        await _empty_outbox(database)
    await database.close()
    await channel.close(None)
    ratio = ratio_of_medians(rates, raw_rates)
    p99 = quantile(latencies, 0.99) * 1000
    return Row(
        f"CreateRun, durable, {CALLERS} clients",
        backend,
        f"{quantile(rates, 0.5):,.0f}/s, p99 {p99:.0f} ms",
        f"{quantile(raw_rates, 0.5):,.0f} transactions/s",
        [at_least(ratio, 0.5 / scale.slack)],
    )


async def _rows_of_a_run(database: Database) -> dict[str, list[dict[str, Any]]]:
    """What one CreateRun wrote, by table."""
    async with database.read() as conn:
        found = {}
        for table in _TABLES:
            rows = (await conn.execute(sa.select(table))).mappings()
            found[table.name] = [_without_serial(table, dict(row)) for row in rows]
        return found


def _without_serial(table: sa.Table, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if (table.name, name) not in _SERIALS}


_SERIALS = {("outbox", "id")}


async def _write(database: Database, template: dict[str, list[dict[str, Any]]]) -> None:
    """The same rows under another identity, in one transaction."""
    uid = secrets.token_hex(16)
    fresh = {"run_uid": uid, "uid": uid, "run_id": f"r-{uid}", "request_id": uid}
    async with database.write() as conn:
        for table in _TABLES:
            changed = [
                row | {name: value for name, value in fresh.items() if name in row}
                for row in template[table.name]
            ]
            await conn.execute(table.insert(), changed)


async def _empty_outbox(database: Database) -> None:
    async with database.write() as conn:
        await conn.execute(sa.delete(outbox))
