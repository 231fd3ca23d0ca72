"""Streams that are open in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.domain.errors import ResourceExhausted

RETRY_SECONDS = 2.0
"""Delay after which a stream or an upload that was refused may find room."""


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
                RETRY_SECONDS,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
