"""WatchRun: stream a run now and after each change."""

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

    Changes that come faster than the reader reads them are yielded as one.

    Raises:
        NotFound: The run does not exist.
        Unavailable: The server drains (DRAINING).
    """
    async with context.database.read() as conn:
        uid = (await runs.get(conn, caller.project, run_id)).uid
    with context.wakeups.subscribe(uid) as subscription:
        while True:
            async with context.database.read() as conn:
                run = await runs.find_by_uid(conn, uid)
                if run is None:
                    raise NotFound("RUN_NOT_FOUND", f"runs/{run_id} does not exist any more")
                has_changed = run.revision > after_revision
                run_view = await view(conn, context, run) if has_changed else None
            if run_view is not None:
                after_revision = run.revision
                yield run_view
            if run.state in RUN_TERMINAL:
                return
            if context.shutdown.in_progress:
                raise draining()
            await subscription.wait(context.settings.poll_seconds)


def draining() -> Unavailable:
    """Return the error that ends a stream when the server shuts down."""
    return Unavailable(
        "DRAINING", "the server is shutting down: reconnect and continue where you stopped"
    )
