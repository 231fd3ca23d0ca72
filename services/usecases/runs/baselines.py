"""Baselines: names of runs that others are compared with."""

from __future__ import annotations

from services.domain.baseline import Baseline
from services.domain.caller import Caller
from services.domain.errors import FailedPrecondition, InvalidInput, NotFound
from services.domain.names import description_violations
from services.domain.pages import take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.run import RunState
from services.storage.engine.columns import utc_now
from services.storage.engine.locks import advisory_lock
from services.storage.rows import baselines as store
from services.storage.rows import runs
from services.storage.rows.access import audit
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Default page size."""


async def set_baseline(
    context: Context, caller: Caller, baseline_id: str, run_id: str, description: str
) -> Baseline:
    """Point a baseline to a run; repeating it changes nothing.

    Raises:
        InvalidInput: The description is not valid.
        NotFound: The run does not exist.
        FailedPrecondition: The run has not succeeded (RUN_NOT_SUCCEEDED).
    """
    if violations := description_violations("description", description):
        raise InvalidInput(violations)
    async with context.database.write() as conn:
        await advisory_lock(conn, f"baseline:{caller.project}:{baseline_id}")
        run = await runs.get(conn, caller.project, run_id)
        if run.state is not RunState.SUCCEEDED:
            raise FailedPrecondition(
                "RUN_NOT_SUCCEEDED", f"{run.name} is {run.state}: a baseline must be SUCCEEDED"
            )
        now = utc_now()
        earlier = await store.find(conn, caller.project, baseline_id)
        if earlier is not None and (earlier.run_uid, earlier.description) == (run.uid, description):
            return earlier
        create_time = now if earlier is None else earlier.create_time
        baseline = Baseline(baseline_id, run.uid, run.run_id, description, create_time, now)
        await store.put(conn, caller.project, baseline)
        await audit.record(conn, caller, f"baselines/{baseline_id}")
    return baseline


async def get_baseline(context: Context, caller: Caller, baseline_id: str) -> Baseline:
    """Return a baseline. Raises ``NotFound``."""
    async with context.database.read() as conn:
        return await store.get(conn, caller.project, baseline_id)


async def list_baselines(
    context: Context, caller: Caller, *, size: int, token: str
) -> tuple[list[Baseline], str]:
    """Return a page of baselines by id, and the next page's token. Raises ``InvalidInput``."""
    query = ["baselines", caller.project]
    position = decode_page_token(token, query, [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    after = position[0] if position else ""
    async with context.database.read() as conn:
        rows = await store.page(conn, caller.project, after=after, limit=limit + 1)
    page = take_fitting([(text_size(row.description), row) for row in rows], limit)
    more = len(page) < len(rows)
    return page, encode_page_token([page[-1].baseline_id], query) if more else ""


async def delete_baseline(context: Context, caller: Caller, baseline_id: str) -> None:
    """Delete a baseline; the run stays. Raises ``NotFound``."""
    async with context.database.write() as conn:
        if not await store.remove(conn, caller.project, baseline_id):
            raise NotFound("BASELINE_NOT_FOUND", f"baselines/{baseline_id} does not exist")
        await audit.record(conn, caller, f"baselines/{baseline_id}")
