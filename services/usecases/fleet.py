"""ListWorkers: the workers, as operators see them."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.run import run_name
from services.domain.worker import Worker
from services.storage import attempts, runs, workers
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Workers of a page when the request does not say."""


@dataclass(frozen=True)
class WorkerView:
    """A worker with what its slots run."""

    worker: Worker
    occupied: dict[str, str]
    """``runs/{run}/stages/{stage}`` by slot; idle slots are left out."""


async def list_workers(context: Context, *, size: int, token: str) -> tuple[list[WorkerView], str]:
    """A page of workers by name, and the next page's token. Raises ``InvalidInput``."""
    position = decode_page_token(token, "workers", [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        found = await workers.page(conn, after=position[0] if position else "", limit=limit + 1)
        occupied: dict[str, dict[str, str]] = {}
        for attempt in await attempts.running(conn):
            run = await runs.by_uid(conn, attempt.run_uid)
            if run is not None:
                stage = f"{run_name(run.run_id)}/stages/{attempt.stage_id}"
                occupied.setdefault(attempt.worker_id, {})[attempt.slot] = stage
    views = [WorkerView(worker, occupied.get(worker.worker_id, {})) for worker in found[:limit]]
    if len(found) <= limit:
        return views, ""
    return views, encode_page_token([views[-1].worker.worker_id], "workers")
