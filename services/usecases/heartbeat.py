"""WorkerHeartbeat: one message keeps a worker and all its leases alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.directive import Directive
from services.domain.errors import InvalidInput, TailraceError
from services.domain.lease import parse_token
from services.domain.run import RunState
from services.domain.worker import WorkerState
from services.storage import attempts, workers
from services.usecases.acquire import unknown_worker
from services.usecases.context import Context
from tailrace.formats.broker import MAX_PROBLEM
from tailrace.formats.limits import MAX_QUARANTINE_REASON, MAX_SLOTS

GATHER_SECONDS = 0.05
"""How long heartbeats wait for others: nobody waits for their answer, and a fleet's messages come
by the hundred a second."""


@dataclass(frozen=True)
class Heartbeat:
    """One message."""

    worker_id: str
    tokens: list[str]
    """Its leases."""
    draining: bool
    quarantine: Mapping[str, str]
    """Why which slots take no stage."""
    broker_error: str = ""
    """Why the worker has no connection to the broker; empty if it has one."""


Directives = tuple[list[Directive], Directive]
"""One per token, in order, and one for the worker."""


async def worker_heartbeat(
    context: Context,
    worker_id: str,
    tokens: list[str],
    *,
    draining: bool,
    quarantine: Mapping[str, str] | None = None,
    broker_error: str = "",
) -> Directives:
    """Count a heartbeat for the worker and each lease; ``quarantine`` has reasons by slot.

    Returns a directive per token, in order, and one for the worker. Raises ``InvalidInput`` and
    ``NotFound`` (WORKER_UNKNOWN).
    """
    if len(tokens) > MAX_SLOTS:
        raise InvalidInput.field("lease_tokens", f"has {len(tokens)} entries, at most {MAX_SLOTS}")
    heartbeat = Heartbeat(
        worker_id,
        tokens,
        draining,
        checked_quarantine(quarantine or {}),
        broker_error[:MAX_PROBLEM],
    )
    answer: Directives = await context.groups.submit(
        context, count, heartbeat, gather_seconds=GATHER_SECONDS
    )
    return answer


async def count(
    context: Context, heartbeats: Sequence[Heartbeat]
) -> list[Directives | TailraceError]:
    """Count the heartbeats of several workers in one transaction."""
    draining = {beat.worker_id: beat.draining for beat in heartbeats}
    async with context.database.write() as conn:
        known = await workers.beat_all(conn, draining)
        heard = [beat for beat in heartbeats if beat.worker_id in known]
        for beat in heard:
            await workers.note_problems(
                conn, known[beat.worker_id], beat.quarantine, beat.broker_error
            )
        leases = {token: parse_token(token) for beat in heard for token in beat.tokens}
        alive = await attempts.beat_all(conn, [lease for lease in leases.values() if lease])
    answers: list[Directives | TailraceError] = []
    for beat in heartbeats:
        worker = known.get(beat.worker_id)
        if worker is None:
            answers.append(unknown_worker(beat.worker_id))
            continue
        directives = [_directive(alive.get(token)) for token in beat.tokens]
        drains = worker.state is WorkerState.DRAINING
        answers.append((directives, Directive.DRAIN if drains else Directive.CONTINUE))
    return answers


def checked_quarantine(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reasons by slot, cut to what is shown. Raises ``InvalidInput`` for too many."""
    if len(reasons) > MAX_SLOTS:
        raise InvalidInput.field("quarantine", f"has {len(reasons)} entries, at most {MAX_SLOTS}")
    return {
        slot: reason[:MAX_QUARANTINE_REASON].replace("\0", "\N{REPLACEMENT CHARACTER}")
        for slot, reason in reasons.items()
    }


def _directive(state: RunState | None) -> Directive:
    """What to do with a lease, from the state of its run; ``None`` for a lease that is lost."""
    if state is None:
        return Directive.LEASE_LOST
    return Directive.CANCEL if state is RunState.CANCELLING else Directive.CONTINUE
