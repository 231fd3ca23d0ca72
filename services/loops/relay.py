"""Relay: publishes the stages in the outbox, repeatedly until a worker claims them.

The database is the truth and the broker only transport, so publishing twice is harmless: the relay
claims due rows by compare-and-set, publishes outside the transaction with confirms and a time
limit, then marks them sent. New runs of its process reach it through a queue, claimed already.
Unclaimed publications are checked with doubling delay, and repeated where the pool's queue holds
fewer messages than there are published, unclaimed stages: that refills a broker that lost messages,
while a queue that waits for workers does not grow. After the longest delay they are repeated
regardless.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.adapters.broker import Broker, BrokerError
from services.domain.errors import Unavailable
from services.domain.run import RunState
from services.domain.stage import STAGE_DONE, Stage, StageState
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import capacity, outbox, stages
from services.storage.rows.outbox import Entry
from services.usecases.context import Context
from services.usecases.quotas.runs import free_places
from services.usecases.runs.admission import admission_limits
from tailrace.formats import faults
from tailrace.formats.backoff import backoff
from tailrace.formats.faults import Moment

_log = structlog.get_logger(__name__)

BATCH = 100
"""Maximum number of rows claimed in one pass."""

_MAX_FAILURE_DELAY = 30.0
"""Maximum delay, in seconds, before a broker that did not answer is tried again."""

_IDLE_PAUSE = 0.05
"""Pause, in seconds, after a pass without due rows, however often the relay is woken."""

_SETTLE_SECONDS = 1.0
"""Longest time until new runs are noted as sent: well before their claims expire."""

Claimed = tuple[Entry, list[Stage]]
"""Claimed row with the stages to publish for it."""


@dataclass
class _Pass:
    """Claims of one pass of the relay and their outcomes so far."""

    chains: list[Claimed]
    published_counts: Mapping[str, int]
    """Number of published, unclaimed stages by pool, for pools with repetitions in this pass."""
    missing: dict[str, int] = field(default_factory=dict)
    """Number of messages that a pool's queue lacks; counted at its first repetition."""
    published: list[Entry] = field(default_factory=list)
    put_off: list[Entry] = field(default_factory=list)
    failed: list[Entry] = field(default_factory=list)
    error: str = ""
    """Error of the broker that made the others fail."""


class Relay:
    """Publisher of one database's outbox to one broker; several may run concurrently."""

    def __init__(
        self, context: Context, broker: Broker, count: Callable[[str], None] = lambda _: None
    ) -> None:
        """Publish to ``broker``; ``count`` gets every outcome: first, repeated, failed, put_off."""
        self._context = context
        self._broker = broker
        self._count = count
        self._unsettled: list[Entry] = []

    async def run(self) -> None:
        """Publish until the shutdown; no fault of the broker or the database ends the loop."""
        async with asyncio.TaskGroup() as group:
            new_runs = group.create_task(self._relay_new_runs())
            await self._relay_due()
            new_runs.cancel()
        with suppress(Unavailable):
            # Unsettled rows would be published once more, which is harmless.
            await self._settle(self._unsettled)

    async def _relay_due(self) -> None:
        """Publish due rows when woken, and periodically."""
        pause = min(self._context.settings.poll_seconds, _SETTLE_SECONDS)
        with self._context.wakeups.subscribe(OUTBOX) as subscription:
            while not self._context.shutdown.in_progress:
                try:
                    claimed = await self.relay_once()
                except Unavailable as error:
                    _log.warning("relay waits for the database", error=error.message)
                    claimed = 0
                await self.send_celery_events()
                if claimed == 0:
                    # Each accepted run wakes the relay, even if admission holds it back.
                    await self._context.shutdown.sleep(_IDLE_PAUSE)
                if claimed < BATCH:
                    await subscription.wait(pause)

    async def send_celery_events(self) -> None:
        """Send the Celery events of use cases; an unavailable broker gets them later."""
        events = self._context.celery_events
        while (event := events.first()) is not None:
            try:
                await self._broker.send_event(event)
            except BrokerError:
                return
            events.drop(event)

    async def _relay_new_runs(self) -> None:
        """Publish new runs as they are accepted; the next pass settles them."""
        queue = self._context.relay_queue
        with queue.receiving():
            while True:
                pending = await queue.take()
                first = pending[0]
                entry = Entry(first.task_id, first.pool, 0, 0, queue.claim)
                try:
                    await self._publish(entry, pending)
                except BrokerError as error:
                    await self._note_failure(entry, error)
                else:
                    self._unsettled.append(entry)

    async def _note_failure(self, entry: Entry, error: BrokerError) -> None:
        try:
            await self._settle([], failed=[entry], error=str(error))
        except Unavailable as unavailable:
            # Its claim ends soon, and then a pass finds it.
            _log.warning("relay waits for the database", error=unavailable.message)

    async def relay_once(self) -> int:
        """Publish what is due now and return the number of claimed rows."""
        claimed, current = await self._claim()
        for position, (entry, pending) in enumerate(current.chains):
            try:
                if await self._still_waits(entry, current):
                    current.put_off.append(entry)
                    self._count("put_off")
                    continue
                await self._publish(entry, pending)
            except BrokerError as error:
                current.failed = [entry for entry, _ in current.chains[position:]]
                current.error = str(error)
                break
            current.published.append(entry)
        await self._settle(
            current.published, put_off=current.put_off, failed=current.failed, error=current.error
        )
        return claimed

    async def _still_waits(self, entry: Entry, current: _Pass) -> bool:
        """Return True if the entry's message may still be queued, so that it is not repeated."""
        if entry.publications == 0:
            return False
        if entry.pool not in current.missing:
            ready = await self._broker.ready(entry.pool)
            current.missing[entry.pool] = current.published_counts.get(entry.pool, 0) - ready
        longest = timedelta(seconds=self._context.settings.republish_max_seconds)
        overdue = entry.publish_time is None or utc_now() - entry.publish_time >= longest
        if current.missing[entry.pool] <= 0 and not overdue:
            return True
        current.missing[entry.pool] -= 1
        return False

    async def _claim(self) -> tuple[int, _Pass]:
        """Claim what is due; return the number of rows and the pass over them."""
        unsettled = [*self._unsettled]
        published_counts: Mapping[str, int] = {}
        async with self._noting(unsettled) as conn:
            # Most passes have nothing due.
            entries = await self._claim_due(conn) if await outbox.any_due(conn) else []
            chains = await _chains(conn, entries) if entries else []
            repeated = {entry.pool for entry, _ in chains if entry.publications}
            if repeated:
                published_counts = await outbox.count_published(conn, repeated)
        del self._unsettled[: len(unsettled)]
        return len(entries), _Pass(chains, published_counts)

    async def _claim_due(self, conn: AsyncConnection) -> list[Entry]:
        settings = self._context.settings
        return await outbox.claim(
            conn,
            uuid.uuid4().hex,
            # Long enough even if every publication of the pass times out.
            hold=timedelta(seconds=settings.publish_timeout_seconds * 3 + 60),
            admission=admission_limits(settings, await capacity.count_slots(conn)),
            floor=settings.admission_floor,
            limit=BATCH,
            places=await free_places(conn, self._context),
        )

    async def _publish(self, entry: Entry, pending: Sequence[Stage]) -> None:
        """Publish stages as a chain. Raises :class:`BrokerError`."""
        repeated = entry.publications > 0
        faults.before(Moment.PUBLISH)
        try:
            await self._broker.publish(self._broker.chain(pending), repeated=repeated)
        except BrokerError as error:
            _log.warning(
                "the broker did not accept a stage",
                run_uid=entry.task_id.run_uid,
                task_id=str(entry.task_id),
                error=str(error),
            )
            self._count("failed")
            raise
        self._count("repeated" if repeated else "first")
        faults.after(Moment.PUBLISH)
        log = _log.debug if repeated else _log.info
        log(
            "published",
            run_uid=entry.task_id.run_uid,
            chain=[f"{stage.stage_id}.{stage.attempt}" for stage in pending],
            publication=entry.publications + 1,
        )

    async def _settle(
        self,
        published: list[Entry],
        *,
        put_off: Sequence[Entry] = (),
        failed: Sequence[Entry] = (),
        error: str = "",
    ) -> None:
        """Record what was published, and delay the rest until the broker may be back."""
        if not published and not put_off and not failed:
            return
        now = utc_now()
        async with self._noting(published) as conn:
            await outbox.put_off(conn, put_off, self._look_again)
            for entry in failed:
                delay = backoff(entry.failures + 1, 1.0, _MAX_FAILURE_DELAY)
                await outbox.mark_failed(conn, entry, now + timedelta(seconds=delay), error)

    @asynccontextmanager
    async def _noting(self, published: Sequence[Entry]) -> AsyncIterator[AsyncConnection]:
        """Yield a transaction that begins by recording what was published."""
        if published:
            faults.before(Moment.MARK_SENT)
        async with self._context.database.write() as conn:
            await outbox.mark_sent(conn, published, self._again)
            yield conn
        if published:
            faults.after(Moment.MARK_SENT)

    def _again(self, publications: int) -> datetime:
        """Return the time of the next publication after a number of them."""
        settings = self._context.settings
        delay = backoff(publications, settings.republish_seconds, settings.republish_max_seconds)
        return utc_now() + timedelta(seconds=delay)

    def _look_again(self, publish_time: datetime) -> datetime:
        """Return the time of the next check of an entry whose message has waited since then."""
        settings = self._context.settings
        now = utc_now()
        age = max(now - publish_time, timedelta(seconds=settings.republish_seconds))
        return min(now + age, publish_time + timedelta(seconds=settings.republish_max_seconds))


async def _chains(conn: AsyncConnection, entries: list[Entry]) -> list[Claimed]:
    """Return the claims that are still due: a queued stage and all later ones without a result."""
    uids = [entry.task_id.run_uid for entry in entries]
    of_runs = await stages.list_for_runs(conn, uids, (RunState.QUEUED, RunState.RUNNING))
    chains = []
    for entry in entries:
        run_stages = of_runs[entry.task_id.run_uid]
        pending = [stage for stage in run_stages if stage.state not in STAGE_DONE]
        if not pending:
            continue
        if pending[0].state is StageState.QUEUED and pending[0].task_id == entry.task_id:
            chains.append((entry, pending))
    return chains
