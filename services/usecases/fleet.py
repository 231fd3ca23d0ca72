"""The workers and pools, as operators see them, and how a worker is drained."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.pages import fitting, wire_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.run import run_name
from services.domain.worker import Worker, WorkerState, worker_name
from services.storage import attempts, outbox, runs, workers
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Workers of a page when the request does not say."""


@dataclass(frozen=True)
class WorkerView:
    """A worker with what its slots run."""

    worker: Worker
    occupied: dict[str, str]
    """``runs/{run}/stages/{stage}`` by slot; idle slots are left out."""


@dataclass(frozen=True)
class PoolView:
    """A pool as it stands."""

    name: str
    """Its name."""
    workers: int
    """Workers that are online and serve it."""
    slots: int
    """Their slots, those in quarantine left out."""
    busy_slots: int
    """Of these, how many run a stage."""
    queued_stages: int
    """Attempts that are queued for it."""
    workers_without_broker: int = 0
    """Of the workers, how many have no connection to the broker."""


async def list_workers(context: Context, *, size: int, token: str) -> tuple[list[WorkerView], str]:
    """A page of workers by name, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "workers", [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        found = await workers.page(conn, after=position[0] if position else "", limit=limit + 1)
        occupied = await _occupied(conn)
    views = [WorkerView(worker, occupied.get(worker.worker_id, {})) for worker in found]
    views = fitting([(wire_size(str(view)), view) for view in views], limit)
    if len(views) == len(found):
        return views, ""
    return views, encode_page_token([views[-1].worker.worker_id], "workers")


async def get_worker(context: Context, worker_id: str) -> WorkerView:
    """A worker. Raises ``NotFound``."""
    async with context.database.read() as conn:
        return await _view(conn, worker_id)


async def drain_worker(context: Context, worker_id: str) -> WorkerView:
    """Let a worker finish what it runs and take no more.

    Raises ``NotFound`` and ``FailedPrecondition`` (WORKER_OFFLINE).
    """
    async with context.database.write() as conn:
        drains = await workers.drain(conn, worker_id)
        found = await _view(conn, worker_id)
    if not drains:
        raise FailedPrecondition(
            "WORKER_OFFLINE",
            f"{worker_name(worker_id)} is offline: it takes no stage, and would not hear of it",
        )
    return found


async def list_pools(context: Context) -> list[PoolView]:
    """The pools that a live worker serves or a stage is queued for, by name."""
    async with context.database.read() as conn:
        live = [w for w in await workers.live(conn) if w.state is WorkerState.ONLINE]
        queued = await outbox.depth(conn)
        occupied = await _occupied(conn)
    names = sorted({*queued, *(pool for worker in live for pool in worker.pools)})
    return [_pool(name, live, queued.get(name, 0), occupied) for name in names]


def _pool(
    name: str, live: list[Worker], queued: int, occupied: dict[str, dict[str, str]]
) -> PoolView:
    serving = [worker for worker in live if name in worker.pools]
    busy = sum(len(occupied.get(worker.worker_id, {})) for worker in serving)
    usable = [slot for worker in serving for slot in worker.slots if not slot.get("quarantine")]
    cut_off = sum(bool(worker.broker_error) for worker in serving)
    return PoolView(name, len(serving), len(usable), busy, queued, cut_off)


async def _view(conn: AsyncConnection, worker_id: str) -> WorkerView:
    worker = await workers.get(conn, worker_id)
    if worker is None:
        raise NotFound(
            "WORKER_NOT_FOUND",
            f"{worker_name(worker_id)} does not exist; `tailrace workers list` names all",
        )
    return WorkerView(worker, (await _occupied(conn)).get(worker_id, {}))


async def _occupied(conn: AsyncConnection) -> dict[str, dict[str, str]]:
    """``runs/{run}/stages/{stage}`` by slot, by worker."""
    occupied: dict[str, dict[str, str]] = {}
    for attempt in await attempts.running(conn):
        run = await runs.by_uid(conn, attempt.run_uid)
        if run is not None:
            stage = f"{run_name(run.run_id)}/stages/{attempt.stage_id}"
            occupied.setdefault(attempt.worker_id, {})[attempt.slot] = stage
    return occupied
