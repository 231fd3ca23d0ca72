"""WorkerHeartbeat: keep a worker and all its leases alive with one message."""

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
"""Seconds that a heartbeat waits for others to share its transaction: its response is not urgent,
and a fleet sends hundreds of messages per second."""


@dataclass(frozen=True)
class Heartbeat:
    """One heartbeat of a worker."""

    worker_id: str
    tokens: list[str]
    """Lease tokens of the worker."""
    draining: bool
    quarantine: Mapping[str, str]
    """Reason each quarantined slot refuses work, keyed by slot id."""
    secret: str
    """Secret from the worker's registration."""
    broker_error: str = ""
    """Fault of the worker's broker connection; empty while it is connected."""
    ended: bool = False
    """True in the last heartbeat of a worker that ends."""

    def state(self, worker: Worker) -> WorkerState:
        """Return the state of the worker after this message."""
        if self.ended:
            return WorkerState.OFFLINE
        drains = self.draining or worker.drained
        return WorkerState.DRAINING if drains else WorkerState.ONLINE


Directives = tuple[list[Directive], Directive]
"""One directive per token, in order, and one for the worker."""


async def worker_heartbeat(context: Context, heartbeat: Heartbeat) -> Directives:
    """Count a heartbeat for the worker and each lease, and return the directives.

    Raises:
        InvalidInput: The message names too many leases or slots.
        NotFound: The worker is not registered (WORKER_UNKNOWN).
        PermissionDenied: The secret is not from the last registration (WORKER_SECRET).
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
    directives: Directives = await context.groups.submit(
        context, count_heartbeats, checked, gather_seconds=GATHER_SECONDS
    )
    return directives


async def count_heartbeats(
    context: Context, heartbeats: Sequence[Heartbeat]
) -> list[Directives | DomainError]:
    """Count the heartbeats of several workers in one transaction."""
    async with context.database.write() as conn:
        locked_workers = await workers.lock(conn, {beat.worker_id for beat in heartbeats})
        valid_beats = {
            beat.worker_id: beat
            for beat in heartbeats
            if beat.worker_id in locked_workers
            and locked_workers[beat.worker_id].has_secret(beat.secret)
        }
        states = {name: beat.state(locked_workers[name]) for name, beat in valid_beats.items()}
        counted_workers = await workers.record_heartbeats(
            conn, (locked_workers[name] for name in valid_beats), states
        )
        for beat in valid_beats.values():
            await workers.record_problems(
                conn, counted_workers[beat.worker_id], beat.quarantine, beat.broker_error
            )
        tokens = [token for beat in valid_beats.values() for token in beat.tokens]
        leases = [lease for lease in map(parse_token, tokens) if lease is not None]
        alive = await attempts.record_heartbeats(conn, leases)
    return [_response(beat, locked_workers, alive) for beat in heartbeats]


def _response(
    beat: Heartbeat, locked_workers: Mapping[str, Worker], alive: Mapping[str, RunState]
) -> Directives | DomainError:
    worker = locked_workers.get(beat.worker_id)
    if worker is None:
        return unknown_worker(beat.worker_id)
    if not worker.has_secret(beat.secret):
        return foreign_worker(beat.worker_id)
    directives = [_directive(alive.get(token)) for token in beat.tokens]
    drains = beat.state(worker) is WorkerState.DRAINING
    return directives, Directive.DRAIN if drains else Directive.CONTINUE


def checked_quarantine(reasons: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons by slot, shortened for display; raise ``InvalidInput`` for too many."""
    if len(reasons) > MAX_SLOTS:
        raise InvalidInput.field("quarantine", f"has {len(reasons)} entries, at most {MAX_SLOTS}")
    return {
        slot: reason[:MAX_QUARANTINE_REASON].replace("\0", "\N{REPLACEMENT CHARACTER}")
        for slot, reason in reasons.items()
    }


def _directive(state: RunState | None) -> Directive:
    """Return the directive for a lease by the state of its run; ``None`` for a lost lease."""
    if state is None:
        return Directive.LEASE_LOST
    return Directive.CANCEL if state is RunState.CANCELLING else Directive.CONTINUE
