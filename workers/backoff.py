"""Back-off of the worker's calls: one policy for calls, reconnections and transfers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import stamina

from tailrace.formats.backoff import backoff


@dataclass(frozen=True)
class BackoffPolicy:
    """Waits that double with each failure up to a maximum, each with random jitter on top."""

    initial_seconds: float = 0.1
    """Wait after the first failure."""
    maximum_seconds: float = 5.0
    """Longest wait, without its jitter."""
    jitter_seconds: float = 0.5
    """Longest random addition, so that workers do not return all at once."""

    def wait_seconds(self, failures: int) -> float:
        """Return the wait after a number of failures in a row."""
        jitter = random.uniform(0, self.jitter_seconds)  # noqa: S311  # no secret
        return backoff(failures, self.initial_seconds, self.maximum_seconds) + jitter

    def attempts(
        self, is_repeatable: Callable[[Exception], bool], seconds: float | None
    ) -> Iterator[stamina.Attempt]:
        """Return attempts, context managers that swallow errors until one may not be repeated.

        Args:
            is_repeatable: Decides from an attempt's error whether there is another attempt.
            seconds: Time for all attempts; ``None`` sets no limit.
        """
        return iter(
            stamina.retry_context(
                on=is_repeatable,
                attempts=None,
                timeout=seconds,
                wait_initial=self.initial_seconds,
                wait_max=self.maximum_seconds,
                wait_jitter=self.jitter_seconds,
            )
        )


POLICY = BackoffPolicy()
"""The policy of everything that a worker repeats."""


class Backoff:
    """Waits between the attempts of one connection, cut short by ``stop``."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._failures = 0

    def wait(self) -> bool:
        """Wait once; return whether ``stop`` was set."""
        self._failures += 1
        return self._stop.wait(POLICY.wait_seconds(self._failures))

    def reset(self) -> None:
        """Begin with short waits again, because the connection works."""
        self._failures = 0
