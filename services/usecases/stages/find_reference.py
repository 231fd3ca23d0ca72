"""FindReference: log-probabilities under a starting model that another run has published."""

from __future__ import annotations

from services.domain.content.artifact import Artifact
from services.domain.errors import LeaseLost
from services.storage.rows import artifacts, runs
from services.usecases.context import Context
from services.usecases.runs.lifecycle import peek_lease
from tailrace.formats.stage_protocol import ArtifactKind


async def find_reference(context: Context, token: str, key: str) -> Artifact | None:
    """Return the newest log-probabilities with a key in the project of a lease's run.

    Raises:
        LeaseLost: The token was never a lease.
    """
    async with context.database.read() as conn:
        attempt = await peek_lease(conn, token)
        run = await runs.find_by_uid(conn, attempt.run_uid)
        if run is None:
            raise LeaseLost
        return await artifacts.find_by_key(conn, run.project, ArtifactKind.REFERENCE, key)
