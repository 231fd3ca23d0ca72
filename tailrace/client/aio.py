"""Asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from tailrace.access import Access
from tailrace.channel import connect_aio
from tailrace.client.call import (
    DEFAULT_TIMEOUT,
    UPLOAD_TIMEOUT,
    ItemsCall,
    Last,
    Paged,
    ResponseCall,
    Stream,
    Transfer,
    Unary,
    Upload,
    time_left,
)
from tailrace.client.handles import AsyncRunHandle
from tailrace.client.method import Asynchronous
from tailrace.client.rpcs import Rpcs
from tailrace.connection import CLOSED
from tailrace.environment import resolve
from tailrace.errors import DeadlineExceeded, from_rpc, is_unavailable
from tailrace.retry import RetryPolicy
from tailrace.transfer.request_stream import Restartable, threaded
from tailrace.v1 import run_pb2

Response = TypeVar("Response")
Item = TypeVar("Item")

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


class AsyncClient(Rpcs, Asynchronous):
    """Asyncio client of a Tailrace control plane, with the methods of :class:`tailrace.Client`.

    It connects on first use, and belongs to the loop that runs then. Methods that return one
    message are awaited; lists and streams are iterated with ``async for``.

    Args:
        server: ``host:port`` (default: ``TAILRACE_SERVER``, else that of the current profile, else
            ``127.0.0.1:7443``).
        timeout: Seconds that a unary call may take with all its retries.
        retry: Attempts and waits (default: ``RetryPolicy()``).
        access: TLS files and token (default: those of the environment, else of the profile for
            this server, else plaintext without a token).

    Raises:
        ValueError: The server address is a URL, TLS files or token cannot be used, or the token
            would travel in plaintext to another machine.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        access: Access | None = None,
        project: str | None = None,
    ) -> None:
        self.server, self.access = resolve(server, access, project)
        self.timeout = timeout
        self.retry = retry or RetryPolicy()
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    @property
    def channel(self) -> grpc.aio.Channel:
        """Connection, opened on first use. Raises ``ValueError`` after :meth:`close`."""
        if self._closed:
            raise ValueError(CLOSED)
        if self._channel is None:
            self._channel = connect_aio(self.server, self.access)
        return self._channel

    def run(self, run: str | run_pb2.Run) -> AsyncRunHandle:
        """Return the handle of a run, given its name or the message that ``create_run`` returned.

        The run need not exist yet; its methods raise ``NotFound`` while it does not.
        """
        return AsyncRunHandle(self, run if isinstance(run, str) else run.name)

    async def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close(grace=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _respond(self, call: ResponseCall[Response]) -> Response:
        try:
            response: Response = await self._dispatch(call)
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
        return response

    async def _dispatch(self, call: Any) -> Any:
        match call:
            case Unary():
                return await self._unary(call)
            case Upload():
                return await self._upload(call)
            case Last():
                return await self._last(call)
            case Transfer():
                from tailrace.transfer.aio import run

                return await run(self.channel, call.job(), self.retry)
        raise TypeError(f"{type(call).__name__} is not a call with one response")

    def _iterate(self, call: ItemsCall[Item]) -> AsyncIterator[Item]:
        if isinstance(call, Paged):
            return self._pages(call)
        if isinstance(call, Stream):
            return self._stream(call)
        raise TypeError(f"{type(call).__name__} is not a call that yields items")

    # A generated stub over an asyncio channel has the same methods, but its calls are awaited. The
    # stub's types know only blocking calls, hence `Any`.

    async def _unary(self, call: Unary[Response]) -> Response:
        method: Any = call.method(self.channel)
        return await self.retry.call_aio(
            self.timeout, lambda left: method(call.request, timeout=left)
        )

    async def _upload(self, call: Upload[Response]) -> Response:
        method: Any = call.method(self.channel)
        requests = Restartable(call.requests)

        async def attempt(left: float) -> Response:
            # Files are opened and read in threads.
            fresh = await asyncio.to_thread(requests.restart)
            response: Response = await method(threaded(fresh), timeout=left)
            return response

        try:
            return await self.retry.call_aio(UPLOAD_TIMEOUT, attempt)
        except grpc.RpcError as error:
            raise requests.failure or error from error

    async def _last(self, call: Last[Item]) -> Item:
        last: list[Item] = []
        try:
            async for item in self._stream(call.stream):
                last = [item]
        except DeadlineExceeded as error:
            raise DeadlineExceeded(call.overdue) from error
        return last[0]

    async def _pages(self, call: Paged[Any, Item]) -> AsyncIterator[Item]:
        while (page := call.next_page()) is not None:
            for item in call.accept(await self._respond(page)):
                yield item

    async def _stream(self, call: Stream[Any, Item]) -> AsyncIterator[Item]:
        left = time_left(call.timeout)
        while True:
            responses, response = await self._open(call, left)
            try:
                while response is not _EOF:
                    for item in call.advance(call.request, response):
                        yield item
                    response = await responses.read()
                return
            except grpc.RpcError as error:
                if not (call.resumes and is_unavailable(error)):
                    raise from_rpc(error, self.server) from error
            finally:
                responses.cancel()

    async def _open(
        self, call: Stream[Any, Item], left: Callable[[], float | None]
    ) -> tuple[Any, Any]:
        """Return a connected stream and its first response; ``EOF`` if it ended without one."""
        method: Any = call.method(self.channel)

        async def attempt() -> tuple[Any, Any]:
            responses = method(call.request, timeout=left())
            return responses, await responses.read()

        try:
            return await self.retry.connect_aio(attempt, left())
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
