"""Servicer of AuditService."""

from __future__ import annotations

from services.api.convert.audit import chain_to_proto, event_to_proto
from services.api.rpc import Rpc, current_caller
from services.usecases.access import audit
from services.usecases.context import Context
from tailrace.v1 import audit_pb2, audit_pb2_grpc


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Servicer of ``protos/tailrace/v1/audit.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListAuditEvents(
        self, request: audit_pb2.ListAuditEventsRequest, context: Rpc
    ) -> audit_pb2.ListAuditEventsResponse:
        """List events, newest first or in the order of the hash chain."""
        page, token = await audit.list_events(
            self._context,
            current_caller(),
            filter_text=request.filter,
            order_by=request.order_by,
            size=request.page_size,
            token=request.page_token,
        )
        return audit_pb2.ListAuditEventsResponse(
            events=map(event_to_proto, page), next_page_token=token
        )

    async def GetAuditChain(
        self, request: audit_pb2.GetAuditChainRequest, context: Rpc
    ) -> audit_pb2.AuditChain:
        """Return both ends of the hash chain."""
        return chain_to_proto(await audit.chain_state(self._context))
