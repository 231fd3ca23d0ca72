"""Calls of FleetService."""

from __future__ import annotations

from tailrace.client.call import Paged, Unary, resource
from tailrace.v1 import worker_pb2, worker_pb2_grpc

_Stub = worker_pb2_grpc.FleetServiceStub


def list_workers(
    *, page_size: int = 0, limit: int | None = None, include_expired: bool = False
) -> Paged[worker_pb2.ListWorkersResponse, worker_pb2.Worker]:
    """Iterate over workers with their slots, sorted by name.

    Args:
        page_size: Workers per request (default: the server's choice).
        limit: Maximum number of workers (default: all).
        include_expired: Include workers that have been offline for long.
    """
    request = worker_pb2.ListWorkersRequest(page_size=page_size, all=include_expired)
    return Paged(
        lambda channel: _Stub(channel).ListWorkers, request, lambda page: page.workers, limit
    )


def get_worker(name: str) -> Unary[worker_pb2.Worker]:
    """Return a worker with its slots.

    Raises:
        NotFound: There is no such worker.
    """
    request = worker_pb2.GetWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).GetWorker, request)


def drain_worker(name: str) -> Unary[worker_pb2.Worker]:
    """Let a worker finish its stages and take no more; it then ends.

    The drain outlives a restart of the worker, until :func:`undrain_worker`.

    Raises:
        NotFound: There is no such worker.
    """
    request = worker_pb2.DrainWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).DrainWorker, request)


def undrain_worker(name: str) -> Unary[worker_pb2.Worker]:
    """Let a drained worker take stages again.

    Raises:
        NotFound: There is no such worker.
    """
    request = worker_pb2.UndrainWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).UndrainWorker, request)


def forget_worker(name: str) -> Unary[worker_pb2.ForgetWorkerResponse]:
    """Remove a worker that is offline.

    Raises:
        NotFound: There is no such worker.
        FailedPrecondition: The worker is alive (``WORKER_ALIVE``).
    """
    request = worker_pb2.ForgetWorkerRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).ForgetWorker, request)


def revoke_worker_certificate(
    name: str,
) -> Unary[worker_pb2.RevokeWorkerCertificateResponse]:
    """Refuse all certificates of a worker that were made until now, within 10 seconds.

    Raises:
        InvalidArgument: The name is not that of a worker.
        PermissionDenied: The caller is not an administrator.
    """
    request = worker_pb2.RevokeWorkerCertificateRequest(name=resource("workers", name))
    return Unary(lambda channel: _Stub(channel).RevokeWorkerCertificate, request)


def list_pools() -> Unary[worker_pb2.ListPoolsResponse]:
    """Return the pools that a worker serves or a stage waits for, sorted by name."""
    return Unary(lambda channel: _Stub(channel).ListPools, worker_pb2.ListPoolsRequest())
