"""FleetService."""

from __future__ import annotations

from services.api.convert import worker_to_proto
from services.api.rpc import Rpc
from services.usecases import fleet
from services.usecases.context import Context
from tailrace.v1 import worker_pb2, worker_pb2_grpc


class FleetServicer(worker_pb2_grpc.FleetServiceServicer):
    """See ``protos/tailrace/v1/worker.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: Rpc
    ) -> worker_pb2.ListWorkersResponse:
        """Workers, by name."""
        found, token = await fleet.list_workers(
            self._context, size=request.page_size, token=request.page_token
        )
        return worker_pb2.ListWorkersResponse(
            workers=map(worker_to_proto, found), next_page_token=token
        )
