"""Queue of new runs from the transaction that accepts them to the relay of the same process.

The transaction claims the runs' outbox rows in advance, so that no relay has to look for them, and
puts the runs here after its commit. If the process ends in between, the claims expire and a relay
finds the rows like all others.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from services.domain.stage import Stage

MOST = 100
"""Maximum number of queued runs; further runs wait in the outbox."""

HOLD = timedelta(seconds=5)
"""Validity of a queued run's claim. The relay needs milliseconds; when it takes longer, because the
broker is down, the run is left to a later pass over the outbox.
"""


class RelayQueue:
    """New runs, each as its stages in order, on their way to the relay."""

    def __init__(self) -> None:
        self._runs: asyncio.Queue[tuple[float, Sequence[Stage]]] = asyncio.Queue(MOST)
        self._receiving = False
        self.claim = uuid.uuid4().hex
        """Claim id of the outbox rows of queued runs, unique to this process."""

    @property
    def room(self) -> int:
        """Number of runs that may be put now; 0 while no relay receives."""
        return MOST - self._runs.qsize() if self._receiving else 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Accept runs during the block; runs left at its end are found in the outbox."""
        self._receiving = True
        try:
            yield
        finally:
            self._receiving = False

    def put(self, runs: Iterable[Sequence[Stage]]) -> None:
        """Queue runs, no more than there was room for; call it after the commit.

        Does nothing if the relay has stopped since.
        """
        if not self._receiving:
            return
        claim_end = time.monotonic() + HOLD.total_seconds()
        for stages in runs:
            self._runs.put_nowait((claim_end, stages))

    async def take(self) -> Sequence[Stage]:
        """Return the stages of the next run, without runs whose claim has expired."""
        while True:
            claim_end, stages = await self._runs.get()
            if time.monotonic() < claim_end:
                return stages
