"""Execution of transfers, blocking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import grpc

from tailrace.errors import from_rpc
from tailrace.retry import RetryPolicy
from tailrace.transfer import downloads, uploads
from tailrace.transfer.request_stream import Restartable
from tailrace.transfer.steps import (
    REQUEST_SECONDS,
    Job,
    Receive,
    Request,
    Resume,
    Send,
    Step,
    Work,
    deadline,
)

P = ParamSpec("P")
T = TypeVar("T")


def _function(build: Callable[P, Job[T]]) -> Callable[Concatenate[grpc.Channel, P], T]:
    def function(channel: grpc.Channel, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return run(channel, build(*args, **kwargs), RetryPolicy())
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    function.__name__ = function.__qualname__ = build.__name__
    function.__doc__ = build.__doc__
    return function


upload_file = _function(uploads.upload_file)
upload_folder = _function(uploads.upload_folder)
download_blob = _function(downloads.download_blob)
download_artifact = _function(downloads.download_artifact)


def run(channel: grpc.Channel, job: Job[T], retry: RetryPolicy) -> T:
    """Execute a job and return its result.

    Raises:
        grpc.RpcError: A call failed for good.
        OSError: A file cannot be read or written.
    """
    try:
        step = next(job)
        while True:
            try:
                outcome = _carry_out(channel, step, retry)
            except (grpc.RpcError, OSError) as error:
                step = job.throw(error)
            else:
                step = job.send(outcome)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        job.close()


def _carry_out(channel: grpc.Channel, step: Step, retry: RetryPolicy) -> Any:
    match step:
        case Work():
            return step.do()
        case Request():
            method = step.method(channel)
            return retry.call(REQUEST_SECONDS, lambda left: method(step.request, timeout=left))
        case Send():
            return _send(channel, step)
        case Receive():
            responses = step.method(channel)(step.request, timeout=deadline(step.size_bytes))
            try:
                for response in responses:
                    step.accept(response)
            finally:
                responses.cancel()
            return None
        case Resume():
            return retry.connect(lambda: run(channel, step.start(), retry))


def _send(channel: grpc.Channel, step: Send) -> Any:
    requests = Restartable(step.requests)
    try:
        return step.method(channel)(requests.restart(), timeout=deadline(step.size_bytes))
    except grpc.RpcError as error:
        raise requests.failure or error from error
