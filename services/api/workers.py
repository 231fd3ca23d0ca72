"""Servicer of FleetService."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.api.convert.worker import pools_to_proto, worker_to_proto
from services.api.rpc import Rpc, current_caller
from services.domain.worker import parse_worker_name
from services.usecases.access.certificates import revoke_certificate
from services.usecases.context import Context
from services.usecases.fleet import workers
from tailrace.v1 import worker_pb2, worker_pb2_grpc


class FleetServicer(worker_pb2_grpc.FleetServiceServicer):
    """Servicer of ``protos/tailrace/v1/worker.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: Rpc
    ) -> worker_pb2.ListWorkersResponse:
        """List workers by name."""
        page, token = await workers.list_workers(
            self._context,
            current_caller(),
            size=request.page_size,
            token=request.page_token,
            everyone=request.all,
        )
        return worker_pb2.ListWorkersResponse(
            workers=map(worker_to_proto, page), next_page_token=token
        )

    async def GetWorker(
        self, request: worker_pb2.GetWorkerRequest, context: Rpc
    ) -> worker_pb2.Worker:
        """Return a worker."""
        worker_id = parse_worker_name(request.name, "name")
        return worker_to_proto(await workers.get_worker(self._context, current_caller(), worker_id))

    async def DrainWorker(
        self, request: worker_pb2.DrainWorkerRequest, context: Rpc
    ) -> worker_pb2.Worker:
        """Let a worker finish its stages and accept no more."""
        worker_id = parse_worker_name(request.name, "name")
        return worker_to_proto(
            await workers.drain_worker(self._context, current_caller(), worker_id)
        )

    async def UndrainWorker(
        self, request: worker_pb2.UndrainWorkerRequest, context: Rpc
    ) -> worker_pb2.Worker:
        """Let a drained worker accept stages again."""
        worker_id = parse_worker_name(request.name, "name")
        caller = current_caller()
        return worker_to_proto(await workers.undrain_worker(self._context, caller, worker_id))

    async def ForgetWorker(
        self, request: worker_pb2.ForgetWorkerRequest, context: Rpc
    ) -> worker_pb2.ForgetWorkerResponse:
        """Remove a worker that is offline."""
        worker_id = parse_worker_name(request.name, "name")
        await workers.forget_worker(self._context, current_caller(), worker_id)
        return worker_pb2.ForgetWorkerResponse()

    async def RevokeWorkerCertificate(
        self, request: worker_pb2.RevokeWorkerCertificateRequest, context: Rpc
    ) -> worker_pb2.RevokeWorkerCertificateResponse:
        """Refuse the certificates of a worker that were made until now."""
        worker_id = parse_worker_name(request.name, "name")
        revoke_time = await revoke_certificate(self._context, current_caller(), worker_id)
        return worker_pb2.RevokeWorkerCertificateResponse(revoke_time=timestamp(revoke_time))

    async def ListPools(
        self, request: worker_pb2.ListPoolsRequest, context: Rpc
    ) -> worker_pb2.ListPoolsResponse:
        """List pools by name."""
        return pools_to_proto(await workers.list_pools(self._context))
