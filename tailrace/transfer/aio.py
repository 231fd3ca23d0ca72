"""Execution of transfers with asyncio: threads read, write and hash files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import grpc
import grpc.aio

from tailrace.errors import from_rpc
from tailrace.retry import RetryPolicy
from tailrace.transfer import downloads, uploads
from tailrace.transfer.request_stream import Restartable, threaded
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


def _function(
    build: Callable[P, Job[T]],
) -> Callable[Concatenate[grpc.aio.Channel, P], Coroutine[Any, Any, T]]:
    async def function(channel: grpc.aio.Channel, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await run(channel, build(*args, **kwargs), RetryPolicy())
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    function.__name__ = function.__qualname__ = build.__name__
    function.__doc__ = build.__doc__
    return function


upload_file = _function(uploads.upload_file)
upload_folder = _function(uploads.upload_folder)
download_blob = _function(downloads.download_blob)
download_artifact = _function(downloads.download_artifact)


async def run(channel: grpc.aio.Channel, job: Job[T], retry: RetryPolicy) -> T:
    """Execute a job and return its result.

    Raises:
        grpc.RpcError: A call failed for good.
        OSError: A file cannot be read or written.
    """
    # A coroutine cannot raise StopIteration, so each step ends in a value or in the result.
    outcome: Any = None
    failure: Exception | None = None
    try:
        while True:
            try:
                step = job.send(outcome) if failure is None else job.throw(failure)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome, failure = None, None
            try:
                outcome = await _carry_out(channel, step, retry)
            except (grpc.RpcError, OSError) as error:
                failure = error
    finally:
        job.close()


async def _carry_out(channel: grpc.aio.Channel, step: Step, retry: RetryPolicy) -> Any:
    match step:
        case Work():
            return await _in_thread(step.do)
        case Request():
            method = step.method(channel)
            return await retry.call_aio(
                REQUEST_SECONDS, lambda left: method(step.request, timeout=left)
            )
        case Send():
            return await _send(channel, step)
        case Receive():
            responses = step.method(channel)(step.request, timeout=deadline(step.size_bytes))
            try:
                async for response in responses:
                    await _in_thread(partial(step.accept, response))
            finally:
                responses.cancel()
            return None
        case Resume():
            return await retry.connect_aio(lambda: run(channel, step.start(), retry))


async def _send(channel: grpc.aio.Channel, step: Send) -> Any:
    requests = Restartable(step.requests)
    fresh = await _in_thread(requests.restart)
    try:
        return await step.method(channel)(threaded(fresh), timeout=deadline(step.size_bytes))
    except grpc.RpcError as error:
        raise requests.failure or error from error


async def _in_thread(do: Callable[[], T]) -> T:
    """Run ``do`` in a thread; a cancellation waits for it, so that its files can be closed."""
    task = asyncio.ensure_future(asyncio.to_thread(do))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
