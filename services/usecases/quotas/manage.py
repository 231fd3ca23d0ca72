"""Reading and setting the quotas of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller, unknown_project
from services.domain.errors import InvalidInput
from services.domain.quota import MAX_LIMIT, Quota
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import runs
from services.storage.rows.access import audit, projects
from services.storage.rows.access import quotas as store
from services.usecases.context import Context
from tailrace.formats.schema import Violation


@dataclass(frozen=True)
class QuotaState:
    """A quota of a project."""

    quota: Quota
    """The quota."""
    limit: int | None
    """Limit; ``None`` for no limit."""
    overridden: bool
    """True if the limit was set for the project."""
    use: int | None
    """Use now; ``None`` where each control plane counts for itself."""


@dataclass(frozen=True)
class Change:
    """Change of a quota: another limit, no limit, or the default again."""

    quota: Quota
    """The quota."""
    limit: int | None = None
    """Limit; ``None`` for no limit."""
    reset: bool = False
    """True for the default."""


async def get_quotas(context: Context, caller: Caller, project: str) -> list[QuotaState]:
    """Return the quotas of a project with their use.

    Raises:
        NotFound: The project does not exist, or is hidden from the caller (PROJECT_NOT_FOUND).
    """
    async with context.database.read() as conn:
        await _require_project(conn, caller, project)
        return await _states(conn, context, project)


async def set_quotas(
    context: Context, caller: Caller, project: str, changes: Sequence[Change]
) -> list[QuotaState]:
    """Change quotas of a project and return all of them.

    Raises:
        InvalidInput: A quota is changed twice, or a limit is out of range.
        NotFound: The project does not exist (PROJECT_NOT_FOUND).
    """
    violations = []
    for position, change in enumerate(changes):
        field = f"changes[{position}]"
        if change.quota in (earlier.quota for earlier in changes[:position]):
            violations.append(Violation(f"{field}.kind", "is changed twice"))
        if change.limit is not None and not 0 <= change.limit <= MAX_LIMIT:
            violations.append(Violation(f"{field}.limit", f"must be from 0 to {MAX_LIMIT}"))
    if violations:
        raise InvalidInput(violations)
    limits = {change.quota: change.limit for change in changes if not change.reset}
    reset = [change.quota for change in changes if change.reset]
    async with context.database.write() as conn:
        await _require_project(conn, caller, project)
        await store.write(conn, project, limits, reset, utc_now())
        await audit.record(conn, caller, f"projects/{project}/quotas", project=project)
        stored = (await store.read(conn, project)).get(project, {})
        states = await _states(conn, context, project, stored)
    context.limits.replace_project(project, stored)
    # A higher limit of running runs lets waiting ones start.
    context.wakeups.wake(OUTBOX)
    return states


async def _require_project(conn: AsyncConnection, caller: Caller, project: str) -> None:
    """Raise unless a project is the caller's, or exists and the caller is an administrator."""
    if project == caller.project:
        return
    if not caller.is_cluster_admin or not await projects.exists(conn, project):
        raise unknown_project(project)


async def _states(
    conn: AsyncConnection,
    context: Context,
    project: str,
    stored: Mapping[Quota, int | None] | None = None,
) -> list[QuotaState]:
    overrides = (await store.read(conn, project)).get(project, {}) if stored is None else stored
    use = {
        Quota.UNFINISHED_RUNS: await runs.count_unfinished(conn, project),
        Quota.RUNNING_RUNS: (await store.count_running(conn, [project])).get(project, 0),
        Quota.STORED_BYTES: await store.stored_bytes(conn, project),
    }
    defaults = context.limits.defaults
    return [
        QuotaState(
            quota,
            overrides[quota] if quota in overrides else defaults[quota],
            quota in overrides,
            use.get(quota),
        )
        for quota in Quota
    ]
