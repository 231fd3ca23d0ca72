"""A simulated worker: speaks StageService, executes nothing."""

from __future__ import annotations

import secrets
from typing import Any

from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.v1 import run_pb2, stage_pb2, worker_pb2


async def register(stages: Any, worker_id: str, pool: str = "cpu") -> None:
    """Let a worker with one slot in."""
    slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
    request = stage_pb2.RegisterWorkerRequest(
        worker_id=worker_id,
        hostname="simulated",
        pools=[pool],
        slots=[slot],
        protocol_version=PROTOCOL_VERSION,
    )
    await stages.RegisterWorker(request, timeout=60)


async def acquire(stages: Any, worker_id: str, run: run_pb2.Run) -> str:
    """The lease of a run's first stage, as if its message had come; the token."""
    request = stage_pb2.AcquireStageRequest(
        run_uid=run.uid,
        stage=run.stages[0].id,
        attempt=1,
        acquire_id=secrets.token_hex(16),
        worker=f"workers/{worker_id}",
        slot="cpu-0",
    )
    answer = await stages.AcquireStage(request, timeout=60)
    if answer.WhichOneof("answer") != "run":
        raise RuntimeError(f"no lease for {run.name}: {answer}")
    token: str = answer.run.lease_token
    return token
