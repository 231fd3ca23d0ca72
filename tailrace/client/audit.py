"""Calls of AuditService."""

from __future__ import annotations

from tailrace.client.call import Paged, Unary
from tailrace.v1 import audit_pb2, audit_pb2_grpc

_Stub = audit_pb2_grpc.AuditServiceStub


def list_audit_events(
    *, filter: str = "", order_by: str = "", page_size: int = 0, limit: int | None = None
) -> Paged[audit_pb2.ListAuditEventsResponse, audit_pb2.AuditEvent]:
    """Iterate over events of the audit log, newest first by default.

    Args:
        filter: Conditions joined with AND: ``actor``, ``method``, ``resource``, ``outcome`` and
            ``project`` with =, ``time`` also with <, <=, > and >=.
        order_by: ``sequence`` for the order of the hash chain.
        page_size: Events per request (default: the server's choice).
        limit: Maximum number of events (default: all).

    Raises:
        InvalidArgument: The filter or the order is invalid.
        PermissionDenied: The caller is not an administrator.
    """
    request = audit_pb2.ListAuditEventsRequest(
        filter=filter, order_by=order_by, page_size=page_size
    )
    return Paged(
        lambda channel: _Stub(channel).ListAuditEvents, request, lambda page: page.events, limit
    )


def get_audit_chain() -> Unary[audit_pb2.AuditChain]:
    """Return both ends of the audit log's hash chain.

    Raises:
        PermissionDenied: The caller is not an administrator.
    """
    request = audit_pb2.GetAuditChainRequest()
    return Unary(lambda channel: _Stub(channel).GetAuditChain, request)
