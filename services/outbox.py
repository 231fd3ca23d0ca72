"""The relay: publishes what the outbox says, and again until somebody claims it.

The database is the truth and the broker only transport, so publishing twice is harmless: the relay
claims due rows by compare-and-set, publishes outside the transaction with confirms and a time
limit, then marks them sent. New runs of its own process come to it claimed. Unclaimed publications
are repeated with doubling delay, which also refills a broker that lost everything.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.broker import Broker, BrokerError, Chain
from services.domain.errors import Unavailable
from services.domain.run import RunState
from services.domain.stage import STAGE_DONE, Stage, StageState, backoff
from services.storage import capacity, outbox, stages
from services.storage.columns import utc_now
from services.storage.outbox import Entry
from services.usecases.admission import limits
from services.usecases.context import Context
from services.wakeups import OUTBOX
from tailrace.formats import faults
from tailrace.formats.faults import Moment

_log = structlog.get_logger(__name__)

BATCH = 100
"""Rows claimed in one pass."""

_MAX_FAILURE_DELAY = 30.0
"""Longest wait, in seconds, before a broker that did not answer is tried again."""

_IDLE_PAUSE = 0.05
"""Pause, in seconds, after a pass that found nothing to publish, however often it is woken."""

_SETTLE_SECONDS = 1.0
"""Longest time until what was handed over is noted as sent: well before the claim on it ends."""

Claimed = tuple[Entry, list[Stage]]
"""A claimed row and the stages to publish for it."""


class Relay:
    """Publishes the outbox of one database to one broker; several may run side by side."""

    def __init__(self, context: Context, broker: Broker) -> None:
        self._context = context
        self._broker = broker
        self._unsettled: list[Entry] = []

    async def run(self) -> None:
        """Publish until the shutdown; nothing that the broker or the database does ends it."""
        async with asyncio.TaskGroup() as group:
            handed_over = group.create_task(self._relay_handed_over())
            await self._relay_due()
            handed_over.cancel()
        with suppress(Unavailable):
            # Otherwise it would be published once more, which is harmless.
            await self._settle(self._unsettled, [])

    async def _relay_due(self) -> None:
        """Look for due rows when woken, and now and then."""
        pause = min(self._context.settings.poll_seconds, _SETTLE_SECONDS)
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
                    await subscription.wait(pause)

    async def _relay_handed_over(self) -> None:
        """Publish new runs as they are accepted; they are settled with the next pass."""
        handover = self._context.handover
        with handover.receiving(self._broker.chain):
            while True:
                handed = await handover.take()
                first = handed.stages[0]
                entry = Entry(first.task_id, first.pool, 0, 0, handover.claim)
                if await self._publish(entry, handed.stages, await handed.chain):
                    self._unsettled.append(entry)
                    continue
                try:
                    await self._settle([], [entry])
                except Unavailable as error:
                    # Its claim ends soon, and a pass then finds it.
                    _log.warning("relay waits for the database", error=error.message)

    async def relay_once(self) -> int:
        """Publish what is due now; how many rows were claimed."""
        claimed, chains = await self._claim()
        sent = 0
        while sent < len(chains):
            entry, stages = chains[sent]
            if not await self._publish(entry, stages, self._broker.chain(stages)):
                break
            sent += 1
        entries = [entry for entry, _ in chains]
        await self._settle(entries[:sent], entries[sent:])
        return claimed

    async def _claim(self) -> tuple[int, list[Claimed]]:
        """Claim what is due: how many rows, and the chains that are to be published for them."""
        sent = [*self._unsettled]
        async with self._noting(sent) as conn:
            # Most passes find nothing.
            entries = await self._claim_due(conn) if await outbox.any_due(conn) else []
            chains = await _chains(conn, entries) if entries else []
        del self._unsettled[: len(sent)]
        return len(entries), chains

    async def _claim_due(self, conn: AsyncConnection) -> list[Entry]:
        settings = self._context.settings
        return await outbox.claim(
            conn,
            uuid.uuid4().hex,
            # Long enough for every row of the pass to time out.
            hold=timedelta(seconds=settings.publish_timeout_seconds * 3 + 60),
            admission=limits(settings, await capacity.slots_served(conn)),
            floor=settings.admission_floor,
            limit=BATCH,
        )

    async def _publish(self, entry: Entry, stages: Sequence[Stage], chain: Chain) -> bool:
        """Hand a chain to the broker; whether it took it."""
        repeated = entry.publications > 0
        faults.before(Moment.PUBLISH)
        try:
            await self._broker.publish(chain, declare_anew=repeated)
        except BrokerError as error:
            _log.warning(
                "the broker did not take a stage",
                run_uid=entry.task_id.run_uid,
                task_id=str(entry.task_id),
                error=str(error),
            )
            return False
        faults.after(Moment.PUBLISH)
        log = _log.debug if repeated else _log.info
        log(
            "published",
            run_uid=entry.task_id.run_uid,
            chain=[f"{stage.stage_id}.{stage.attempt}" for stage in stages],
            publication=entry.publications + 1,
        )
        return True

    async def _settle(self, sent: list[Entry], failed: list[Entry]) -> None:
        """Note what was published, and let the rest wait until the broker may be back."""
        if not sent and not failed:
            return
        now = utc_now()
        async with self._noting(sent) as conn:
            for entry in failed:
                delay = backoff(entry.failures + 1, 1.0, _MAX_FAILURE_DELAY)
                await outbox.mark_failed(conn, entry, now + timedelta(seconds=delay))

    @asynccontextmanager
    async def _noting(self, sent: Sequence[Entry]) -> AsyncIterator[AsyncConnection]:
        """A transaction that begins by noting what was published."""
        if sent:
            faults.before(Moment.MARK_SENT)
        async with self._context.database.write() as conn:
            await outbox.mark_sent(conn, sent, self._again)
            yield conn
        if sent:
            faults.after(Moment.MARK_SENT)

    def _again(self, publications: int) -> datetime:
        """When what was published so often is published again."""
        settings = self._context.settings
        delay = backoff(publications, settings.republish_seconds, settings.republish_max_seconds)
        return utc_now() + timedelta(seconds=delay)


async def _chains(conn: AsyncConnection, entries: list[Entry]) -> list[Claimed]:
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
            chains.append((entry, pending))
    return chains
