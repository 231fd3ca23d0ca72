"""WorkerHeartbeat: one message keeps a worker and all its leases alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.domain.directive import Directive
from services.domain.errors import DomainError, InvalidInput
from services.domain.lease import parse_token
from services.domain.run import RunState
from services.domain.worker import Worker, WorkerState
from services.storage.rows import attempts, workers
from services.usecases.context import Context
from services.usecases.stages.acquire import foreign_worker, unknown_worker
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
    secret: str
    """What the worker got when it registered."""
    broker_error: str = ""
    """Fault of the worker's broker connection; empty while it is connected."""
    ended: bool = False
    """Whether the worker ends with it."""

    def state(self, worker: Worker) -> WorkerState:
        """Return the worker's state by this message."""
        if self.ended:
            return WorkerState.OFFLINE
        drains = self.draining or worker.drained
        return WorkerState.DRAINING if drains else WorkerState.ONLINE


Directives = tuple[list[Directive], Directive]
"""One per token, in order, and one for the worker."""


async def worker_heartbeat(context: Context, heartbeat: Heartbeat) -> Directives:
    """Count a heartbeat for the worker and each lease.

    Returns a directive per token, in order, and one for the worker. Raises ``InvalidInput``,
    ``NotFound`` (WORKER_UNKNOWN) and ``PermissionDenied`` (WORKER_SECRET).
    """
    if len(heartbeat.tokens) > MAX_SLOTS:
        raise InvalidInput.field(
            "lease_tokens", f"has {len(heartbeat.tokens)} entries, at most {MAX_SLOTS}"
        )
    checked = replace(
        heartbeat,
        quarantine=checked_quarantine(heartbeat.quarantine),
        broker_error=heartbeat.broker_error[:MAX_PROBLEM],
    )
    answer: Directives = await context.groups.submit(
        context, count, checked, gather_seconds=GATHER_SECONDS
    )
    return answer


async def count(
    context: Context, heartbeats: Sequence[Heartbeat]
) -> list[Directives | DomainError]:
    """Count the heartbeats of several workers in one transaction."""
    async with context.database.write() as conn:
        held = await workers.lock(conn, {beat.worker_id for beat in heartbeats})
        sound = {
            beat.worker_id: beat
            for beat in heartbeats
            if beat.worker_id in held and held[beat.worker_id].has_secret(beat.secret)
        }
        states = {name: beat.state(held[name]) for name, beat in sound.items()}
        known = await workers.record_heartbeats(conn, (held[name] for name in sound), states)
        for beat in sound.values():
            await workers.record_problems(
                conn, known[beat.worker_id], beat.quarantine, beat.broker_error
            )
        tokens = [token for beat in sound.values() for token in beat.tokens]
        leases = [lease for lease in map(parse_token, tokens) if lease is not None]
        alive = await attempts.record_heartbeats(conn, leases)
    return [_answer(beat, held, alive) for beat in heartbeats]


def _answer(
    beat: Heartbeat, held: Mapping[str, Worker], alive: Mapping[str, RunState]
) -> Directives | DomainError:
    worker = held.get(beat.worker_id)
    if worker is None:
        return unknown_worker(beat.worker_id)
    if not worker.has_secret(beat.secret):
        return foreign_worker(beat.worker_id)
    directives = [_directive(alive.get(token)) for token in beat.tokens]
    drains = beat.state(worker) is WorkerState.DRAINING
    return directives, Directive.DRAIN if drains else Directive.CONTINUE


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
