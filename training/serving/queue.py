"""Waiting requests of several clients, in a fair order."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

RESERVED_SHARE = 0.25
"""Share of the places that is kept for clients that have nothing waiting."""


class FullError(Exception):
    """Refusal of a request because too many are waiting."""


@dataclass(order=True)
class _Waiting(Generic[T]):
    tag: tuple[int, int]
    request: int = field(compare=False)
    """Number of the request that the entry is a part of."""
    entry: T = field(compare=False)


class FairQueue(Generic[T]):
    """Entries of clients; one with nothing running comes next, then the one that was served least.

    Served means charged with tokens, read or generated. A client that comes back after a pause
    starts level with the others, so that it neither owes nor saves. Within a client the parts of a
    large request are spread, so that its next request comes between them.
    """

    def __init__(self, places: int, spread: int) -> None:
        """Begin empty.

        Args:
            places: Maximum number of requests of which a part waits.
            spread: Number of later arrivals that overtake each further part of a request.
        """
        self._places = places
        self._spread = spread
        self._arrivals, self._numbers = itertools.count(), itertools.count()
        self._waiting: dict[str, list[_Waiting[T]]] = {}
        self._running: Counter[str] = Counter()
        self._served: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, client: str, entries: list[T]) -> None:
        """Add the parts of a request.

        Raises:
            FullError: Too many requests are waiting.
        """
        counts = {
            name: len({w.request for w in waiting}) for name, waiting in self._waiting.items()
        }
        total = sum(counts.values())
        limit = self._places
        if counts.get(client):
            limit = math.ceil(self._places * (1 - RESERVED_SHARE))
        if total >= limit:
            raise FullError(f"{total} requests are waiting: at most {self._places} may")
        self._welcome(client)
        arrival = next(self._arrivals)
        for part, entry in enumerate(entries):
            self._push(client, arrival, entry, arrival + part * self._spread)

    def put_back(self, client: str, entry: T) -> None:
        """Add an entry that was interrupted; it comes before the client's others."""
        self._push(client, next(self._arrivals), entry, -1)

    def pop(self) -> T:
        """Remove and return the next entry; its client counts as running one more."""
        client = min(self._waiting, key=self._order)
        waiting = self._waiting[client]
        entry = heapq.heappop(waiting).entry
        if not waiting:
            del self._waiting[client]
        self._running[client] += 1
        return entry

    def charge(self, client: str, tokens: int) -> None:
        """Count tokens that were read or generated for a client."""
        if client in self._served:
            self._served[client] += tokens

    def end(self, client: str) -> None:
        """Count an entry as not running any more."""
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
        self._forget(client)

    def remove(self, unwanted: set[int]) -> list[T]:
        """Remove and return the waiting entries with these ``id()``s."""
        removed: list[T] = []
        for client in list(self._waiting):
            waiting = self._waiting[client]
            removed += [w.entry for w in waiting if id(w.entry) in unwanted]
            rest = [w for w in waiting if id(w.entry) not in unwanted]
            heapq.heapify(rest)
            self._waiting[client] = rest
            if not rest:
                del self._waiting[client]
                self._forget(client)
        return removed

    def entries(self) -> list[T]:
        """Return all waiting entries."""
        return [w.entry for waiting in self._waiting.values() for w in waiting]

    def starved(self) -> list[T]:
        """Return the first waiting entry of each client of which nothing runs."""
        return [w[0].entry for client, w in self._waiting.items() if not self._running[client]]

    def largest(self) -> str | None:
        """Return the client with the most running entries if it has several; otherwise None."""
        client, count = max(self._running.items(), key=lambda entry: entry[1], default=("", 0))
        return client if count > 1 else None

    def _order(self, client: str) -> tuple[bool, float, _Waiting[T]]:
        """Return the sort key of a client: one without anything running comes first."""
        is_running = self._running[client] > 0
        return is_running, self._served[client], self._waiting[client][0]

    def _push(self, client: str, request: int, entry: T, order: int) -> None:
        tag = (order, next(self._numbers))
        heapq.heappush(self._waiting.setdefault(client, []), _Waiting(tag, request, entry))

    def _welcome(self, client: str) -> None:
        if client not in self._served:
            self._served[client] = min(self._served.values(), default=0.0)

    def _forget(self, client: str) -> None:
        if client not in self._waiting and client not in self._running:
            self._served.pop(client, None)
