"""Calls of FleetService."""

from __future__ import annotations

from tailrace.client.call import Paged, Unary, resource
from tailrace.v1 import worker_pb2, worker_pb2_grpc

_Stub = worker_pb2_grpc.FleetServiceStub


def list_workers(
    *, page_size: int = 0, limit: int | None = None, everyone: bool = False
) -> Paged[worker_pb2.ListWorkersResponse, worker_pb2.Worker]:
    """Workers with their slots, by name; with ``everyone`` also those that are offline for long."""
    request = worker_pb2.ListWorkersRequest(page_size=page_size, all=everyone)
    return Paged(
        lambda channel: _Stub(channel).ListWorkers, request, lambda page: page.workers, limit
    )


def get_worker(name: str) -> Unary[worker_pb2.Worker]:
    """A worker with its slots. Raises ``NotFound``."""
    request = worker_pb2.GetWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).GetWorker, request)


def drain_worker(name: str) -> Unary[worker_pb2.Worker]:
    """Let a worker finish what it runs and take no more; it then ends.

    The drain stays in force, also after a new start, until :func:`undrain_worker`. Raises
    ``NotFound``.
    """
    request = worker_pb2.DrainWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).DrainWorker, request)


def undrain_worker(name: str) -> Unary[worker_pb2.Worker]:
    """Let a drained worker take stages again. Raises ``NotFound``."""
    request = worker_pb2.UndrainWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).UndrainWorker, request)


def forget_worker(name: str) -> Unary[worker_pb2.ForgetWorkerResponse]:
    """Remove a worker that is offline.

    Raises ``NotFound`` and ``FailedPrecondition`` (WORKER_ALIVE).
    """
    request = worker_pb2.ForgetWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).ForgetWorker, request)


def list_pools() -> Unary[worker_pb2.ListPoolsResponse]:
    """The pools that a worker serves or a stage waits for, by name."""
    return Unary(lambda channel: _Stub(channel).ListPools, worker_pb2.ListPoolsRequest())
