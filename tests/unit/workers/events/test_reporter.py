"""Events arrive completely, once and in order, whatever happens to the stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace.channel import connect
from tailrace.formats.limits import BATCH_BYTES
from tailrace.v1 import stage_pb2
from tests.servers.node import wait_until
from tests.servers.worker_token import worker_token
from tests.unit.workers.twin import FakeControlPlane, refuse
from workers.backoff import BackoffPolicy
from workers.events.messages import log_line_event
from workers.events.reporter import Reporter
from workers.events.spool import Spool
from workers.pool.directives import Directive, Directives
from workers.stage_client import StageClient


class Sender:
    """A reporter with its spool and directives."""

    def __init__(self, fake: FakeControlPlane, folder: Path, lease: str = "t") -> None:
        self.attempt = fake.lease(lease)
        self.channel = connect(fake.address)
        self.spool = Spool(folder / f"spool-{lease}.db", 64 * BATCH_BYTES)
        self.directives = Directives()
        self.reporter = Reporter(
            StageClient(self.channel, worker_token()), lease, self.spool, self.directives
        )

    def lines(self, first: int, count: int) -> None:
        for i in range(first, first + count):
            self.spool.append(log_line_event(str(i)))

    def close(self) -> None:
        self.reporter.close()
        self.spool.close()
        self.channel.close()


@pytest.fixture
def sender(fake: FakeControlPlane, tmp_path: Path) -> Iterator[Sender]:
    new_sender = Sender(fake, tmp_path)
    yield new_sender
    new_sender.close()


def never() -> bool:
    return False


def within(seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def numbers(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def test_a_stream_that_is_done_ends_without_being_cancelled(
    sender: Sender, fake: FakeControlPlane
) -> None:
    sender.lines(0, 3)
    assert sender.reporter.flush(never)
    began = time.monotonic()
    sender.reporter.close()
    assert time.monotonic() - began < 1.0
    wait_until(lambda: fake.ended_streams == 1, "the end of the stream", 5)


def test_events_arrive_soon_and_in_batches(sender: Sender, fake: FakeControlPlane) -> None:
    began = time.monotonic()
    sender.lines(0, 1)
    wait_until(lambda: bool(sender.attempt.events), "the first event", 5)
    assert time.monotonic() - began < 1.0
    sender.lines(1, 5000)
    assert sender.reporter.flush(never)
    assert sender.attempt.logs() == numbers(5001)
    assert max(count for _, count in fake.batches) <= 1000
    assert len(fake.batches) < 500
    assert sender.spool.acknowledged == 5001


def test_a_dropped_stream_loses_and_doubles_nothing(sender: Sender, fake: FakeControlPlane) -> None:
    seen = []

    def drop(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        seen.append(request.first_sequence)
        if len(seen) in (2, 4, 5):
            context.abort(grpc.StatusCode.UNAVAILABLE, "dropped")

    fake.publish_hook = drop
    for start in range(0, 3000, 100):
        sender.lines(start, 100)
        time.sleep(0.01)
    assert sender.reporter.flush(within(20))
    assert len(seen) > 5
    assert sender.attempt.logs() == numbers(3000)


def test_an_acknowledgement_that_got_lost_is_no_harm(
    sender: Sender, fake: FakeControlPlane
) -> None:
    """The batch was stored, but its answer never came: the events are sent twice, stored once."""
    once: list[stage_pb2.PublishEventsRequest] = []

    def store_and_break(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        if not once:
            once.append(request)
            sender.attempt.events.extend(request.events)
            context.abort(grpc.StatusCode.UNAVAILABLE, "after the commit")

    fake.publish_hook = store_and_break
    sender.lines(0, 50)
    assert sender.reporter.flush(within(20))
    assert sender.attempt.logs() == numbers(50)


def test_a_refused_gap_is_rewound(sender: Sender, fake: FakeControlPlane) -> None:
    """The store went back to an earlier, still unacknowledged state between two batches."""
    forgotten: list[int] = []

    def forget(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        # Before the answer to this batch is made, so the events were never acknowledged.
        if request.first_sequence > 1 and not forgotten:
            forgotten.append(request.first_sequence)
            request.first_sequence += 5

    fake.publish_hook = forget
    sender.lines(0, 10)
    wait_until(lambda: len(sender.attempt.events) == 10, "the first batch", 5)
    sender.lines(10, 500)
    assert sender.reporter.flush(within(20))
    assert forgotten
    assert sender.attempt.logs() == numbers(510)


def test_a_control_plane_that_is_away_is_waited_for(sender: Sender, fake: FakeControlPlane) -> None:
    sender.lines(0, 10)
    assert sender.reporter.flush(within(5))
    fake.stop()
    sender.lines(10, 200)
    assert not sender.reporter.flush(within(1))
    fake.start()
    assert sender.reporter.flush(within(20))
    assert sender.attempt.logs() == numbers(210)


def test_directives_come_with_acknowledgements(sender: Sender) -> None:
    sender.attempt.directive = stage_pb2.DIRECTIVE_CANCEL
    sender.lines(0, 1)
    assert sender.directives.wait(Directive.CONTINUE, 5)
    assert sender.directives.strongest is Directive.CANCEL


@pytest.mark.parametrize("how", ["status", "directive"])
def test_a_lost_lease_ends_it(sender: Sender, how: str) -> None:
    if how == "status":
        sender.attempt.lost = True
    else:
        sender.attempt.directive = stage_pb2.DIRECTIVE_LEASE_LOST
    sender.lines(0, 1)
    assert sender.directives.wait(Directive.ABORT, 5)
    assert sender.directives.strongest is Directive.LEASE_LOST
    sender.lines(1, 5)
    assert not sender.reporter.flush(never) or how == "directive"


def test_refused_events_abort_the_attempt_with_the_reason(
    sender: Sender, fake: FakeControlPlane
) -> None:
    fake.publish_hook = lambda _, context: refuse(
        context, code_pb2.INVALID_ARGUMENT, "BAD_EVENT", "a metric is not finite"
    )
    sender.lines(0, 1)
    assert sender.directives.wait(Directive.CANCEL, 5)
    assert sender.directives.strongest is Directive.ABORT
    assert "a metric is not finite" in sender.directives.fault
    assert not sender.reporter.flush(never)


def test_a_lasting_fault_of_the_server_aborts_and_a_passing_one_does_not(
    sender: Sender, fake: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.events.reporter._MAX_FAULTS", 3)
    left = [1, 1]

    def fault(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        if left:
            left.pop()
            context.abort(grpc.StatusCode.INTERNAL, "a bug")

    fake.publish_hook = fault
    for start in (0, 10):
        sender.lines(start, 10)
        assert sender.reporter.flush(within(10))
        left[:] = [1, 1]
    left[:] = [1] * 100
    sender.lines(20, 1)
    assert sender.directives.wait(Directive.CANCEL, 10)
    assert "a bug" in sender.directives.fault


def test_an_event_too_large_for_any_message_aborts_and_a_busy_server_does_not(
    sender: Sender, fake: FakeControlPlane
) -> None:
    refusals = [1, 1]

    def busy(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        if refusals or request.ByteSize() > BATCH_BYTES:
            refusals[:] = refusals[1:]
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")

    fake.publish_hook = busy
    sender.lines(0, 1)
    assert sender.reporter.flush(within(10))
    sender.spool.append(log_line_event("x" * (BATCH_BYTES + 1)))
    assert sender.directives.wait(Directive.CANCEL, 10)
    assert sender.directives.strongest is Directive.ABORT


def test_lost_acknowledged_events_abort_rather_than_leave_a_hole(
    sender: Sender, fake: FakeControlPlane
) -> None:
    sender.lines(0, 10)
    assert sender.reporter.flush(within(5))
    sender.attempt.events.clear()
    sender.lines(10, 10)
    assert sender.directives.wait(Directive.CANCEL, 10)
    assert "lost events" in sender.directives.fault


def test_a_server_that_falls_silent_is_left(
    sender: Sender, fake: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.events.reporter._STALL_SECONDS", 0.5)
    release = threading.Event()
    hung: list[int] = []

    def hang(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        if not hung:
            hung.append(1)
            release.wait(10)
            context.abort(grpc.StatusCode.CANCELLED, "was silent")

    fake.publish_hook = hang
    sender.lines(0, 10)
    assert sender.reporter.flush(within(8))
    release.set()
    assert sender.attempt.logs() == numbers(10)


def test_closing_is_quick_also_without_a_server(fake: FakeControlPlane, tmp_path: Path) -> None:
    sender = Sender(fake, tmp_path, "other")
    sender.lines(0, 10)
    fake.stop()
    time.sleep(0.3)
    began = time.monotonic()
    sender.close()
    assert time.monotonic() - began < 8


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["ok", "drop", "store", "ok"]), min_size=1, max_size=12))
def test_any_sequence_of_faults_leaves_every_event_once(
    fake: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[str]
) -> None:
    # A dozen faults in a row would have it wait for a minute.
    monkeypatch.setattr(
        "workers.backoff.POLICY", BackoffPolicy(maximum_seconds=0.2, jitter_seconds=0.1)
    )
    token = f"t{len(fake.attempts)}"
    left = list(faults)

    def hook(request: stage_pb2.PublishEventsRequest, context: Any) -> None:
        if request.lease_token != token or not left:
            return
        fault = left.pop(0)
        if fault == "store":
            have = len(fake.attempts[token].events)
            fresh = list(request.events)[max(0, have + 1 - request.first_sequence) :]
            if request.first_sequence <= have + 1:
                fake.attempts[token].events.extend(fresh)
        if fault != "ok":
            context.abort(grpc.StatusCode.UNAVAILABLE, fault)

    fake.publish_hook = hook
    sender = Sender(fake, tmp_path, token)
    for start in range(0, 200, 20):
        sender.lines(start, 20)
        time.sleep(0.005)
    arrived = sender.reporter.flush(within(30))
    sender.close()
    assert arrived
    assert sender.attempt.logs() == numbers(200)
