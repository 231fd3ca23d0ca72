"""Events of the audit log, and the ends of its hash chain."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.domain.access.audit import ChainState, StoredEvent
from tailrace.formats.data.audit_chain import Place
from tailrace.v1 import audit_pb2


def event_to_proto(stored: StoredEvent) -> audit_pb2.AuditEvent:
    """Return the message of an event."""
    event = stored.event
    return audit_pb2.AuditEvent(
        sequence=stored.sequence or 0,
        time=timestamp(event.time),
        project=event.project,
        actor=event.actor,
        method=event.method,
        resource=event.resource,
        peer=event.peer,
        request_id=event.request_id,
        outcome=event.outcome,
        reason=event.reason,
        suppressed=event.suppressed,
        hash=stored.hash,
    )


def chain_to_proto(state: ChainState) -> audit_pb2.AuditChain:
    """Return the message of both ends of the chain."""
    return audit_pb2.AuditChain(
        anchor=_place(state.anchor), head=_place(state.head), unchained=state.unchained
    )


def _place(place: Place) -> audit_pb2.AuditPlace:
    return audit_pb2.AuditPlace(sequence=place.sequence, hash=place.hash)
