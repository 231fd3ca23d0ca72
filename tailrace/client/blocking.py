"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc

from tailrace.channel import connect, server_address
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


def _unary(
    build: Callable[P, Unary[Response]],
) -> Callable[Concatenate[Client, P], Response]:
    def method(self: Client, *args: P.args, **kwargs: P.kwargs) -> Response:
        return self._unary(build(*args, **kwargs))

    return as_method(build, method)


def _paged(
    build: Callable[P, Paged[Any, Item]],
) -> Callable[Concatenate[Client, P], Iterator[Item]]:
    def method(self: Client, *args: P.args, **kwargs: P.kwargs) -> Iterator[Item]:
        return self._pages(build(*args, **kwargs))

    return as_method(build, method)


def _stream(
    build: Callable[P, Stream[Any, Item]],
) -> Callable[Concatenate[Client, P], Iterator[Item]]:
    def method(self: Client, *args: P.args, **kwargs: P.kwargs) -> Iterator[Item]:
        return self._stream(build(*args, **kwargs))

    return as_method(build, method)


def _upload(
    build: Callable[P, Upload[Response]],
) -> Callable[Concatenate[Client, P], Response]:
    def method(self: Client, *args: P.args, **kwargs: P.kwargs) -> Response:
        return self._upload(build(*args, **kwargs))

    return as_method(build, method)


class Client:
    """Blocking client of a Tailrace control plane.

    Methods return the messages of ``tailrace.v1`` and raise :mod:`tailrace.errors`. Calls are
    retried while nobody answers; each has a deadline; streams continue where they broke off.
    Resource names may be given without their collection (``demo`` for ``runs/demo``). A client may
    be shared by threads, not by forked processes.

    ``server`` is ``host:port`` (default: ``TAILRACE_SERVER``, else ``127.0.0.1:7443``), ``timeout``
    the seconds that a unary call may take with all its retries. Raises ``ValueError`` for a server
    address that is a URL.
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
        self.channel = connect(self.server, credentials)

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

    def _unary(self, call: Unary[Response]) -> Response:
        return self._attempts(
            self.timeout, lambda left: call.method(self.channel)(call.request, timeout=left)
        )

    def _upload(self, call: Upload[Response]) -> Response:
        requests = Restartable(call.requests)
        try:
            return self._attempts(
                TRANSFER_TIMEOUT,
                lambda left: call.method(self.channel)(requests.restart(), timeout=left),
            )
        except TailraceError as error:
            raise requests.failure or error from error

    def _attempts(self, timeout: float, attempt: Callable[[float], Response]) -> Response:
        deadline = time.monotonic() + timeout
        try:
            for tried in self.retry.unary(timeout):
                with tried:
                    return attempt(deadline - time.monotonic())
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
        raise AssertionError("a retry loop ends by returning or raising")

    def _pages(self, call: Paged[Any, Item]) -> Iterator[Item]:
        while (page := call.next_page()) is not None:
            yield from call.accept(self._unary(page))

    def _stream(self, call: Stream[Any, Item]) -> Iterator[Item]:
        while True:
            responses, response = self._open(call)
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

    def _open(self, call: Stream[Response, Item]) -> tuple[Any, Response | None]:
        """A connected stream and its first response; ``None`` when it ended without one."""
        try:
            while True:
                for tried in self.retry.stream():
                    with tried:
                        opened = time.monotonic()
                        responses: Any = call.method(self.channel)(call.request)
                        try:
                            return responses, next(responses, None)
                        except grpc.RpcError as error:
                            if not (is_unavailable(error) and self.retry.was_connected(opened)):
                                raise
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
