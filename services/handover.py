"""New runs go from the transaction that accepts them straight to the relay of their process.

The transaction writes their outbox rows claimed already, so that the relay need not look for them;
their publication starts with the commit. Should the process end in between, the claim does too,
and a relay finds the rows as it finds all others.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from services.domain.stage import Stage

MOST = 100
"""Runs that may wait for the relay; further ones wait in the outbox."""

HOLD = timedelta(seconds=5)
"""How long the claim on a row that is handed over is good. The relay takes milliseconds; where it
takes longer, as with a broker that is down, the run is left to its next pass.
"""


class Handover:
    """Chains on their way to the relay: each the stages of a new run, in order."""

    def __init__(self) -> None:
        self._chains: asyncio.Queue[tuple[float, Sequence[Stage]]] = asyncio.Queue(MOST)
        self._open = False
        self.claim = uuid.uuid4().hex
        """Under which this process claims what it hands over."""

    @property
    def room(self) -> int:
        """How many chains may be put now; none where no relay takes them."""
        return MOST - self._chains.qsize() if self._open else 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Take chains for as long as the block; what is left then, other passes find."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def put(self, chains: Sequence[Sequence[Stage]]) -> None:
        """Hand over chains, no more than there was room for; call it after the commit."""
        end = time.monotonic() + HOLD.total_seconds()
        for chain in chains:
            self._chains.put_nowait((end, chain))

    async def take(self) -> Sequence[Stage]:
        """The next chain whose claim is good; what waited for longer, other passes have found."""
        while True:
            end, chain = await self._chains.get()
            if time.monotonic() < end:
                return chain
