"""The asyncio client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import cached_property
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import grpc.aio

from tailrace.channel import connect_aio, server_address
from tailrace.client import artifacts, baselines, datasets, evalsets, models, runs, workers
from tailrace.client.call import (
    DEFAULT_TIMEOUT,
    TRANSFER_TIMEOUT,
    Paged,
    Restartable,
    Stream,
    Unary,
    Upload,
    as_method,
)
from tailrace.errors import TailraceError, from_rpc, is_unavailable
from tailrace.retry import RetryPolicy

P = ParamSpec("P")
Response = TypeVar("Response")
Item = TypeVar("Item")

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it

# A generated stub over an asyncio channel has the same names; its calls are awaited, which the
# stubs' types do not say. Hence the one cast, `_aio`.


def _unary(
    build: Callable[P, Unary[Response]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Response]]:
    async def method(self: AsyncClient, *args: P.args, **kwargs: P.kwargs) -> Response:
        return await self._unary(build(*args, **kwargs))

    return as_method(build, method)


def _paged(
    build: Callable[P, Paged[Any, Item]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[Item]]:
    def method(self: AsyncClient, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
        return self._pages(build(*args, **kwargs))

    return as_method(build, method)


def _stream(
    build: Callable[P, Stream[Any, Item]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[Item]]:
    def method(self: AsyncClient, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
        return self._stream(build(*args, **kwargs))

    return as_method(build, method)


def _upload(
    build: Callable[P, Upload[Response]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Response]]:
    async def method(self: AsyncClient, *args: P.args, **kwargs: P.kwargs) -> Response:
        return await self._upload(build(*args, **kwargs))

    return as_method(build, method)


class AsyncClient:
    """Asyncio client of a Tailrace control plane; the twin of :class:`tailrace.Client`.

    It connects on first use, to the loop that runs then. Methods that return one message are
    awaited; lists and streams are iterated with ``async for``.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.server = server_address(server)
        self.timeout = timeout
        self.retry = retry or RetryPolicy()
        self._credentials = credentials

    create_run = _unary(runs.create_run)
    get_run = _unary(runs.get_run)
    list_runs = _paged(runs.list_runs)
    cancel_run = _unary(runs.cancel_run)
    retry_run = _unary(runs.retry_run)
    watch_run = _stream(runs.watch_run)
    stream_logs = _stream(runs.stream_logs)
    stream_metrics = _stream(runs.stream_metrics)
    list_predictions = _paged(runs.list_predictions)
    list_verdicts = _paged(runs.list_verdicts)
    compare_runs = _unary(runs.compare_runs)

    set_baseline = _unary(baselines.set_baseline)
    get_baseline = _unary(baselines.get_baseline)
    list_baselines = _paged(baselines.list_baselines)
    delete_baseline = _unary(baselines.delete_baseline)
    seed_dataset = _unary(datasets.seed_dataset)
    import_dataset = _upload(datasets.import_dataset)
    get_dataset = _unary(datasets.get_dataset)
    list_datasets = _paged(datasets.list_datasets)
    export_dataset = _stream(datasets.export_dataset)
    import_eval_set = _upload(evalsets.import_eval_set)
    get_eval_set = _unary(evalsets.get_eval_set)
    list_eval_sets = _paged(evalsets.list_eval_sets)
    get_artifact = _unary(artifacts.get_artifact)
    list_artifacts = _paged(artifacts.list_artifacts)
    import_model = _unary(models.import_model)
    get_model = _unary(models.get_model)
    list_models = _paged(models.list_models)
    list_workers = _paged(workers.list_workers)
    get_worker = _unary(workers.get_worker)
    drain_worker = _unary(workers.drain_worker)
    undrain_worker = _unary(workers.undrain_worker)
    forget_worker = _unary(workers.forget_worker)
    list_pools = _unary(workers.list_pools)

    @cached_property
    def channel(self) -> grpc.aio.Channel:
        """The connection, made on first use."""
        return connect_aio(self.server, self._credentials)

    async def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        if "channel" in self.__dict__:
            await self.channel.close(grace=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _unary(self, call: Unary[Response]) -> Response:
        return await self._attempts(
            self.timeout, lambda left: _aio(call.method(self.channel))(call.request, timeout=left)
        )

    async def _upload(self, call: Upload[Response]) -> Response:
        requests = Restartable(call.requests)

        async def attempt(left: float) -> Response:
            # Files are opened and read in threads.
            fresh = await asyncio.to_thread(requests.restart)
            answer: Response = await _aio(call.method(self.channel))(threaded(fresh), timeout=left)
            return answer

        try:
            return await self._attempts(TRANSFER_TIMEOUT, attempt)
        except TailraceError as error:
            raise requests.failure or error from error

    async def _attempts(
        self, seconds: float, attempt: Callable[[float], Awaitable[Response]]
    ) -> Response:
        deadline = time.monotonic() + seconds
        try:
            async for tried in self.retry.unary(seconds):
                with tried:
                    return await attempt(deadline - time.monotonic())
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
        raise AssertionError("a retry loop ends by returning or raising")

    async def _pages(self, call: Paged[Any, Item]) -> AsyncIterator[Item]:
        while (page := call.next_page()) is not None:
            for item in call.accept(await self._unary(page)):
                yield item

    async def _stream(self, call: Stream[Any, Item]) -> AsyncIterator[Item]:
        while True:
            responses, response = await self._open(call)
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

    async def _open(self, call: Stream[Any, Item]) -> tuple[Any, Any]:
        """A connected stream and its first response; ``EOF`` when it ended without one."""
        try:
            while True:
                async for tried in self.retry.stream():
                    with tried:
                        opened = time.monotonic()
                        responses = _aio(call.method(self.channel))(call.request)
                        try:
                            return responses, await responses.read()
                        except grpc.RpcError as error:
                            if not (is_unavailable(error) and self.retry.was_connected(opened)):
                                raise
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error


def _aio(method: Any) -> Any:
    return method


async def threaded(items: Iterator[Item]) -> AsyncIterator[Item]:
    """Draw blocking items in a thread, one at a time."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield item  # type: ignore[misc]
