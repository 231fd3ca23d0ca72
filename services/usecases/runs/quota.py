"""Quotas of the control plane: unfinished runs, in total and per label, and open streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import ResourceExhausted
from services.settings import Settings
from services.storage.engine.locks import advisory_lock
from services.storage.rows import runs


async def check_runs(
    conn: AsyncConnection, settings: Settings, project: str, labels: Mapping[str, str]
) -> None:
    """Refuse one more run if the total quota or the quota of a label is used up.

    Runs without a label that has a quota count together, so that omitting it does not evade the
    quota. Raises ``ResourceExhausted`` (TOO_MANY_RUNS).
    """
    by_label = settings.max_runs_per_label
    if settings.max_unfinished_runs is None and not by_label:
        return
    # Counting and storing must not interleave with another call's: both would fit.
    await advisory_lock(conn, f"quota:{project}")
    if settings.max_unfinished_runs is not None:
        count = await runs.count_unfinished(conn, project)
        _check("this server", count, settings.max_unfinished_runs)
    for name, limit in by_label.items():
        value = labels.get(name)
        count = await runs.count_unfinished(conn, project, label=(name, value))
        owner = (
            f"the rest, without labels.{name}," if value is None else f"labels.{name} = {value!r}"
        )
        _check(owner, count, limit)


def _check(owner: str, count: int, limit: int) -> None:
    if count >= limit:
        raise ResourceExhausted(
            "TOO_MANY_RUNS",
            f"{owner} has {count} unfinished runs, at most {limit} are allowed: wait for one to "
            "end, or cancel one",
        )


class OpenStreams:
    """Counter of the open streams of one kind in this process."""

    def __init__(self, most: int, noun: str = "streams of followers") -> None:
        self._most = most
        self._noun = noun
        self._open = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Count a stream for the duration of the block; raise ``ResourceExhausted`` if too many."""
        if self._open >= self._most:
            raise ResourceExhausted(
                "TOO_MANY_STREAMS",
                f"{self._open} {self._noun} are open here, at most {self._most} are allowed: end "
                "one, or try again later",
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
