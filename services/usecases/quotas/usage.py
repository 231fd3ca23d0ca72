"""Usage of projects, labels and users in a window of time."""

from __future__ import annotations

from datetime import UTC, datetime

from services.domain.caller import Caller
from services.domain.errors import InvalidInput
from services.domain.quota import Usage, UsageGroup
from services.storage.engine.columns import utc_now
from services.storage.rows.access import usage as store
from services.usecases.context import Context
from tailrace.formats.schema import Violation

MAX_USAGE_ENTRIES = 1000
"""Maximum number of entries of a response."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


async def sum_usage(
    context: Context,
    caller: Caller,
    group: UsageGroup,
    *,
    label: str,
    start: datetime | None,
    end: datetime | None,
) -> tuple[list[Usage], int]:
    """Return the usage by project, label or user, most slot-seconds first, and how many more.

    By project, an administrator gets all projects; everything else is about the caller's project.

    Raises:
        InvalidInput: The window is empty, or a label is missing or superfluous.
    """
    start, end = start or _FIRST, end or utc_now()
    violations = []
    if start >= end:
        violations.append(Violation("end_time", "must be after start_time"))
    if bool(label) != (group is UsageGroup.LABEL):
        violations.append(Violation("label", "must be set to sum up by label, and only then"))
    if violations:
        raise InvalidInput(violations)
    sees_all = group is UsageGroup.PROJECT and caller.is_cluster_admin
    project = None if sees_all else caller.project
    async with context.database.read() as conn:
        usage = await store.read(conn, store.Window(project, group, label, start, end))
    usage.sort(key=lambda entry: (-entry.slot_seconds, entry.key))
    return usage[:MAX_USAGE_ENTRIES], max(0, len(usage) - MAX_USAGE_ENTRIES)
