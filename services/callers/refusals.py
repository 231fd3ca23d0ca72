"""Refused calls in the audit log: gathered off the path of calls, and limited in number.

A caller that is refused must neither wait for the database nor fill it. The first refusals of a
source in a minute become separate events, in batches; the others are counted, and one event of
the source has the count. A source is a host and an outcome: one noisy host hides no other.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable

import structlog

from services.domain.access.audit import AuditEvent
from services.domain.access.token import ALL_PROJECTS
from services.domain.errors import Unavailable
from services.storage.engine.columns import utc_now
from services.storage.rows.access import audit
from services.usecases.context import Context

_log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
"""Interval at which refusals are stored."""

WINDOW_SECONDS = 60.0
"""Time after which a source's refusals are separate events again."""

PER_SOURCE = 10
"""Maximum number of events of a source in a window, without the one that has the count."""

MOST_SOURCES = 100
"""Maximum number of sources in a window; further ones are counted together."""

SUPPRESSED = "SUPPRESSED"
"""Reason of the event that stands for the counted refusals of a source."""

_Source = tuple[str, str]
_OTHERS: _Source = ("", "")


class Refusals:
    """Refused calls of this replica that are not stored yet."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._window_end = clock() + WINDOW_SECONDS
        self._seen: Counter[_Source] = Counter()
        self._suppressed: dict[_Source, AuditEvent] = {}
        self._waiting: list[AuditEvent] = []

    def note(self, refusal: AuditEvent) -> None:
        """Take a refusal for the next batch, or count it; never waits."""
        source = (refusal.peer.rpartition(":")[0], str(refusal.outcome))
        if source not in self._seen and len(self._seen) >= MOST_SOURCES:
            source = _OTHERS
        self._seen[source] += 1
        has_room = len(self._waiting) < PER_SOURCE * MOST_SOURCES
        if source != _OTHERS and self._seen[source] <= PER_SOURCE and has_room:
            self._waiting.append(refusal)
            return
        counted = self._suppressed.get(source) or _uncounted(source, refusal)
        self._suppressed[source] = dataclasses.replace(counted, suppressed=counted.suppressed + 1)

    async def run(self) -> None:
        """Store refusals periodically, and the rest at the shutdown."""
        is_over = False
        while not is_over:
            is_over = await self._context.shutdown.sleep(FLUSH_SECONDS)
            if is_over or self._clock() >= self._window_end:
                self._end_window()
            try:
                await self.flush()
            except Unavailable as error:
                _log.warning("refusals wait for the database", error=error.message)

    async def flush(self) -> None:
        """Store what waits, in a separate transaction; raise ``Unavailable`` without a loss."""
        events = list(self._waiting)
        if not events:
            return
        async with self._context.database.write() as conn:
            await audit.add_all(conn, events)
        del self._waiting[: len(events)]

    def _end_window(self) -> None:
        self._window_end = self._clock() + WINDOW_SECONDS
        self._waiting += self._suppressed.values()
        self._suppressed.clear()
        self._seen.clear()


def _uncounted(source: _Source, refusal: AuditEvent) -> AuditEvent:
    """Return the event that stands for the refusals of a source that are only counted."""
    return AuditEvent(
        time=utc_now(),
        project=ALL_PROJECTS,
        actor="",
        method="",
        resource="",
        peer=source[0],
        request_id="",
        outcome=refusal.outcome,
        reason=SUPPRESSED,
    )
