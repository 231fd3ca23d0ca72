"""One heartbeat speaks for all leases, registers again when forgotten, and says when to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.errors import FailedPrecondition, Unauthenticated
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.v1 import stage_pb2, worker_pb2
from tests.servers.node import wait_until
from tests.unit.workers.twin import FakeControlPlane
from workers.accelerators import Accelerator, Slot
from workers.broker_link import BrokerLink
from workers.pool.child_socket import ChildSocket
from workers.pool.directives import Directive, Directives
from workers.pool.heartbeat import Heartbeat
from workers.pool.parent_socket import ParentSocket
from workers.settings import Settings

SLOTS = [Slot("gpu-0", Accelerator.GPU, (0,), (0, 1)), Slot("gpu-1", Accelerator.GPU, (1,), (2, 3))]


class Parent:
    """The parts of a worker's parent process."""

    def __init__(self, fake: FakeControlPlane, folder: Path) -> None:
        self.settings = Settings(server=fake.address, worker_name="w-1", pools=("gpu",))
        self.server = ParentSocket(folder, dict.fromkeys((s.id for s in SLOTS), 0), print)
        self.stopped: list[float] = []
        self.link = BrokerLink()
        self.heartbeat = Heartbeat(
            self.settings,
            "instance",
            SLOTS,
            self.server,
            self.link,
            lambda: self.stopped.append(time.monotonic()),
        )


@pytest.fixture
def parent(fake: FakeControlPlane, tmp_path: Path) -> Iterator[Parent]:
    new_parent = Parent(fake, tmp_path)
    yield new_parent
    new_parent.heartbeat.close()
    new_parent.server.close()


def test_it_introduces_the_worker(parent: Parent, fake: FakeControlPlane) -> None:
    assert parent.heartbeat.wait_for_decision(5)
    (request,) = fake.registered
    assert (request.worker_id, list(request.pools)) == ("w-1", ["gpu"])
    assert request.protocol_version == PROTOCOL_VERSION
    assert request.slots[1] == worker_pb2.Slot(
        id="gpu-1", accelerator=worker_pb2.ACCELERATOR_TYPE_GPU, devices=[1], cores=[2, 3]
    )
    assert {"python", "tailrace", "celery"} <= set(request.versions)
    assert parent.heartbeat.refusal is None


def test_one_message_keeps_all_leases_alive_and_brings_their_directives(
    parent: Parent, fake: FakeControlPlane
) -> None:
    one, two = ChildSocket(parent.server.path), ChildSocket(parent.server.path)
    mine, theirs = Directives(), Directives()
    fake.lease("a")
    with one.lease("a", mine), two.lease("unknown", theirs):
        assert theirs.wait(Directive.CONTINUE, 5)
        assert theirs.strongest is Directive.LEASE_LOST
        wait_until(lambda: fake.attempts["a"].beats > 2, "heartbeats", 5)
        assert set(fake.heartbeats[-1].lease_tokens) == {"a", "unknown"}
        assert mine.strongest is Directive.CONTINUE
        assert not fake.heartbeats[-1].draining
        parent.server.drain()
        wait_until(lambda: fake.heartbeats[-1].draining, "the drain", 5)


def test_a_forgotten_worker_registers_again(parent: Parent, fake: FakeControlPlane) -> None:
    parent.heartbeat.wait_for_decision(5)
    fake.forget_workers = True
    wait_until(lambda: len(fake.registered) == 2, "the second registration", 5)
    count = len(fake.heartbeats)
    wait_until(lambda: len(fake.heartbeats) > count, "heartbeats", 5)
    assert not parent.stopped


def test_an_absence_is_survived(parent: Parent, fake: FakeControlPlane) -> None:
    parent.heartbeat.wait_for_decision(5)
    fake.stop()
    time.sleep(0.5)
    count = len(fake.heartbeats)
    fake.start()
    wait_until(lambda: len(fake.heartbeats) > count, "heartbeats", 10)
    assert len(fake.registered) == 1
    assert not parent.stopped


def test_a_refusal_stops_the_worker(fake: FakeControlPlane, tmp_path: Path) -> None:
    fake.refuse_registration = "too old"
    parent = Parent(fake, tmp_path)
    assert parent.heartbeat.wait_for_decision(5)
    assert isinstance(parent.heartbeat.refusal, FailedPrecondition)
    assert parent.heartbeat.refusal.reason == "PROTOCOL_UNSUPPORTED"
    wait_until(lambda: len(parent.stopped) == 1, "the stop", 5)
    parent.heartbeat.close()
    parent.server.close()


def test_a_token_that_is_being_replaced_is_waited_for_as_long_as_leases_live(
    parent: Parent, fake: FakeControlPlane
) -> None:
    wait_until(lambda: bool(fake.heartbeats), "a heartbeat", 5)
    fake.refuse_token = True
    time.sleep(0.5)
    fake.refuse_token = False
    count = len(fake.heartbeats)
    wait_until(lambda: len(fake.heartbeats) > count, "heartbeats", 5)
    assert not parent.stopped
    fake.refuse_token = True
    wait_until(lambda: len(parent.stopped) == 1, "the stop", 10)
    assert isinstance(parent.heartbeat.refusal, Unauthenticated)


def test_a_drain_from_above_stops_it_once_and_beats_go_on(
    parent: Parent, fake: FakeControlPlane
) -> None:
    assert parent.heartbeat.wait_for_decision(5)
    fake.worker_directive = stage_pb2.DIRECTIVE_DRAIN
    wait_until(lambda: len(parent.stopped) == 1, "the stop", 5)
    count = len(fake.heartbeats)
    wait_until(lambda: len(fake.heartbeats) > count + 2, "heartbeats", 5)
    assert len(parent.stopped) == 1
    assert not parent.server.draining
    # It takes no more, whatever becomes of the drain.
    fake.worker_directive = stage_pb2.DIRECTIVE_CONTINUE
    count = len(fake.heartbeats)
    wait_until(lambda: len(fake.heartbeats) > count + 2, "heartbeats", 5)
    assert fake.heartbeats[-1].draining
    assert len(parent.stopped) == 1


def test_a_worker_that_is_drained_when_it_starts_waits_until_it_is_undrained(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    fake.worker_directive = stage_pb2.DIRECTIVE_DRAIN
    parent = Parent(fake, tmp_path)
    wait_until(lambda: len(fake.heartbeats) > 2, "heartbeats", 5)
    assert not parent.heartbeat.wait_for_decision(0)
    assert not fake.heartbeats[-1].draining
    fake.worker_directive = stage_pb2.DIRECTIVE_CONTINUE
    assert parent.heartbeat.wait_for_decision(5)
    assert parent.heartbeat.refusal is None
    assert not parent.stopped
    parent.heartbeat.close()
    parent.server.close()


def test_a_worker_whose_secret_is_another_ones_registers_again(
    parent: Parent, fake: FakeControlPlane
) -> None:
    parent.heartbeat.wait_for_decision(5)
    child = ChildSocket(parent.server.path)
    assert child.secret == fake.secret
    fake.secret = "another worker's"
    wait_until(lambda: len(fake.registered) == 2, "the second registration", 5)
    assert [r.new_process for r in fake.registered] == [True, False]
    assert {r.instance_id for r in fake.registered} == {"instance"}
    wait_until(lambda: child.secret == fake.secret, "the new secret", 5)
    child.close()


def test_the_end_is_told_unless_a_lease_is_held(fake: FakeControlPlane, tmp_path: Path) -> None:
    parent = Parent(fake, tmp_path)
    parent.heartbeat.wait_for_decision(5)
    parent.heartbeat.close()
    parent.server.close()
    assert len(fake.goodbyes) == 1
    parent = Parent(fake, tmp_path)
    parent.heartbeat.wait_for_decision(5)
    child = ChildSocket(parent.server.path)
    with child.lease("a", Directives()):
        wait_until(lambda: parent.server.leases() == ["a"], "the lease", 5)
        parent.heartbeat.close()
    parent.server.close()
    assert len(fake.goodbyes) == 1


def test_an_attempt_fails_with_its_pool_process_as_soon_as_somebody_answers(
    parent: Parent, fake: FakeControlPlane
) -> None:
    parent.heartbeat.wait_for_decision(5)
    attempt = fake.lease("a")
    child = ChildSocket(parent.server.path)
    context = child.lease("a", Directives())
    context.__enter__()
    wait_until(lambda: parent.server.leases() == ["a"], "the lease", 5)
    fake.stop()
    child.close()
    time.sleep(0.3)
    fake.start()
    wait_until(lambda: attempt.failed is not None, "the report", 10)
    assert attempt.failed is not None
    assert attempt.failed.error.retryable
    assert "pool process of slot gpu-0" in attempt.failed.error.message


def test_a_thread_that_breaks_stops_the_worker(
    fake: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> dict[str, str]:
        raise RuntimeError("a fault of ours")

    reported: list[object] = []
    monkeypatch.setattr("threading.excepthook", lambda args: reported.append(args.exc_value))
    monkeypatch.setattr(ParentSocket, "leases", broken)
    parent = Parent(fake, tmp_path)
    wait_until(lambda: len(parent.stopped) == 1, "the stop", 5)
    wait_until(lambda: [str(e) for e in reported] == ["a fault of ours"], "the report", 5)
    parent.heartbeat.close()
    parent.server.close()


def test_slots_in_quarantine_are_told(parent: Parent, fake: FakeControlPlane) -> None:
    child = ChildSocket(parent.server.path)
    child.quarantine("a process is left")
    wait_until(
        lambda: any(
            dict(beat.quarantine) == {child.slot: "a process is left"} for beat in fake.heartbeats
        ),
        "a heartbeat that says so",
        20,
    )
    child.close()
