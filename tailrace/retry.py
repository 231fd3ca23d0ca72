"""When a call is repeated.

Every call of this API may be repeated: creates carry a request id, the others change nothing the
second time. So one rule does: UNAVAILABLE is retried with exponential backoff and jitter.

stamina does it rather than a retry policy in gRPC's service config, which stops at five attempts,
cannot resume a stream from a cursor, and is invisible to the application.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import stamina

from tailrace.errors import is_unavailable

STANDING_SECONDS = 10.0
"""A stream that lived longer than this had reached the server."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often to try; all times in seconds."""

    attempts: int = 8
    """Attempts of a unary call in all; 1 turns retries off."""
    initial_wait: float = 0.1
    """Wait before the second attempt; doubles from then on."""
    max_wait: float = 2.0
    """Longest wait."""
    jitter: float = 0.2
    """Largest random addition to each wait."""
    reconnect_timeout: float = 300.0
    """How long a broken stream tries to come back before it gives up; starts anew with each
    message that arrives."""

    def unary(self, timeout: float) -> Any:
        """The attempts of one unary call, ended by its overall deadline."""
        return self._context(self.attempts, timeout)

    def stream(self) -> Any:
        """The attempts to reconnect a stream."""
        return self._context(None if self.attempts > 1 else 1, self.reconnect_timeout)

    def was_connected(self, opened: float) -> bool:
        """Whether a stream that was opened then (``time.monotonic()``) broke after standing.

        A follower may wait for its first message for hours; losing that connection begins a new
        count instead of ending the old one.
        """
        return self.attempts > 1 and time.monotonic() - opened > STANDING_SECONDS

    def _context(self, attempts: int | None, timeout: float) -> Any:
        return stamina.retry_context(
            on=is_unavailable,
            attempts=attempts,
            timeout=timeout,
            wait_initial=self.initial_wait,
            wait_max=self.max_wait,
            wait_jitter=self.jitter,
        )
