"""ConfirmDispatch: record that a worker's chain has published the next stage."""

from __future__ import annotations

from datetime import timedelta

from services.domain.errors import InvalidInput
from services.domain.lease import parse_task_id
from services.storage.engine.columns import utc_now
from services.storage.rows import outbox
from services.usecases.context import Context


async def confirm_dispatch(context: Context, task_id: str) -> None:
    """Count a publication, so that the relay repeats it only if no worker claims the stage.

    Repetitions, and confirmations of claimed stages, change nothing. Raises ``InvalidInput``.
    """
    task = parse_task_id(task_id)
    if task is None:
        raise InvalidInput.field(
            "task_id", f"{task_id[:200]!r} is not of the form {{run uid}}.{{stage}}.{{attempt}}"
        )
    due = utc_now() + timedelta(seconds=context.settings.republish_seconds)
    async with context.database.write() as conn:
        await outbox.confirm(conn, task, due)
