"""A simulated worker: speaks StageService, executes nothing."""

from __future__ import annotations

import secrets
from typing import Any

from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.v1 import run_pb2, stage_pb2, worker_pb2


async def register(stages: Any, worker_id: str, pool: str = "cpu", slots: int = 1) -> str:
    """Let a worker in; its secret."""
    request = stage_pb2.RegisterWorkerRequest(
        worker_id=worker_id,
        hostname="simulated",
        pools=[pool],
        slots=[
            worker_pb2.Slot(
                id=f"cpu-{number}", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0]
            )
            for number in range(slots)
        ],
        protocol_version=PROTOCOL_VERSION,
        instance_id=f"the-instance-of-{worker_id}",
    )
    answer = await stages.RegisterWorker(request, timeout=60)
    secret: str = answer.worker_secret
    return secret


async def acquire(stages: Any, worker_id: str, secret: str, run: run_pb2.Run, slot: int = 0) -> str:
    """The lease of a run's first stage, as if its message had come; the token."""
    request = stage_pb2.AcquireStageRequest(
        run_uid=run.uid,
        stage=run.stages[0].id,
        attempt=1,
        acquire_id=secrets.token_hex(16),
        worker=f"workers/{worker_id}",
        slot=f"cpu-{slot}",
        worker_secret=secret,
    )
    answer = await stages.AcquireStage(request, timeout=60)
    if answer.WhichOneof("answer") != "run":
        raise RuntimeError(f"no lease for {run.name}: {answer}")
    token: str = answer.run.lease_token
    return token
