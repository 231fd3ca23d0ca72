"""Calls of FleetService."""

from __future__ import annotations

from tailrace.client.call import Paged
from tailrace.v1 import worker_pb2, worker_pb2_grpc

_Stub = worker_pb2_grpc.FleetServiceStub


def list_workers(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[worker_pb2.ListWorkersResponse, worker_pb2.Worker]:
    """Workers with their slots, by name."""
    request = worker_pb2.ListWorkersRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListWorkers, request, lambda page: page.workers, limit
    )
