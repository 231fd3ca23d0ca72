"""WorkerHeartbeat: one message keeps a worker and all its leases alive."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.directive import Directive
from services.domain.errors import InvalidInput, LeaseLost
from services.domain.lease import parse_token
from services.domain.run import RunState
from services.domain.worker import WorkerState
from services.storage import attempts, runs, workers
from services.usecases.acquire import unknown_worker
from services.usecases.context import Context
from services.usecases.lifecycle import peek_lease
from services.usecases.register import MAX_SLOTS

MAX_REASON = 500
"""Characters that are kept of why a slot is in quarantine."""


async def worker_heartbeat(
    context: Context,
    worker_id: str,
    tokens: list[str],
    *,
    draining: bool,
    quarantine: Mapping[str, str] | None = None,
) -> tuple[list[Directive], Directive]:
    """Count a heartbeat for the worker and each lease; ``quarantine`` has reasons by slot.

    Returns a directive per token, in order, and one for the worker. Raises ``InvalidInput`` and
    ``NotFound`` (WORKER_UNKNOWN).
    """
    if len(tokens) > MAX_SLOTS:
        raise InvalidInput.field("lease_tokens", f"has {len(tokens)} entries, at most {MAX_SLOTS}")
    async with context.database.write() as conn:
        worker = await workers.beat(conn, worker_id, draining=draining)
        if worker is None:
            raise unknown_worker(worker_id)
        await workers.quarantine(conn, worker, checked_quarantine(quarantine or {}))
        # Rows are always locked in one order, or two workers' messages could block each other.
        directives = {token: await _beat(conn, token) for token in sorted(set(tokens))}
    drains = worker.state is WorkerState.DRAINING
    of_worker = Directive.DRAIN if drains else Directive.CONTINUE
    return [directives[token] for token in tokens], of_worker


def checked_quarantine(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reasons by slot, cut to what is shown. Raises ``InvalidInput`` for too many."""
    if len(reasons) > MAX_SLOTS:
        raise InvalidInput.field("quarantine", f"has {len(reasons)} entries, at most {MAX_SLOTS}")
    return {slot: reason[:MAX_REASON] for slot, reason in reasons.items()}


async def _beat(conn: AsyncConnection, token: str) -> Directive:
    try:
        attempt = await peek_lease(conn, token)
    except LeaseLost:
        return Directive.LEASE_LOST
    lease = parse_token(token)
    if lease is None or not await attempts.beat(conn, lease.task_id, attempt.lease_digest):
        return Directive.LEASE_LOST
    run = await runs.by_uid(conn, attempt.run_uid)
    cancelling = run is not None and run.state is RunState.CANCELLING
    return Directive.CANCEL if cancelling else Directive.CONTINUE
