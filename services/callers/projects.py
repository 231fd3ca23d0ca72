"""Projects as this replica sees them: the callers' ones, remembered for seconds."""

from __future__ import annotations

import time

from services.domain.caller import DEFAULT_PROJECT, unknown_project
from services.storage.rows.access import projects as store
from services.usecases.context import Context

LOOK_SECONDS = 4.0
"""Longest time for which a project read from the database counts."""

_MAX_CACHED = 10_000


class Projects:
    """Projects that callers name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[str, float] = {}

    async def require(self, project: str) -> None:
        """Raise an error unless a project exists.

        Raises:
            NotFound: It does not exist (PROJECT_NOT_FOUND).
            Unavailable: The database does not answer.
        """
        now = time.monotonic()
        if (
            project == DEFAULT_PROJECT
            or now - self._seen.get(project, -LOOK_SECONDS) < LOOK_SECONDS
        ):
            return
        async with self._context.database.read() as conn:
            exists = await store.exists(conn, project)
        if not exists:
            raise unknown_project(project)
        if len(self._seen) >= _MAX_CACHED:
            self._seen.clear()
        self._seen[project] = now
