"""A client of a control plane in the same process, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.server import ControlPlane
from services.settings import Settings
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.protomap import from_mapping
from tailrace.v1 import (
    dataset_pb2,
    dataset_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    run_spec_pb2,
    stage_pb2,
    worker_pb2,
    worker_pb2_grpc,
)
from tests.servers.node import free_port
from tests.servers.worker_token import WorkerStub, token_file
from tests.unit.services.driver import spec


class ApiClient:
    """A client of a control plane in this process."""

    def __init__(self, plane: ControlPlane, address: str) -> None:
        self.plane = plane
        # The stubs' types know only the blocking flavour.
        self.channel: Any = grpc.aio.insecure_channel(address)
        self.runs: Any = run_pb2_grpc.RunServiceStub(self.channel)
        self.stages = WorkerStub(self.channel)
        self.fleet: Any = worker_pb2_grpc.FleetServiceStub(self.channel)
        self.datasets: Any = dataset_pb2_grpc.DatasetServiceStub(self.channel)

    async def create(self, run_id: str = "r", **changes: Any) -> run_pb2.Run:
        message = from_mapping(run_spec_pb2.RunSpec, spec(**changes))
        request = run_pb2.CreateRunRequest(run_id=run_id, spec=message)
        created: run_pb2.Run = await self.runs.CreateRun(request)
        return created

    async def register(self) -> None:
        slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
        answer = await self.stages.RegisterWorker(
            stage_pb2.RegisterWorkerRequest(
                worker_id="w1",
                hostname="host",
                pools=["cpu"],
                slots=[slot],
                protocol_version=PROTOCOL_VERSION,
                instance_id="the-instance-of-w1",
            )
        )
        self.secret = answer.worker_secret

    async def acquire(self, run: run_pb2.Run) -> stage_pb2.StageOrder:
        stage = run.stages[0]
        answer = await self.stages.AcquireStage(
            stage_pb2.AcquireStageRequest(
                run_uid=run.uid,
                stage=stage.id,
                attempt=1,
                acquire_id="acquire-id-0123456789",
                worker="workers/w1",
                slot="cpu-0",
                worker_secret=self.secret,
            )
        )
        assert answer.WhichOneof("answer") == "run"
        order: stage_pb2.StageOrder = answer.run
        return order


@asynccontextmanager
async def serving(
    database_url: str, folder: Path, *, seed: bool = True, **settings: Any
) -> AsyncIterator[ApiClient]:
    """Yield a client of a control plane that has golden-v2 and whose broker is missing.

    Without ``seed`` it has nothing, and its client is not used: the server may speak TLS.
    """
    values: dict[str, Any] = {
        "database_url": database_url,
        "broker_url": f"redis://127.0.0.1:{free_port()}/0",
        "data_dir": folder,
        "worker_token_file": token_file(),
        "listen": "127.0.0.1:0",
        "metrics_port": 0,
        "shutdown_grace_seconds": 2,
        "publish_timeout_seconds": 1,
        "max_message_bytes": 1024 * 1024,
    }
    plane = ControlPlane(Settings(**{**values, **settings}))
    client = ApiClient(plane, await plane.start())
    try:
        if seed:
            request = dataset_pb2.SeedDatasetRequest(dataset_id="golden-v2")
            await client.datasets.SeedDataset(request)
        yield client
    finally:
        await client.channel.close()
        await plane.stop()


def decoded(error: Any) -> tuple[str, dict[str, str]]:
    """The reason of an error and its field violations."""
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "tailrace"
    return info.reason, {v.field: v.description for v in bad.field_violations}


async def failing(call: Any, code: grpc.StatusCode) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code, error.value.details()
    return decoded(error.value)
