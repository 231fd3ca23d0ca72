"""Reconciler: expires leases and workers whose heartbeats have stopped.

It never compares the clocks of two machines. It watches the counters that heartbeats increment, and
expires a lease or worker whose counter stays unchanged for a whole lease on its own monotonic
clock, by compare-and-set on that counter. Time in which it did not look does not count, so a
control plane that was away, stopped or slow expires nothing. Several reconcilers may run
concurrently.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import structlog

from services.domain.errors import Unavailable
from services.domain.stage import Attempt
from services.domain.worker import Worker
from services.storage.rows import attempts, workers
from services.usecases.context import Context
from services.usecases.stages.expire import expire_attempt, expire_worker

_log = structlog.get_logger(__name__)

LOOKS_PER_LEASE = 6
"""Number of observations per lease."""


@dataclass
class _Watched:
    counter: int
    unchanged: float
    """Seconds for which the counter was observed without a change."""


class Watch:
    """Observed counters by key, each with the time for which it stayed unchanged."""

    def __init__(self, longest_gap: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_gap = longest_gap
        self._clock = clock
        self._watched: dict[Hashable, _Watched] = {}
        self._looked_at = clock()

    def observe(self, counters: Iterable[tuple[Hashable, int]]) -> dict[Hashable, float]:
        """Record the current counters; return the seconds for which each was unchanged.

        Keys that are no longer present are forgotten. A gap since the last observation counts up to
        the longest regular gap.
        """
        now = self._clock()
        elapsed = min(now - self._looked_at, self._longest_gap)
        self._looked_at = now
        previous, self._watched = self._watched, {}
        for key, counter in counters:
            old = previous.get(key)
            is_same = old is not None and old.counter == counter
            unchanged = old.unchanged + elapsed if old is not None and is_same else 0.0
            self._watched[key] = _Watched(counter, unchanged)
        return {key: watched.unchanged for key, watched in self._watched.items()}


class Reconciler:
    """Watcher of the leases and workers of one database."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._lease = context.settings.lease_seconds
        self._interval = self._lease / LOOKS_PER_LEASE
        self._leases = Watch(2 * self._interval, clock)
        self._workers = Watch(2 * self._interval, clock)

    async def run(self) -> None:
        """Reconcile periodically until the shutdown, also after the database was unavailable."""
        while not await self._context.shutdown.sleep(self._interval):
            try:
                await self.reconcile_once()
            except Unavailable as error:
                _log.warning("reconciler waits for the database", error=error.message)

    async def reconcile_once(self) -> None:
        """Observe once and expire leases and workers that were unchanged for a whole lease."""
        async with self._context.database.read() as conn:
            leased = {_lease_key(attempt): attempt for attempt in await attempts.list_running(conn)}
            live = {_worker_key(worker): worker for worker in await workers.list_live(conn)}
        unchanged = self._leases.observe((key, a.heartbeats) for key, a in leased.items())
        for key, attempt in leased.items():
            if unchanged[key] >= self._lease and await expire_attempt(self._context, attempt):
                _log.warning(
                    "lease expired",
                    run_uid=attempt.run_uid,
                    stage=attempt.stage_id,
                    attempt=attempt.number,
                    worker=attempt.worker_id,
                )
        unchanged = self._workers.observe((key, w.heartbeats) for key, w in live.items())
        for worker_key, worker in live.items():
            if unchanged[worker_key] >= self._lease and await expire_worker(self._context, worker):
                _log.warning("worker offline", worker=worker.worker_id)


def _lease_key(attempt: Attempt) -> Hashable:
    return attempt.run_uid, attempt.stage_id, attempt.number


def _worker_key(worker: Worker) -> Hashable:
    # A worker that registers again counts from 0 again.
    return worker.worker_id, worker.register_time
