"""WatchRun: a run as it is, then again after each change."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.domain.caller import Caller
from services.domain.errors import NotFound, Unavailable
from services.domain.run import RUN_TERMINAL
from services.storage.rows import runs
from services.usecases.context import Context
from services.usecases.runs.view import RunView, view


async def watch_run(
    context: Context, caller: Caller, run_id: str, *, after_revision: int
) -> AsyncIterator[RunView]:
    """Yield the run whenever its revision passes the last one; end once it is terminal.

    Changes that follow each other faster than the reader takes them are yielded as one. Raises
    ``NotFound``, and ``Unavailable`` when the server drains.
    """
    async with context.database.read() as conn:
        uid = (await runs.get(conn, caller.project, run_id)).uid
    with context.wakeups.subscribe(uid) as subscription:
        while True:
            async with context.database.read() as conn:
                run = await runs.find_by_uid(conn, uid)
                if run is None:
                    raise NotFound("RUN_NOT_FOUND", f"runs/{run_id} does not exist any more")
                changed = run.revision > after_revision
                seen = await view(conn, run) if changed else None
            if seen is not None:
                after_revision = run.revision
                yield seen
            if run.state in RUN_TERMINAL:
                return
            if context.shutdown.in_progress:
                raise draining()
            await subscription.wait(context.settings.poll_seconds)


def draining() -> Unavailable:
    """The error that ends a stream when the server goes away."""
    return Unavailable("DRAINING", "the server is going away: connect again where you stopped")
