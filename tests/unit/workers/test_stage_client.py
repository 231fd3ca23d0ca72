"""Calls are repeated while there is no answer, and end with typed errors."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from tailrace.channel import connect
from tailrace.errors import Internal, InvalidArgument, ResourceExhausted, Unavailable
from tailrace.v1 import run_pb2, stage_pb2
from tests.servers.node import wait_until
from tests.servers.worker_token import worker_token
from tests.unit.workers.twin import FakeControlPlane, refuse
from workers.stage_client import LeaseLostError, StageClient, is_transient

FAIL = stage_pb2.FailStageRequest(lease_token="t", error=run_pb2.StageError(reason="R"))


def never() -> bool:
    return False


def test_a_report_waits_for_the_control_plane(
    fake: FakeControlPlane, stage_client: StageClient
) -> None:
    fake.lease("t")
    fake.stop()
    threading.Timer(1.0, fake.start).start()
    stage_client.fail(FAIL, stop=never)
    assert fake.attempts["t"].failed == FAIL


def test_an_absence_is_measured(fake: FakeControlPlane, stage_client: StageClient) -> None:
    stage_client.confirm("task", patience=5)
    assert stage_client.away_seconds() == 0
    fake.stop()
    with pytest.raises(Unavailable):
        stage_client.confirm("task", patience=1)
    wait_until(lambda: stage_client.away_seconds() > 0.5, "the absence", 5)
    fake.start()
    stage_client.confirm("task", patience=10)
    wait_until(lambda: stage_client.away_seconds() == 0, "the return", 5)


def test_a_lost_lease_is_an_error_of_its_own(
    fake: FakeControlPlane, stage_client: StageClient
) -> None:
    with pytest.raises(LeaseLostError):
        stage_client.complete(stage_pb2.CompleteStageRequest(lease_token="x"), stop=never)
    with pytest.raises(LeaseLostError):
        stage_client.release(stage_pb2.ReleaseStageRequest(lease_token="x"), stop=never)


def test_the_wait_ends_when_told_so(fake: FakeControlPlane, stage_client: StageClient) -> None:
    fake.stop()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        stage_client.fail(FAIL, stop=lambda: time.monotonic() - began > 0.5)
    with pytest.raises(Unavailable):
        stage_client.confirm("task", patience=0.5)
    with pytest.raises(Unavailable):
        stage_client.acquire(stage_pb2.AcquireStageRequest(), secret=str, patience=0.5, stop=never)
    assert time.monotonic() - began < 10


class Broken(FakeControlPlane):
    """Fails some calls before it answers."""

    def __init__(self, code: int, times: int, reason: str = "BROKEN") -> None:
        super().__init__()
        self.code, self.left, self.calls, self.reason = code, times, 0, reason

    def ConfirmDispatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        if self.left:
            self.left -= 1
            refuse(context, self.code, self.reason, "try again")
        return super().ConfirmDispatch(request, context)


@pytest.mark.parametrize("code", [code_pb2.ABORTED, code_pb2.RESOURCE_EXHAUSTED, code_pb2.INTERNAL])
def test_passing_faults_are_tried_again(code: int) -> None:
    broken = Broken(code, 2)
    broken.start()
    with connect(broken.address) as channel:
        StageClient(channel, worker_token()).confirm("task", patience=20)
    assert (broken.confirmed, broken.calls) == (["task"], 3)
    broken.stop()


def test_lasting_faults_and_refusals_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.stage_client._MAX_FAULTS", 3)
    for code, reason, calls, error in (
        (code_pb2.INTERNAL, "BROKEN", 3, Internal),
        (code_pb2.INVALID_ARGUMENT, "BROKEN", 1, InvalidArgument),
        (code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_STORED_BYTES", 1, ResourceExhausted),
    ):
        broken = Broken(code, 100, reason)
        broken.start()
        with connect(broken.address) as channel, pytest.raises(error, match="try again"):
            StageClient(channel, worker_token()).confirm("task", patience=20)
        assert broken.calls == calls
        broken.stop()


def test_a_worker_that_was_forgotten_waits_for_its_registration(
    fake: FakeControlPlane, stage_client: StageClient
) -> None:
    calls: list[int] = []

    def forgotten(request: Any, context: Any) -> None:
        calls.append(1)
        if len(calls) < 3:
            refuse(context, code_pb2.NOT_FOUND, "WORKER_UNKNOWN", "register again")

    fake.before["AcquireStage"] = forgotten
    answer = stage_client.acquire(
        stage_pb2.AcquireStageRequest(), secret=str, patience=10, stop=never
    )
    assert answer.stop.reason == "UNKNOWN"
    assert len(calls) == 3


def test_transient_errors_are_those_of_absence() -> None:
    assert is_transient(Unavailable("x"))
    assert not is_transient(InvalidArgument("x"))


def test_errors_without_details_are_typed_too(stage_client: StageClient) -> None:
    with pytest.raises(grpc.RpcError):
        next(iter(stage_client.publish(iter([stage_pb2.PublishEventsRequest(lease_token="x")]))))
