"""Quotas of runs: unfinished ones, in all and per label, and running ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import QuotaExceeded
from services.domain.quota import Quota
from services.storage.engine.locks import advisory_lock
from services.storage.engine.read_cache import once_per_transaction
from services.storage.rows import outbox, runs
from services.storage.rows.access import quotas
from services.usecases.context import Context


def counts_unfinished(context: Context, project: str) -> bool:
    """Return True if a new run of the project must be counted with its other runs."""
    limit = context.limits.limit(project, Quota.UNFINISHED_RUNS)
    return limit is not None or bool(context.settings.max_runs_per_label)


async def lock_projects(conn: AsyncConnection, context: Context, projects: Iterable[str]) -> None:
    """Keep other transactions from adding runs to projects whose unfinished runs are counted.

    Counting and storing must not interleave with another call's: both would fit. It comes before
    any other lock of the transaction, in one order, so that no two transactions deadlock.
    """
    for project in sorted(set(projects)):
        if counts_unfinished(context, project):
            await advisory_lock(conn, f"quota:{project}")


async def check_unfinished(
    conn: AsyncConnection, context: Context, project: str, labels: Mapping[str, str]
) -> None:
    """Refuse one more run if the quota of the project or of a label is used up.

    Runs without a label that has a quota count together, so that omitting it does not evade the
    quota. The transaction must hold :func:`lock_projects`.

    Raises:
        QuotaExceeded: The quota is used up (TOO_MANY_RUNS).
    """
    limit = context.limits.limit(project, Quota.UNFINISHED_RUNS)
    if limit is not None:
        count = await runs.count_unfinished(conn, project)
        _check(project, Quota.UNFINISHED_RUNS, f"project {project}", count, limit)
    for name, most in context.settings.max_runs_per_label.items():
        value = labels.get(name)
        count = await runs.count_unfinished(conn, project, label=(name, value))
        owner = (
            f"the rest, without labels.{name}," if value is None else f"labels.{name} = {value!r}"
        )
        _check(project, "runs_per_label", owner, count, most)


def _check(project: str, quota: str, owner: str, count: int, limit: int) -> None:
    if count >= limit:
        raise QuotaExceeded(
            "TOO_MANY_RUNS",
            f"{owner} has {count} unfinished runs, at most {limit} are allowed: wait for one to "
            "end, or cancel one",
            quota=quota,
            project=project,
            limit=limit,
            use=count,
        )


async def free_places(conn: AsyncConnection, context: Context) -> outbox.Places | None:
    """Return the numbers of runs that may start now; ``None`` if no project has a limit.

    A run takes its place when it is claimed to be published, and keeps it until it ends. The
    transaction keeps other relays from claiming, so that no two give away the same place.
    """
    limits, quota = context.limits, Quota.RUNNING_RUNS
    default = limits.defaults[quota]
    overridden = {project: limits.limit(project, quota) for project in limits.overridden(quota)}
    if default is None and all(limit is None for limit in overridden.values()):
        return None
    await outbox.await_claims(conn)
    waiting = await outbox.list_waiting_projects(conn)
    by_project = {**dict.fromkeys(waiting, default), **overridden}
    limited = {project: limit for project, limit in by_project.items() if limit is not None}
    counts = await quotas.count_running(conn, limited)
    places: dict[str, int | None] = {
        project: None if limit is None else max(0, limit - counts.get(project, 0))
        for project, limit in by_project.items()
    }
    # Projects whose first run came after the list was read are left to the next pass.
    return outbox.Places(places, None if default is None else 0)


async def place_wait(conn: AsyncConnection, context: Context, project: str) -> str:
    """Return the reason why a run waits for a place; empty if its project has a free one."""
    limit = context.limits.limit(project, Quota.RUNNING_RUNS)
    if limit is None:
        return ""
    counts = await once_per_transaction(conn, quotas.count_running, (project,))
    count = counts.get(project, 0)
    if count < limit:
        return ""
    return (
        f"QUOTA: project {project} has {count} running runs, at most {limit} are allowed: it "
        "starts once one of them ends"
    )
