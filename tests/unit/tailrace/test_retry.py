from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import time

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from tailrace.retry import RetryPolicy
from tests.servers.node import free_port

FAST = RetryPolicy(attempts=3, initial_wait=0.001, max_wait=0.002, jitter=0.0)


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def _error(code: grpc.StatusCode = UNAVAILABLE) -> grpc.RpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "draining", "")


def _exhaust(policy: RetryPolicy, tries: list[None], code: grpc.StatusCode = UNAVAILABLE) -> None:
    for tried in policy.stream() if policy.attempts > 3 else policy.unary(10):
        with tried:
            tries.append(None)
            raise _error(code)


async def _exhaust_aio(tries: list[None]) -> None:
    async for tried in FAST.unary(10):
        with tried:
            tries.append(None)
            raise _error()


def test_the_last_error_is_raised_after_all_attempts(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[None] = []
    with caplog.at_level(logging.WARNING, "tailrace"), pytest.raises(grpc.RpcError):
        _exhaust(FAST, tries)
    assert len(tries) == 3
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("tailrace", "draining; attempt 2 follows in 0.0 s"),
        ("tailrace", "draining; attempt 3 follows in 0.0 s"),
    ]


async def test_the_same_with_asyncio() -> None:
    tries: list[None] = []
    with pytest.raises(grpc.RpcError):
        await _exhaust_aio(tries)
    assert len(tries) == 3


def test_a_deadline_after_an_outage_is_the_outage() -> None:
    codes = iter([UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])

    def attempt(left: float) -> None:
        raise _error(next(codes))

    with pytest.raises(grpc.RpcError) as caught:
        RetryPolicy(attempts=2, initial_wait=0.001, jitter=0.0).call(10, attempt)
    assert caught.value.code() is UNAVAILABLE


def test_other_errors_are_not_repeated() -> None:
    tries: list[None] = []
    with pytest.raises(grpc.RpcError):
        _exhaust(FAST, tries, grpc.StatusCode.NOT_FOUND)
    assert len(tries) == 1


def _refused(delay: float | None) -> grpc.RpcError:
    """The error of a quota that asks for a delay."""
    status = status_pb2.Status(code=8, message="draining")
    if delay is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(delay * 1000))
        status.details.add().Pack(retry)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, "draining", "")


@pytest.mark.parametrize(
    ("delay", "timeout", "tries"), [(0.05, 10, 3), (None, 10, 1), (0.05, 0.02, 1), (0.0, 10, 3)]
)
def test_an_exceeded_quota_is_tried_again_when_the_server_says(
    delay: float | None, timeout: float, tries: int
) -> None:
    starts: list[float] = []

    def attempt(left: float) -> None:
        starts.append(time.monotonic())
        raise _refused(delay)

    with pytest.raises(grpc.RpcError):
        FAST.call(timeout, attempt)
    assert len(starts) == tries
    assert all(b - a >= (delay or 0) for a, b in itertools.pairwise(starts))


def test_time_ends_it_too() -> None:
    tries: list[None] = []
    with pytest.raises(grpc.RpcError):
        _exhaust(RetryPolicy(initial_wait=0.01, jitter=0.0, reconnect_timeout=0.1), tries)
    assert 1 < len(tries) < 8


def test_a_program_that_configures_nothing_hears_nothing() -> None:
    script = (
        "import tailrace\n"
        "from tailrace.retry import RetryPolicy\n"
        f"client = tailrace.Client('127.0.0.1:{free_port()}', retry=RetryPolicy(attempts=2))\n"
        "try:\n    client.get_run('x')\n"
        "except tailrace.errors.Unavailable as error:\n    print(error)\n"
    )
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("no server answers at 127.0.0.1:")
