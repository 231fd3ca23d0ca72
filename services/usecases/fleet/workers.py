"""Workers and pools for operators, and draining of workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.access.token import ALL_PROJECTS
from services.domain.caller import Caller
from services.domain.errors import FailedPrecondition, NotFound
from services.domain.pages import take_fitting, wire_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.run import Run, run_name
from services.domain.worker import Worker, WorkerState, worker_name
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts, outbox, runs, workers
from services.storage.rows.access import audit
from services.usecases.context import Context

OTHER_PROJECT = "projects/-"
"""Name that stands for a stage of a project that the caller does not see."""

DEFAULT_PAGE = 100
"""Default number of workers on a page."""


@dataclass(frozen=True)
class WorkerView:
    """A worker and the stages in its slots."""

    worker: Worker
    occupied: dict[str, str]
    """Stages by slot, see :func:`_stage_name`; idle slots are left out."""


@dataclass(frozen=True)
class PoolView:
    """The current state of a pool."""

    name: str
    """Name of the pool."""
    workers: int
    """Number of online workers that serve the pool."""
    slots: int
    """Number of their slots, without quarantined ones."""
    busy_slots: int
    """Number of slots that run a stage."""
    queued_stages: int
    """Number of attempts queued for the pool."""
    workers_without_broker: int = 0
    """Number of the workers without a broker connection."""


async def list_workers(
    context: Context, caller: Caller, *, size: int, token: str, everyone: bool = False
) -> tuple[list[WorkerView], str]:
    """Return a page of workers by name, and the next page's token; raise ``InvalidInput``.

    The page omits workers that have been offline for long, unless ``everyone`` is set.
    """
    position = decode_page_token(token, "workers", [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    expiry = timedelta(seconds=context.settings.worker_expiry_seconds)
    seen_since = None if everyone else utc_now() - expiry
    after = position[0] if position else ""
    async with context.database.read() as conn:
        page = await workers.page(conn, after=after, limit=limit + 1, seen_since=seen_since)
        occupied = await _occupied(conn, caller)
    views = [WorkerView(worker, occupied.get(worker.worker_id, {})) for worker in page]
    views = take_fitting([(wire_size(str(view)), view) for view in views], limit)
    if len(views) == len(page):
        return views, ""
    return views, encode_page_token([views[-1].worker.worker_id], "workers")


async def get_worker(context: Context, caller: Caller, worker_id: str) -> WorkerView:
    """Return a worker; raise ``NotFound``."""
    async with context.database.read() as conn:
        return await _view(conn, caller, worker_id)


async def drain_worker(context: Context, caller: Caller, worker_id: str) -> WorkerView:
    """Let a worker finish its stages and take no more until :func:`undrain_worker`.

    Raises ``NotFound``.
    """
    return await _set_drained(context, caller, worker_id, drained=True)


async def undrain_worker(context: Context, caller: Caller, worker_id: str) -> WorkerView:
    """Let a drained worker take stages again; raise ``NotFound``."""
    view = await _set_drained(context, caller, worker_id, drained=False)
    context.wakeups.wake(OUTBOX)
    return view


async def forget_worker(context: Context, caller: Caller, worker_id: str) -> None:
    """Remove a worker that is offline.

    Raises:
        NotFound: The worker does not exist.
        FailedPrecondition: The worker is not OFFLINE (WORKER_ALIVE).
    """
    async with context.database.write() as conn:
        worker = await _require_worker(conn, worker_id)
        if not await workers.forget(conn, worker_id):
            raise FailedPrecondition(
                "WORKER_ALIVE",
                f"{worker_name(worker_id)} is {worker.state}: only a worker that is OFFLINE can be "
                "forgotten; drain it or stop it first",
            )
        await audit.record(conn, caller, worker_name(worker_id), project=ALL_PROJECTS)


async def _set_drained(
    context: Context, caller: Caller, worker_id: str, *, drained: bool
) -> WorkerView:
    async with context.database.write() as conn:
        if (await _require_worker(conn, worker_id)).drained is not drained:
            await workers.set_drained(conn, worker_id, drained=drained)
            await audit.record(conn, caller, worker_name(worker_id), project=ALL_PROJECTS)
        return await _view(conn, caller, worker_id)


async def list_pools(context: Context) -> list[PoolView]:
    """Return the pools that a live worker serves or that have queued stages, by name."""
    async with context.database.read() as conn:
        live = [w for w in await workers.list_live(conn) if w.state is WorkerState.ONLINE]
        queued = await outbox.count_by_pool(conn)
        occupied = await attempts.list_running(conn)
    busy = Counter(worker_id for worker_id, _ in {(a.worker_id, a.slot) for a in occupied})
    names = sorted({*queued, *(pool for worker in live for pool in worker.pools)})
    return [_pool(name, live, queued.get(name, 0), busy) for name in names]


def _pool(name: str, live: list[Worker], queued: int, busy: Counter[str]) -> PoolView:
    serving = [worker for worker in live if name in worker.pools]
    slots_in_use = sum(busy[worker.worker_id] for worker in serving)
    usable = [slot for worker in serving for slot in worker.slots if not slot.get("quarantine")]
    without_broker = sum(bool(worker.broker_error) for worker in serving)
    return PoolView(name, len(serving), len(usable), slots_in_use, queued, without_broker)


async def _view(conn: AsyncConnection, caller: Caller, worker_id: str) -> WorkerView:
    worker = await _require_worker(conn, worker_id)
    return WorkerView(worker, (await _occupied(conn, caller)).get(worker_id, {}))


async def _require_worker(conn: AsyncConnection, worker_id: str) -> Worker:
    worker = await workers.get(conn, worker_id)
    if worker is None:
        raise NotFound(
            "WORKER_NOT_FOUND",
            f"{worker_name(worker_id)} does not exist; `tailrace workers list` names all",
        )
    return worker


async def _occupied(conn: AsyncConnection, caller: Caller) -> dict[str, dict[str, str]]:
    """Return the names of running stages by slot, by worker."""
    occupied: dict[str, dict[str, str]] = {}
    for attempt in await attempts.list_running(conn):
        run = await runs.find_by_uid(conn, attempt.run_uid)
        if run is not None:
            stage = _stage_name(caller, run, attempt.stage_id)
            occupied.setdefault(attempt.worker_id, {})[attempt.slot] = stage
    return occupied


def _stage_name(caller: Caller, run: Run, stage_id: str) -> str:
    """Return a stage's name as a caller may see it: of another project, only that it is one."""
    name = f"{run_name(run.run_id)}/stages/{stage_id}"
    if run.project == caller.project:
        return name
    return f"projects/{run.project}/{name}" if caller.is_cluster_admin else OTHER_PROJECT
