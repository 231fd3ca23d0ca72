"""A worker that vanishes: from its last heartbeat until an idle worker has the next attempt."""

from __future__ import annotations

import asyncio
import time

import tailrace
from benchmarks.load.lease import acquire, register
from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.row import Row, at_most
from benchmarks.load.rows.dispatch import STAGE_COMMAND
from benchmarks.load.scale import Scale
from benchmarks.load.server_log import answers
from benchmarks.load.spec import SPEC
from tailrace.channel import connect_aio
from tailrace.v1 import run_pb2, stage_pb2
from tests.servers.node import wait_until
from tests.servers.worker_token import WorkerStub
from tests.stack import Stack

LEASE_SECONDS = 5.0
RUNS = 3


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per backend."""
    rows = []
    for backend in BACKENDS:
        with machine.stack(backend, lease_seconds=str(LEASE_SECONDS)) as stack:
            slowest = _until_granted(stack)
        most = (2 * LEASE_SECONDS + 2) * scale.slack
        rows.append(
            Row(
                f"Heartbeat loss → next attempt granted, lease {LEASE_SECONDS:g} s",
                backend,
                f"{slowest:.1f} s, slowest of {RUNS}",
                "",
                [at_most(slowest, most, " s")],
            )
        )
    return rows


def _until_granted(stack: Stack) -> float:
    with stack.client() as client:
        runs = [client.create_run(SPEC, run_id=f"r{i}") for i in range(RUNS)]
        lost_at = asyncio.run(_hold(stack, runs))

        def granted() -> bool:
            return all(len(client.get_run(run.name).stages[0].attempts) > 1 for run in runs)

        wait_until(granted, "the next attempts", 120)
        return max(_second(stack, client, run) for run in runs) - lost_at


def _second(stack: Stack, client: tailrace.Client, run: run_pb2.Run) -> float:
    """When the second attempt was granted; the answers before told late messages to stop."""
    log = stack.folder / "server.log"
    start = client.get_run(run.name).stages[0].attempts[1].start_time.ToMicroseconds() / 1e6
    return next(answered for answered in answers(log, "AcquireStage", run.uid) if answered >= start)


async def _hold(stack: Stack, runs: list[run_pb2.Run]) -> float:
    """Hold the runs' leases until a real worker idles beside; when the last heartbeat was sent."""
    channel = connect_aio(stack.address)
    stub = WorkerStub(channel)
    secret = await register(stub, "lost", slots=len(runs))
    tokens = [await acquire(stub, "lost", secret, run, slot) for slot, run in enumerate(runs)]
    beat = stage_pb2.WorkerHeartbeatRequest(
        worker="workers/lost", lease_tokens=tokens, worker_secret=secret
    )
    started = asyncio.create_task(asyncio.to_thread(_idle_worker, stack))
    while not started.done():
        await stub.WorkerHeartbeat(beat, timeout=60)
        await asyncio.wait([started], timeout=1)
    started.result()
    await stub.WorkerHeartbeat(beat, timeout=60)
    lost_at = time.time()
    await channel.close(None)
    return lost_at


def _idle_worker(stack: Stack) -> None:
    stack.start_worker(stage_command=STAGE_COMMAND)
