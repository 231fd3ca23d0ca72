"""Blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from tailrace.access import Access
from tailrace.channel import connect
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
from tailrace.client.handles import RunHandle
from tailrace.client.method import Blocking
from tailrace.client.rpcs import Rpcs
from tailrace.environment import resolve
from tailrace.errors import DeadlineExceeded, from_rpc, is_unavailable
from tailrace.retry import RetryPolicy
from tailrace.transfer.request_stream import Restartable
from tailrace.v1 import run_pb2

Response = TypeVar("Response")
Item = TypeVar("Item")


class Client(Rpcs, Blocking):
    """Blocking client of a Tailrace control plane.

    Methods return the messages of ``tailrace.v1`` and raise :mod:`tailrace.errors`. Calls are
    retried while the control plane is unavailable; each has a deadline; streams continue where they
    broke off. Resource names may omit their collection (``demo`` for ``runs/demo``). Threads may
    share a client, forked processes may not.

    Args:
        server: ``host:port`` (default: ``TAILRACE_SERVER``, else that of the current profile, else
            ``127.0.0.1:7443``).
        timeout: Seconds that a unary call may take with all its retries.
        retry: Attempts and waits (default: ``RetryPolicy()``).
        access: TLS files and token (default: those of the environment, else of the profile for
            this server, else plaintext without a token).
        project: Project of all calls (default: ``TAILRACE_PROJECT``, else that of the profile, else
            that of the token, else ``default``).

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
        self.channel = connect(self.server, self.access)

    def run(self, run: str | run_pb2.Run) -> RunHandle:
        """Return the handle of a run, given its name or the message that ``create_run`` returned.

        The run need not exist yet; its methods raise ``NotFound`` while it does not.
        """
        return RunHandle(self, run if isinstance(run, str) else run.name)

    def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _respond(self, call: ResponseCall[Response]) -> Response:
        try:
            response: Response = self._dispatch(call)
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
        return response

    def _dispatch(self, call: Any) -> Any:
        match call:
            case Unary():
                return self._unary(call)
            case Upload():
                return self._upload(call)
            case Last():
                return self._last(call)
            case Transfer():
                from tailrace.transfer.blocking import run

                return run(self.channel, call.job(), self.retry)
        raise TypeError(f"{type(call).__name__} is not a call with one response")

    def _iterate(self, call: ItemsCall[Item]) -> Iterator[Item]:
        if isinstance(call, Paged):
            return self._pages(call)
        if isinstance(call, Stream):
            return self._stream(call)
        raise TypeError(f"{type(call).__name__} is not a call that yields items")

    def _unary(self, call: Unary[Response]) -> Response:
        method = call.method(self.channel)
        return self.retry.call(self.timeout, lambda left: method(call.request, timeout=left))

    def _upload(self, call: Upload[Response]) -> Response:
        method = call.method(self.channel)
        requests = Restartable(call.requests)
        try:
            return self.retry.call(
                UPLOAD_TIMEOUT, lambda left: method(requests.restart(), timeout=left)
            )
        except grpc.RpcError as error:
            raise requests.failure or error from error

    def _last(self, call: Last[Item]) -> Item:
        last: list[Item] = []
        try:
            for item in self._stream(call.stream):
                last = [item]
        except DeadlineExceeded as error:
            raise DeadlineExceeded(call.overdue) from error
        return last[0]

    def _pages(self, call: Paged[Any, Item]) -> Iterator[Item]:
        while (page := call.next_page()) is not None:
            yield from call.accept(self._respond(page))

    def _stream(self, call: Stream[Any, Item]) -> Iterator[Item]:
        left = time_left(call.timeout)
        while True:
            responses, response = self._open(call, left)
            try:
                while response is not None:
                    yield from call.advance(call.request, response)
                    response = next(responses, None)
                return
            except grpc.RpcError as error:
                if not (call.resumes and is_unavailable(error)):
                    raise from_rpc(error, self.server) from error
            finally:
                responses.cancel()

    def _open(self, call: Stream[Any, Item], left: Callable[[], float | None]) -> tuple[Any, Any]:
        """Return a connected stream and its first response; ``None`` if it ended without one."""
        method = call.method(self.channel)

        def attempt() -> tuple[Any, Any]:
            responses: Any = method(call.request, timeout=left())
            return responses, next(responses, None)

        try:
            return self.retry.connect(attempt, left())
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
