"""Streams of requests whose content is read from files while they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Restartable(Generic[T]):
    """The requests of an upload, from the beginning for each attempt.

    :meth:`restart` itself draws the first one, so that a file that cannot be opened is the caller's
    ``OSError``. gRPC hides errors that a request iterator raises later; ``failure`` keeps them.
    """

    def __init__(self, requests: Callable[[], Iterator[T]]) -> None:
        self._requests = requests
        self.failure: OSError | None = None
        """Error that ended the iteration, if any."""

    def restart(self) -> Iterator[T]:
        """Return the requests once more.

        Raises:
            OSError: The file cannot be read.
        """
        requests = self._requests()
        return self._guarded(next(requests), requests)

    def _guarded(self, first: T, rest: Iterator[T]) -> Iterator[T]:
        yield first
        try:
            yield from rest
        except OSError as error:
            self.failure = error
            raise


async def threaded(items: Iterator[T]) -> AsyncIterator[T]:
    """Draw items of a blocking iterator in a thread, one at a time."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield item  # type: ignore[misc]
