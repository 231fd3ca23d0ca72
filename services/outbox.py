"""The relay: publishes what the outbox says, and again until somebody claims it.

The database is the truth and the broker only transport, so publishing twice is harmless: the relay
claims due rows by compare-and-set, publishes outside the transaction with confirms and a time
limit, then marks them sent. Unclaimed publications are repeated with doubling delay, which also
refills a broker that lost everything.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.broker import Broker, BrokerError, StageTask
from services.domain.errors import Unavailable
from services.domain.run import RunState
from services.domain.stage import STAGE_DONE, StageState, backoff
from services.storage import outbox, stages, workers
from services.storage.database import utc_now
from services.storage.outbox import Entry
from services.usecases.context import Context
from services.wakeups import OUTBOX
from tailrace.formats import faults
from tailrace.formats.dispatch import TaskId
from tailrace.formats.faults import Moment

_log = structlog.get_logger(__name__)

BATCH = 100
"""Rows claimed in one pass."""

_MAX_FAILURE_DELAY = 30.0
"""Longest wait, in seconds, before a broker that did not answer is tried again."""

_IDLE_PAUSE = 0.05
"""Pause, in seconds, after a pass that found nothing to publish, however often it is woken."""

Chain = tuple[Entry, list[StageTask]]
"""A claimed row and what to publish for it."""


class Relay:
    """Publishes the outbox of one database to one broker; several may run side by side."""

    def __init__(self, context: Context, broker: Broker) -> None:
        self._context = context
        self._broker = broker

    async def run(self) -> None:
        """Publish until the shutdown; nothing that the broker or the database does ends it."""
        settings = self._context.settings
        with self._context.wakeups.subscribe(OUTBOX) as subscription:
            while not self._context.shutdown.begun:
                try:
                    claimed = await self.relay_once()
                except Unavailable as error:
                    _log.warning("relay waits for the database", error=error.message)
                    claimed = 0
                if claimed == 0:
                    # Each accepted run wakes us, also those that admission lets wait.
                    await self._context.shutdown.sleep(_IDLE_PAUSE)
                if claimed < BATCH:
                    await subscription.wait(settings.poll_seconds)

    async def relay_once(self) -> int:
        """Publish what is due now; how many rows were claimed."""
        claimed, chains = await self._claim()
        for position, (entry, tasks) in enumerate(chains):
            try:
                await self._publish(entry, tasks)
            except BrokerError as error:
                _log.warning(
                    "the broker did not take a stage",
                    run_uid=entry.task_id.run_uid,
                    task_id=str(entry.task_id),
                    error=str(error),
                )
                await self._settle(chains[:position], chains[position:])
                break
        else:
            await self._settle(chains, [])
        return claimed

    async def _claim(self) -> tuple[int, list[Chain]]:
        """Claim what is due: how many rows, and the chains that are to be published for them."""
        settings = self._context.settings
        floor = settings.admission_floor
        async with self._context.database.write() as conn:
            slots = await workers.slots_served(conn)
            entries = await outbox.claim(
                conn,
                uuid.uuid4().hex,
                # Long enough for every row of the pass to time out.
                hold=timedelta(seconds=settings.publish_timeout_seconds * 3 + 60),
                admission={pool: max(floor, 2 * count) for pool, count in slots.items()},
                floor=floor,
                limit=BATCH,
            )
            return len(entries), await _chains(conn, entries) if entries else []

    async def _publish(self, entry: Entry, tasks: list[StageTask]) -> None:
        repeated = entry.publications > 0
        faults.before(Moment.PUBLISH)
        await self._broker.publish(entry.task_id.run_uid, tasks, declare_anew=repeated)
        faults.after(Moment.PUBLISH)
        log = _log.info if entry.publications == 0 else _log.debug
        log(
            "published",
            run_uid=entry.task_id.run_uid,
            chain=[_short(task.task_id) for task in tasks],
            publication=entry.publications + 1,
        )

    async def _settle(self, sent: list[Chain], failed: list[Chain]) -> None:
        """Note what was published, and let the rest wait until the broker may be back."""
        if not sent and not failed:
            return
        settings = self._context.settings
        now = utc_now()
        if sent:
            faults.before(Moment.MARK_SENT)

        def again(publications: int) -> datetime:
            delay = backoff(
                publications, settings.republish_seconds, settings.republish_max_seconds
            )
            return now + timedelta(seconds=delay)

        async with self._context.database.write() as conn:
            await outbox.mark_sent(conn, [entry for entry, _ in sent], again)
            for entry, _ in failed:
                delay = backoff(entry.failures + 1, 1.0, _MAX_FAILURE_DELAY)
                await outbox.mark_failed(conn, entry, now + timedelta(seconds=delay))
        if sent:
            faults.after(Moment.MARK_SENT)


async def _chains(conn: AsyncConnection, entries: list[Entry]) -> list[Chain]:
    """The chains that are still wanted: a queued stage and all later ones without a result."""
    uids = [entry.task_id.run_uid for entry in entries]
    of_runs = await stages.of_runs(conn, uids, (RunState.QUEUED, RunState.RUNNING))
    chains = []
    for entry in entries:
        of_run = of_runs[entry.task_id.run_uid]
        pending = [stage for stage in of_run if stage.state not in STAGE_DONE]
        if not pending:
            continue
        if pending[0].state is StageState.QUEUED and pending[0].task_id == entry.task_id:
            tasks = [StageTask(stage.task_id, stage.kind, stage.pool) for stage in pending]
            chains.append((entry, tasks))
    return chains


def _short(task_id: TaskId) -> str:
    return f"{task_id.stage}.{task_id.attempt}"
