"""The answer to one request on its way to the client."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse

from training.serving.api.errors import ApiError
from training.serving.api.generation import Generation
from training.serving.api.guard import Receive, Scope, Send
from training.serving.api.metrics import ServingMetrics
from training.serving.api.replies import Reply

_log = logging.getLogger(__name__)

_DONE = b"data: [DONE]\n\n"


class Answer:
    """The answer to one request: its documents, and what is measured of it."""

    def __init__(
        self, metrics: ServingMetrics, generation: Generation, reply: Reply, seconds: float
    ) -> None:
        self._metrics = metrics
        self._generation = generation
        self._reply = reply
        self._seconds = seconds
        self._begin = time.perf_counter()
        self._has_tokens = False

    async def whole(self) -> dict[str, Any]:
        """Return the document of the whole answer; errors as :meth:`Generation.changes`."""
        async for choice in self._generation.changes(self._seconds):
            self._observe(choice is not None)
        self._end()
        return self._reply.whole(self._generation.choices)

    async def events(self, *, with_usage: bool) -> AsyncIterator[bytes]:
        """Yield server-sent events; an error is the last one."""
        try:
            for document in self._reply.opening():
                yield _event(document)
            async for choice in self._generation.changes(self._seconds):
                self._observe(choice is not None)
                if choice is None:
                    yield b": waiting\n\n"
                elif part := self._reply.part(choice):
                    yield _event(part)
            self._end()
            if with_usage:
                yield _event(self._reply.usage())
            yield _DONE
        except ApiError as error:
            yield _event(error.body)

    def _observe(self, has_tokens: bool) -> None:
        if has_tokens and not self._has_tokens:
            self._has_tokens = True
            self._metrics.first_token.observe(time.perf_counter() - self._begin)

    def _end(self) -> None:
        seconds = time.perf_counter() - self._begin
        prompt, new = self._generation.prompt_tokens, self._generation.completion_tokens
        self._metrics.seconds.observe(seconds)
        self._metrics.prompt_tokens.inc(prompt)
        self._metrics.completion_tokens.inc(new)
        _log.info("answered: %d + %d tokens in %.2f s", prompt, new, seconds)


class EventStream:
    """ASGI response that ends its generation, also when the client goes away."""

    def __init__(self, generation: Generation, events: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self._response = StreamingResponse(events, media_type="text/event-stream", headers=headers)
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await self._response(scope, receive, send)
        finally:
            self._generation.close()


async def unless_gone(request: Request, work: Any) -> Any:
    """Return the result of a coroutine, which ends when the client goes away.

    Raises:
        ClientDisconnect: The client went away.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for either in (task, watcher):
            either.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"
