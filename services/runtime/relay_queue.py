"""New runs go from the transaction that accepts them straight to the relay of their process.

The transaction writes their outbox rows claimed already, so that the relay need not look for them;
their chains are put into words meanwhile and published after the commit. Should the process end in
between, the claim does too, and a relay finds the rows as it finds all others.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from services.adapters.broker import Chain
from services.domain.stage import Stage
from services.runtime.meanwhile import meanwhile

MOST = 100
"""Runs that may wait for the relay; further ones wait in the outbox."""

HOLD = timedelta(seconds=5)
"""How long the claim on a row that is handed over is good. The relay takes milliseconds; where it
takes longer, as with a broker that is down, the run is left to its next pass.
"""


Wording = Callable[[Sequence[Stage]], Chain]
"""Puts the stages of a run, in order, into words."""


@dataclass(frozen=True)
class Handed:
    """A new run on its way to the relay."""

    stages: Sequence[Stage]
    """Its stages in order."""
    chain: asyncio.Task[Chain]
    """What is to be published."""


class Handover:
    """Chains on their way to the relay."""

    def __init__(self) -> None:
        self._chains: asyncio.Queue[tuple[float, Handed]] = asyncio.Queue(MOST)
        self._wording: Wording | None = None
        self.claim = uuid.uuid4().hex
        """Under which this process claims what it hands over."""

    @property
    def room(self) -> int:
        """How many chains may be put now; none where no relay takes them."""
        return MOST - self._chains.qsize() if self._wording else 0

    @contextmanager
    def receiving(self, wording: Wording) -> Iterator[None]:
        """Take chains for as long as the block; what is left then, other passes find."""
        self._wording = wording
        try:
            yield
        finally:
            self._wording = None

    def prepare(self, runs: Iterable[Sequence[Stage]]) -> list[Handed]:
        """Have the stages of new runs put into words while the transaction waits.

        None where the relay has stopped since there was room.
        """
        wording = self._wording
        if wording is None:
            return []
        return [Handed(stages, meanwhile(wording, stages)) for stages in runs]

    def put(self, prepared: Iterable[Handed]) -> None:
        """Hand over chains, no more than there was room for; call it after the commit."""
        end = time.monotonic() + HOLD.total_seconds()
        for handed in prepared:
            self._chains.put_nowait((end, handed))

    async def take(self) -> Handed:
        """The next chain whose claim is good; what waited for longer, other passes have found."""
        while True:
            end, handed = await self._chains.get()
            if time.monotonic() < end:
                return handed
