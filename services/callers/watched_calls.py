"""Early ends of calls: a revoked token or certificate, and the largest age of a stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from services.api.rpc import current_caller, current_identity, set_caller
from services.callers.tokens import OpenCall, Tokens
from services.callers.worker_certificates import WorkerCertificates
from services.domain.errors import Unavailable

_ENDLESS = frozenset(
    {
        "RunService/WatchRun",
        "RunService/StreamLogs",
        "RunService/StreamMetrics",
        "StageService/PublishEvents",
    }
)
"""Streams that stay open for as long as a run, and that clients and workers continue."""


class CallWatch:
    """Watch over the calls of one listener.

    Args:
        tokens: API tokens.
        max_stream_seconds: Largest age of a stream that may be continued.
        certificates: Certificates of workers, on the listener that requires one.
    """

    def __init__(
        self,
        tokens: Tokens,
        max_stream_seconds: float,
        certificates: WorkerCertificates | None = None,
    ) -> None:
        self._tokens = tokens
        self._max_stream_seconds = max_stream_seconds
        self._certificates = certificates

    @contextmanager
    def over(self, name: str, context: Any, *, stream: bool) -> Iterator[list[OpenCall]]:
        """Watch the call of the block; add its connection's certificate to the caller.

        Raises:
            PermissionDenied: Certificate and token belong to different workers (WORKER_BINDING).
            Unauthenticated: The certificate is revoked, or names no worker.
        """
        with ExitStack() as stack:
            open_calls = []
            if self._certificates is not None:
                certificate = self._certificates.identify(context.auth_context())
                caller = current_caller()
                binding = certificate.binding.joined(caller.binding)
                subject = f"worker:{certificate.worker_id}"
                set_caller(replace(caller, binding=binding, subject=subject), current_identity())
                open_calls.append(stack.enter_context(self._certificates.watch(certificate)))
            watch = self._tokens.watch(current_identity(), stream=stream)
            open_calls.append(stack.enter_context(watch))
            if name in _ENDLESS:
                open_calls.append(stack.enter_context(self._ageing()))
            yield open_calls

    @contextmanager
    def _ageing(self) -> Iterator[OpenCall]:
        """End the stream of the block at its largest age."""
        call = OpenCall(asyncio.current_task())
        # Streams that were opened together, after a restart, do not end together.
        seconds = self._max_stream_seconds * random.uniform(0.9, 1.0)  # noqa: S311
        timer = asyncio.get_running_loop().call_later(seconds, call.refuse, _stream_aged())
        try:
            yield call
        finally:
            timer.cancel()


def _stream_aged() -> Unavailable:
    return Unavailable(
        "STREAM_AGED", "the stream has reached its largest age: open it again at its cursor"
    )
