"""Retries of calls.

Every call of this API may be repeated: creates carry a request id, and the others change nothing
the second time. Two rules therefore suffice: UNAVAILABLE is retried with exponential back-off and
jitter, and RESOURCE_EXHAUSTED where the server says when (``RetryInfo``), not earlier than that.

tenacity is used instead of a retry policy in gRPC's service config, which stops at five attempts,
cannot resume a stream from a cursor, and is invisible to the application; and instead of stamina,
whose reports of retries are one setting for the whole application. Here each wait is one line of
the logger ``tailrace``, which is silent until the application configures logging.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import grpc
import tenacity

from tailrace.errors import TailraceError, from_rpc, is_unavailable, retry_delay
from tailrace.formats.backoff import backoff

_log = logging.getLogger("tailrace")
# Without a handler, logging would write warnings to stderr.
_log.addHandler(logging.NullHandler())

T = TypeVar("T")

STANDING_SECONDS = 10.0
"""Lifetime in seconds after which a stream counts as having reached the server."""


@dataclass(frozen=True)
class RetryPolicy:
    """Number of attempts and waits of a client; all times in seconds."""

    attempts: int = 8
    """Maximum number of attempts of a unary call; 1 turns retries off."""
    initial_wait: float = 0.1
    """Wait before the second attempt; it doubles with each further attempt."""
    max_wait: float = 2.0
    """Longest wait."""
    jitter: float = 0.2
    """Largest random addition to each wait."""
    reconnect_timeout: float = 300.0
    """Time after which a broken stream gives up; it starts again with each message received."""
    on_absence: Callable[[TailraceError], None] | None = field(default=None, compare=False)
    """Callback before each wait of a stream, with its error, to inform the user who follows it."""

    def call(self, seconds: float, attempt: Callable[[float], T]) -> T:
        """Return the outcome of a call that takes at most ``seconds`` with all its attempts.

        ``attempt`` gets the seconds that are left.
        """
        deadline = time.monotonic() + seconds
        cause = _LastOutage()
        for trial in self.unary(seconds):
            with trial, cause:
                return attempt(deadline - time.monotonic())
        raise AssertionError("a retry loop ends by returning or raising")

    async def call_aio(self, seconds: float, attempt: Callable[[float], Awaitable[T]]) -> T:
        """Do the same as :meth:`call` with asyncio."""
        deadline = time.monotonic() + seconds
        cause = _LastOutage()
        async for trial in self.unary(seconds):
            with trial, cause:
                return await attempt(deadline - time.monotonic())
        raise AssertionError("a retry loop ends by returning or raising")

    def connect(self, attempt: Callable[[], T], seconds: float | None = None) -> T:
        """Return the outcome of ``attempt``, which opens a stream, and repeat it while it fails.

        A follower may wait for its first message for hours; the loss of such a connection starts a
        new count instead of ending the old one. ``seconds`` shortens ``reconnect_timeout``.
        """
        while True:
            for trial in self.stream(seconds):
                with trial:
                    opened = time.monotonic()
                    try:
                        return attempt()
                    except grpc.RpcError as error:
                        if not self._was_connected(error, opened):
                            raise

    async def connect_aio(
        self, attempt: Callable[[], Awaitable[T]], seconds: float | None = None
    ) -> T:
        """Do the same as :meth:`connect` with asyncio."""
        while True:
            async for trial in self.stream(seconds):
                with trial:
                    opened = time.monotonic()
                    try:
                        return await attempt()
                    except grpc.RpcError as error:
                        if not self._was_connected(error, opened):
                            raise

    def unary(self, seconds: float) -> Attempts:
        """Return the attempts of one unary call, ended by its overall deadline."""
        return self._context(self.attempts, seconds, _log_wait)

    def stream(self, seconds: float | None = None) -> Attempts:
        """Return the attempts to reconnect a stream; ``seconds`` shortens ``reconnect_timeout``."""
        attempts = None if self.attempts > 1 else 1
        limits = [self.reconnect_timeout, *([] if seconds is None else [seconds])]
        return self._context(attempts, min(limits), self._report_wait)

    def _was_connected(self, error: grpc.RpcError, opened: float) -> bool:
        stood = time.monotonic() - opened > STANDING_SECONDS
        return self.attempts > 1 and stood and is_unavailable(error)

    def _report_wait(self, state: tenacity.RetryCallState) -> None:
        _log_wait(state)
        error = _error(state)
        if self.on_absence is not None and isinstance(error, grpc.RpcError):
            self.on_absence(from_rpc(error))

    def _context(
        self,
        attempts: int | None,
        timeout: float,
        before_sleep: Callable[[tenacity.RetryCallState], None],
    ) -> Attempts:
        stop: Any = tenacity.stop_after_delay(timeout)
        stop = stop | _comes_too_late(timeout)
        if attempts is not None:
            stop = stop | tenacity.stop_after_attempt(attempts)
        jitter = tenacity.wait_random(0, self.jitter)
        return Attempts(
            {
                "retry": tenacity.retry_if_exception(lambda error: retry_delay(error) is not None),
                "stop": stop,
                "wait": lambda state: (
                    max(
                        backoff(state.attempt_number, self.initial_wait, self.max_wait),
                        _delay(state),
                    )
                    + jitter(state)
                ),
                "before_sleep": before_sleep,
                "reraise": True,
            }
        )


class _LastOutage:
    """Guard of the attempts of one call.

    An attempt that outlasts the deadline after an outage raises the outage, whose message names the
    server and the fault.
    """

    def __init__(self) -> None:
        self._outage: grpc.RpcError | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, grpc.RpcError):
            return
        if is_unavailable(error):
            self._outage = error
        elif self._outage is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise self._outage from error


@dataclass(frozen=True)
class Attempts:
    """Attempts of one call: ``for trial in attempts: with trial: …``, or ``async for``.

    The error UNAVAILABLE of an attempt is suppressed if another attempt follows; that of the last
    attempt is raised.
    """

    options: dict[str, Any]
    """Arguments of ``tenacity.Retrying``."""

    def __iter__(self) -> Iterator[tenacity.AttemptManager]:
        return iter(tenacity.Retrying(**self.options))

    def __aiter__(self) -> AsyncIterator[tenacity.AttemptManager]:
        return aiter(tenacity.AsyncRetrying(**self.options))


def _log_wait(state: tenacity.RetryCallState) -> None:
    error = _error(state)
    _log.warning(
        "%s; attempt %d follows in %.1f s",
        from_rpc(error) if isinstance(error, grpc.RpcError) else error,
        state.attempt_number + 1,
        state.upcoming_sleep,
    )


def _delay(state: tenacity.RetryCallState) -> float:
    """Return the seconds that the server asked to wait."""
    error = _error(state)
    return 0.0 if error is None else retry_delay(error) or 0.0


def _comes_too_late(timeout: float) -> Callable[[tenacity.RetryCallState], bool]:
    """Return the condition that the server asked to wait past the call's timeout."""

    def is_late(state: tenacity.RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) + _delay(state) > timeout

    return is_late


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
