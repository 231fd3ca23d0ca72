"""The audit log: who changed what, from where, and which calls were refused."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.domain.caller import Caller
from services.domain.errors import Code, DomainError, InvalidInput
from services.domain.filter import filter_time
from services.domain.scope import RULES, Scope
from tailrace.formats.comparisons import OPERATORS, Comparison, FilterError, comparisons
from tailrace.formats.data.audit_chain import Place, audit_time, link
from tailrace.formats.limits import MAX_CONDITIONS

CONTROL_PLANE = "control-plane"
"""Actor of changes that no caller asked for."""

_READS = ("Get", "List", "Query", "Read", "Watch", "Stream", "Export", "Compare", "Sum")
"""Prefixes of methods that change nothing."""

AUDITED = frozenset(
    name
    for name, scopes in RULES.items()
    if scopes != {Scope.WORKER} and not name.rpartition("/")[2].startswith(_READS)
)
"""Methods of clients that change something; each records an event with its change."""


class AuditOutcome(enum.StrEnum):
    """Outcome of an audited call."""

    SUCCEEDED = "SUCCEEDED"
    """The change is committed; its event is part of the same transaction."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """Refused: the credential is missing or not valid."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """Refused: the caller may not make the call."""
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    """Refused: a quota or limit is reached."""


@dataclass(frozen=True)
class AuditEvent:
    """A change, or a refused call."""

    time: datetime
    """Time of the change or the refusal."""
    project: str
    """Project of the resource."""
    actor: str
    """Identity of the caller; empty for one that did not prove any."""
    method: str
    """Method, such as ``RunService/CancelRun``."""
    resource: str
    """Name of the resource; empty for refusals before the request was read."""
    peer: str
    """Network address that the call came from."""
    request_id: str
    """Id of the request."""
    outcome: str = AuditOutcome.SUCCEEDED
    """An :class:`AuditOutcome`; another text only in rows that were tampered with."""
    reason: str = ""
    """Reason of a refusal, as in the error; empty for changes."""
    suppressed: int = 0
    """Number of refusals that this event stands for, beyond those with separate events."""


@dataclass(frozen=True)
class StoredEvent:
    """An event of the log, with its place in the hash chain once it has one."""

    event_id: int
    """Number of the row."""
    event: AuditEvent
    sequence: int | None = None
    """Position in the chain, from 1; None until the event is chained."""
    hash: str = ""
    """Hash of the event and all before it; empty until the event is chained."""


@dataclass(frozen=True)
class ChainState:
    """Both ends of the hash chain, and the events that are not part of it yet."""

    anchor: Place
    """Place of the last deleted event; the first stored one follows it."""
    head: Place
    """Place of the newest chained event."""
    unchained: int
    """Number of events without a place."""
    oldest_unchained: datetime | None
    """Time of the oldest event without a place."""


def change_of(caller: Caller, resource: str, now: datetime, project: str = "") -> AuditEvent:
    """Return the event of a caller's change of ``resource``."""
    call = caller.call
    return AuditEvent(
        time=now,
        project=project or caller.project,
        actor=caller.subject,
        method=call.method,
        resource=resource,
        peer=call.peer,
        request_id=call.request_id,
    )


_REFUSALS = {
    Code.UNAUTHENTICATED: AuditOutcome.UNAUTHENTICATED,
    Code.PERMISSION_DENIED: AuditOutcome.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED: AuditOutcome.RESOURCE_EXHAUSTED,
}


def refusal_of(
    caller: Caller, error: DomainError, now: datetime, *, denied: bool = False
) -> AuditEvent | None:
    """Return the event of a call that ``error`` refuses; None for errors that are no refusals.

    ``denied`` is true if any error denies the call, such as the one of an unknown project.
    """
    outcome = _REFUSALS.get(error.code)
    if outcome is None:
        if not denied or error.code is Code.UNAVAILABLE:
            return None
        outcome = AuditOutcome.PERMISSION_DENIED
    event = change_of(caller, "", now)
    return dataclasses.replace(event, outcome=outcome, reason=error.reason)


Condition = tuple[str, str, str | datetime]
"""A field of an event, a key of :data:`tailrace.formats.comparisons.OPERATORS`, and a value."""

_FIELDS = ("actor", "method", "resource", "outcome", "project")
"""Fields that a filter compares with =."""


def parse_audit_filter(text: str) -> list[Condition]:
    """Return the conditions of a filter, all of which must hold.

    Raises:
        InvalidInput: The filter is malformed; the message names the place and the valid forms.
    """
    example = 'method = "RunService/CancelRun"'
    try:
        return [_condition(part) for part in comparisons(text, example, MAX_CONDITIONS)]
    except FilterError as error:
        raise InvalidInput.field("filter", str(error)) from error


def _condition(comparison: Comparison) -> Condition:
    field, sign, at = comparison.field, comparison.sign, comparison.at
    if field == "time":
        if sign not in OPERATORS:
            raise FilterError(at, f"time takes {' '.join(OPERATORS)}, not {sign}")
        return field, sign, filter_time(comparison.value, at)
    if field not in _FIELDS:
        raise FilterError(at, f"unknown field {field[:80]!r}; there is time, {', '.join(_FIELDS)}")
    if sign != "=":
        raise FilterError(at, f"{field} takes = only, not {sign}")
    return field, sign, comparison.value


def chain_record(event: AuditEvent, sequence: int) -> dict[str, Any]:
    """Return an event as the plain data that the chain hashes."""
    return {
        "sequence": sequence,
        "time": audit_time(event.time),
        "project": event.project,
        "actor": event.actor,
        "method": event.method,
        "resource": event.resource,
        "peer": event.peer,
        "request_id": event.request_id,
        "outcome": str(event.outcome),
        "reason": event.reason,
        "suppressed": event.suppressed,
    }


def chain(place: Place, event: AuditEvent) -> Place:
    """Return the place of an event that follows ``place``."""
    sequence = place.sequence + 1
    return Place(sequence, link(place.hash, chain_record(event, sequence)))
