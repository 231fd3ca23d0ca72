"""CreateRun until an idle worker's AcquireStage is answered, beside an empty Celery task."""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from typing import Any

import tailrace
from benchmarks.load.celery_yardstick import empty_task
from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.row import Row, at_most, quantile
from benchmarks.load.scale import Scale
from benchmarks.load.server_log import answers
from benchmarks.load.spec import spec_message
from tailrace.channel import connect
from tailrace.v1 import run_pb2, run_pb2_grpc
from tests.servers.node import wait_until
from tests.stack import Stack

STAGE_COMMAND = f"{sys.executable} -m benchmarks.load.stage"


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per broker."""
    return [_measure(machine, scale, backend) for backend in BACKENDS]


def _measure(machine: Machine, scale: Scale, backend: str) -> Row:
    folder = machine.folder()
    with machine.stack(backend) as stack, empty_task(folder, stack.broker_url) as round_trip:
        stack.start_worker(stage_command=STAGE_COMMAND)
        figures, yardsticks = [], []
        with stack.client() as client, connect(stack.address) as channel:
            run_to_the_end(client, "warm")
            stub: Any = run_pb2_grpc.RunServiceStub(channel)
            for i in range(scale.samples):
                figures.append(until_acquired(stack, client, stub, f"r{i}") * 1000)
                yardsticks.append(round_trip() * 1000)
    figure, yardstick = statistics.median(figures), statistics.median(yardsticks)
    return Row(
        "CreateRun → AcquireStage answered, idle worker",
        backend,
        f"p50 {figure:.1f} ms, p95 {quantile(figures, 0.95):.1f} ms",
        f"empty Celery task p50 {yardstick:.1f} ms",
        [
            at_most(figure, 25 * scale.slack, " ms"),
            at_most(figure / yardstick, 8 * scale.slack, "×"),
        ],
    )


def until_acquired(stack: Stack, client: tailrace.Client, stub: Any, run_id: str) -> float:
    """Seconds from CreateRun to the answer of the idle worker's AcquireStage."""
    # The call alone: what the SDK does before it is not CreateRun's.
    request = run_pb2.CreateRunRequest(
        spec=spec_message(), run_id=run_id, request_id=secrets.token_hex(16)
    )
    sent = time.time()
    run = stub.CreateRun(request, timeout=60)
    _await_idle(client, run)
    return next(answers(stack.folder / "server.log", "AcquireStage", run.uid)) - sent


def run_to_the_end(client: tailrace.Client, run_id: str) -> None:
    """Submit a run whose stage fails at once, and wait until the worker is idle."""
    _await_idle(client, client.create_run(spec_message(), run_id=run_id))


def _await_idle(client: tailrace.Client, run: run_pb2.Run) -> None:
    # Whoever asks meanwhile how far it is takes part in what is measured.
    time.sleep(0.3)

    def ended() -> bool:
        return client.get_run(run.name).HasField("end_time")

    wait_until(ended, run.name, 60)
    # The worker has reported, but is still tidying up; nothing says when it waits again.
    time.sleep(0.3)
