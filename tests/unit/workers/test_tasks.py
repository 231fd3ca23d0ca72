"""Real workers on a real Valkey: deliveries, chains, drains."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import celery
import psutil
import pytest
from kombu.entity import Exchange, Queue

from tailrace.formats.dispatch import EXCHANGE, QUEUE_ARGUMENTS, queue_name, routing_key
from tailrace.v1 import run_pb2, stage_pb2
from tailrace.worker_token import VARIABLE
from tests.servers.events import TaskEventListener
from tests.servers.node import Process, wait_until
from tests.servers.valkey import Valkey
from tests.servers.worker_token import token_file
from tests.unit.workers.conftest import STAGE_COMMAND, make_order, wait_gone
from tests.unit.workers.twin import FakeControlPlane

StartWorker = Callable[..., Process]


@pytest.fixture
def start_worker(fake: FakeControlPlane, valkey_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers against the control plane in memory."""
    started: list[Process] = []

    def start(**settings: str) -> Process:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")}
        env = inherited | {
            "TAILRACE_SERVER": fake.address,
            VARIABLE: str(token_file()),
            "TAILRACE_BROKER_URL": valkey_url,
            "TAILRACE_WORK_DIR": str(tmp_path / "work"),
            "TAILRACE_CACHE_DIR": str(tmp_path / "cache"),
            "TAILRACE_STAGE_COMMAND": " ".join(STAGE_COMMAND),
            "TAILRACE_GRACE_SECONDS": "5",
            **{f"TAILRACE_{name.upper()}": value for name, value in settings.items()},
        }
        log = tmp_path / f"worker-{len(started)}.log"
        process = Process([sys.executable, "-m", "workers"], log=log, env=env)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()
        print(process.tail(200))  # noqa: T201  # shown when the test failed


@pytest.fixture
def listener(valkey_url: str) -> Iterator[TaskEventListener]:
    """A listener in Flower's place."""
    with TaskEventListener(valkey_url) as listener:
        yield listener


def publish(broker_url: str, *stages: tuple[str, str], uid: str = "uid1") -> None:
    """Send a chain as the control plane's relay does; each stage is (kind, pool)."""
    app = celery.Celery("relay", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True, task_create_missing_queues=False, task_send_sent_event=True
    )
    # kombu has no types.
    exchange = cast("Any", Exchange)(EXCHANGE, type="topic")
    with app.connection_for_write() as connection:
        for _, pool in stages:
            cast("Any", Queue)(
                queue_name(pool), exchange, routing_key(pool), queue_arguments=QUEUE_ARGUMENTS
            ).declare(channel=connection.default_channel)
    signatures = [
        app.signature(
            f"tailrace.{kind}",
            args=(uid, kind, 1),
            immutable=True,
            task_id=f"{uid}.{kind}.1",
            root_id=uid,
            exchange=EXCHANGE,
            routing_key=routing_key(pool),
        )
        for kind, pool in stages
    ]
    options: dict[str, Any] = {"root_id": uid, "queue": None}
    signatures[0].apply_async(chain=list(reversed(signatures[1:])), **options)


def done_already(fake: FakeControlPlane, task_id: str, successor: str) -> None:
    """Have the control plane answer CONTINUE."""
    answer = stage_pb2.AcquireStageResponse()
    getattr(answer, "continue").successor_task_id = successor
    fake.answers[task_id] = answer


def test_a_chain_goes_on_only_when_told_and_is_confirmed(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str
) -> None:
    train = make_order(fake)
    infer = make_order(fake, run_pb2.STAGE_KIND_INFER)
    fake.orders = {"uid1.train.1": train, "uid1.infer.1": infer}
    fake.decision = stage_pb2.CHAIN_DECISION_CONTINUE
    start_worker()
    publish(valkey_url, ("train", "cpu"), ("infer", "cpu"), ("judge", "cpu"))
    wait_until(lambda: len(fake.confirmed) == 2, "two confirmations", 30)
    wait_until(lambda: len(fake.acquired) == 3, "the judge's delivery", 10)

    assert fake.confirmed == ["uid1.infer.1", "uid1.judge.1"]
    done = fake.attempts[train.lease_token].completed
    assert done is not None
    assert done.successor_task_id == "uid1.infer.1"
    assert done.result.train.steps == 5
    assert [file.path for file in done.artifacts[0].files] == ["model.safetensors"]
    predicted = fake.attempts[infer.lease_token]
    assert [e.prediction.text for e in predicted.events if e.HasField("prediction")] == ["2"]
    assert len({request.acquire_id for request in fake.acquired}) == 3
    assert {request.slot for request in fake.acquired} == {"cpu-0"}

    # A stage that is done lets its chain go on, if that goes where the control plane says.
    done_already(fake, "uid2.train.1", "uid2.infer.1")
    done_already(fake, "uid3.train.1", "uid3.infer.2")
    publish(valkey_url, ("train", "cpu"), ("infer", "cpu"), uid="../../escape")
    for uid in ("uid3", "uid2"):
        publish(valkey_url, ("train", "cpu"), ("infer", "cpu"), uid=uid)
    wait_until(lambda: "uid2.infer.1" in fake.confirmed, "the confirmation", 10)
    wait_until(lambda: len(fake.acquired) == 6, "the successor's delivery", 10)
    assert fake.confirmed[2:] == ["uid2.infer.1"]
    later = [(request.run_uid, request.stage) for request in fake.acquired[3:]]
    assert sorted(later) == [("uid2", "infer"), ("uid2", "train"), ("uid3", "train")]


def test_flower_hears_of_attempts_not_of_deliveries(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str
) -> None:
    fake.orders = {
        "uid1.train.1": make_order(fake),
        "uid1.infer.1": make_order(fake, run_pb2.STAGE_KIND_INFER),
        "uid2.train.1": make_order(fake, act="error"),
    }
    fake.decision = stage_pb2.CHAIN_DECISION_CONTINUE
    for uid, reason in (("uid3", "CANCELLED"), ("uid4", "RUNNING_ELSEWHERE")):
        stop = stage_pb2.ChainStop(reason=reason)
        fake.answers[f"{uid}.train.1"] = stage_pb2.AcquireStageResponse(stop=stop)
    done_already(fake, "uid5.train.1", "uid5.infer.1")
    with TaskEventListener(valkey_url) as listener:
        start_worker()
        publish(valkey_url, ("train", "cpu"), ("infer", "cpu"))
        listener.wait("uid1.infer.1", "sent", "received", "started", "succeeded", timeout=60)
        for uid in ("uid4", "uid5", "uid3", "uid2"):
            publish(valkey_url, ("train", "cpu"), ("infer", "elsewhere"), uid=uid)
        wait_until(lambda: "failed" in listener.kinds("uid2.train.1"), "the failure", 20)

    # The test's relay reports "sent" after the worker may have the message.
    received = ["received", "started", "succeeded"]
    assert [kind for kind in listener.kinds("uid1.train.1") if kind != "sent"] == received
    assert sorted(listener.kinds("uid3.train.1")) == ["revoked", "sent"]
    assert listener.kinds("uid4.train.1") == ["sent"]
    assert listener.kinds("uid5.train.1") == ["sent"]
    assert listener.kinds("uid5.infer.1") == [], "a chain that goes on repeats a publication"
    by_kind = {event["type"]: event for event in listener.events if "uid1.infer" in event["uuid"]}
    assert {event["root_id"] for event in by_kind.values()} == {"uid1"}
    assert by_kind["task-received"]["parent_id"] == "uid1.train.1"
    ended = by_kind["task-succeeded"]
    assert ended["runtime"] > 0
    for part in ("succeeded", "run=runs/r", "stage=infer", "slot=cpu-0", "pool=cpu"):
        assert part in ended["result"]
    (failed,) = (event for event in listener.events if event["type"] == "task-failed")
    assert "reason=OVERLONG" in failed["exception"]
    assert by_kind["task-started"]["args"] == "run_uid=uid1, stage=infer, attempt=1, pool=cpu"
    assert by_kind["task-started"]["kwargs"] == "run=runs/r, slot=cpu-0"


def test_remote_control_cannot_lose_a_stage_and_shutdown_drains(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str
) -> None:
    order = make_order(fake, act="wait")
    fake.orders = {"uid1.train.1": order}
    with TaskEventListener(valkey_url) as listener:
        worker = start_worker(worker_metrics_port="0")
        wait_until(lambda: bool(fake.heartbeats), "the worker", 30)
        (port,) = (
            json.loads(line)["address"].rpartition(":")[2]
            for line in worker.log.read_text().splitlines()
            if '"metrics"' in line
        )
        control = celery.Celery("operator", broker=valkey_url, set_as_current=False).control
        answers: list[Any] = []

        def refused() -> bool:
            answers[:] = control.revoke("uid1.train.1", reply=True, timeout=1) or []
            return bool(answers)

        wait_until(refused, "the answer", 30)
        assert "tailrace runs cancel" in str(answers)
        (grown,) = control.pool_grow(1, reply=True, timeout=5)
        assert "TAILRACE_SLOTS" in str(grown)
        publish(valkey_url, ("train", "cpu"))
        attempt = fake.lease(order.lease_token)
        wait_until(lambda: "ready" in attempt.logs(), "the stage", 20)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert 'tailrace_worker_attempts_started_total{kind="train"} 1.0' in metrics
        assert "tailrace_worker_busy_slots 1.0" in metrics
        assert "tailrace_worker_broker_up 1.0" in metrics
        control.shutdown()
        assert worker.popen.wait(20) == 0
        wait_until(lambda: "revoked" in listener.kinds("uid1.train.1"), "the last event", 10)
    assert attempt.released is not None
    assert attempt.released.reason == "DRAINED"
    assert "reason=DRAINED" in listener.events[-1]["result"]
    for line in worker.log.read_text().splitlines():
        assert json.loads(line)["event"], "each line of a worker's log is JSON"


def test_sigterm_hands_back_with_a_checkpoint_in_seconds(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str
) -> None:
    order = make_order(fake, act="wait")
    fake.orders = {"uid1.train.1": order}
    worker = start_worker()
    publish(valkey_url, ("train", "cpu"), ("infer", "elsewhere"))
    attempt = fake.lease(order.lease_token)
    wait_until(lambda: "ready" in attempt.logs(), "the stage", 20)
    worker.send(signal.SIGTERM)
    assert worker.popen.wait(15) == 0

    assert attempt.released is not None
    assert attempt.released.reason == "DRAINED"
    saved = [e.checkpoint for e in attempt.events if e.HasField("checkpoint")]
    assert [c.step for c in saved] == [7]
    assert saved[0].files[0].sha256 in fake.blobs
    assert attempt.released.last_event_sequence == len(attempt.events)
    assert fake.confirmed == []


def test_a_refused_worker_ends_with_the_reason(
    fake: FakeControlPlane, start_worker: StartWorker
) -> None:
    fake.refuse_registration = "protocol 1 is not supported; 7 and 8 are"
    worker = start_worker()
    assert worker.popen.wait(15) == os.EX_PROTOCOL
    assert "7 and 8 are" in worker.tail()


def test_a_worker_that_cannot_keep_an_attempt_says_so(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str, tmp_path: Path
) -> None:
    order = make_order(fake)
    fake.orders = {"uid1.train.1": order}
    start_worker(worker_name="w-1")
    wait_until((tmp_path / "work" / "w-1" / "control.sock").exists, "the worker", 30)
    (tmp_path / "work" / "w-1" / "cpu-0").write_text("stands in the way of the slot's folder")
    publish(valkey_url, ("train", "cpu"))
    attempt = fake.lease(order.lease_token)
    wait_until(lambda: attempt.failed is not None, "the report", 30)
    assert attempt.failed is not None
    assert attempt.failed.error.reason == "WORKER_FAULT"
    assert attempt.failed.error.retryable
    assert "cpu-0" in attempt.failed.error.message


def test_a_killed_pool_process_leaves_no_process_and_no_lease(
    fake: FakeControlPlane,
    start_worker: StartWorker,
    valkey_url: str,
    listener: TaskEventListener,
) -> None:
    order = make_order(fake, act="daemon")
    again = make_order(fake)
    fake.orders = {"uid1.train.1": order, "uid2.train.1": again}
    worker = start_worker()
    publish(valkey_url, ("train", "cpu"))
    attempt = fake.lease(order.lease_token)
    wait_until(lambda: any("grandchild" in t for t in attempt.logs()), "the stage", 20)
    wait_until(lambda: attempt.beats > 1, "heartbeats", 5)
    pool_process = next(
        p for p in psutil.Process(worker.pid).children() if "spawn_main" in " ".join(p.cmdline())
    )
    tree = pool_process.children(recursive=True)
    assert len(tree) >= 3, "stage process, its child, the watchdog"
    pool_process.kill()
    wait_gone(tree)
    wait_until(lambda: attempt.failed is not None, "the report", 5)
    assert attempt.failed is not None
    error = attempt.failed.error
    assert (error.reason, error.signal, error.retryable) == ("WORKER_FAULT", "SIGKILL", True)
    assert "pool process of slot cpu-0 was ended by SIGKILL" in error.message
    wait_until(lambda: not fake.heartbeats[-1].lease_tokens, "the lease to be dropped", 5)

    wait_until(lambda: "failed" in listener.kinds("uid1.train.1"), "Flower's event", 10)

    # Its slot is free again, and the redelivered message finds nothing to do.
    publish(valkey_url, ("train", "cpu"), uid="uid2")
    wait_until(lambda: fake.lease(again.lease_token).completed is not None, "the next stage", 30)
    wait_until(lambda: sum(r.run_uid == "uid1" for r in fake.acquired) == 2, "redelivery", 10)
    assert [kind for kind in listener.kinds("uid1.train.1") if kind != "sent"] == [
        "received",
        "started",
        "failed",
    ]


def test_a_killed_worker_leaves_no_process(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str, tmp_path: Path
) -> None:
    order = make_order(fake, act="daemon")
    fake.orders = {"uid1.train.1": order}
    worker = start_worker()
    publish(valkey_url, ("train", "cpu"))
    attempt = fake.lease(order.lease_token)
    wait_until(lambda: any("grandchild" in t for t in attempt.logs()), "the stage", 20)
    tree = psutil.Process(worker.pid).children(recursive=True)
    worker.kill_group()
    wait_gone(tree)

    (left,) = (tmp_path / "work").glob("[!_]*")
    start_worker(worker_name="next")
    wait_until(lambda: len(fake.registered) == 2, "the next worker", 20)
    assert not left.exists()


def test_a_control_plane_that_restarts_costs_nothing(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str
) -> None:
    order = make_order(fake, act="chatter", lines="3000")
    fake.orders = {"uid1.train.1": order}
    fake.publish_hook = lambda *_: time.sleep(0.05)
    start_worker()
    publish(valkey_url, ("train", "cpu"))
    attempt = fake.lease(order.lease_token)
    wait_until(lambda: len(attempt.events) > 0, "events", 20)
    fake.stop()
    time.sleep(1)
    fake.start()
    wait_until(lambda: attempt.completed is not None, "the completion", 30)
    lines = [text for text in attempt.logs() if text.startswith("line ")]
    assert lines == [f"line {i}" for i in range(3000)]


def test_directives_come_with_heartbeats_and_two_slots_work_at_once(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_url: str
) -> None:
    one, two, three = (make_order(fake, act="wait") for _ in range(3))
    fake.orders = {"uid1.train.1": one, "uid2.train.1": two, "uid3.train.1": three}
    worker = start_worker(slots="2", pools="cpu,other")
    for uid, pool in (("uid1", "cpu"), ("uid2", "other")):
        publish(valkey_url, ("train", pool), uid=uid)
    attempts = [fake.lease(order.lease_token) for order in (one, two)]
    wait_until(lambda: all("ready" in a.logs() for a in attempts), "both stages", 30)
    assert {request.slot for request in fake.acquired} == {"cpu-0", "cpu-1"}
    attempts[0].directive = stage_pb2.DIRECTIVE_CANCEL
    attempts[1].lost = True
    wait_until(lambda: attempts[0].released is not None, "the release", 10)
    assert attempts[0].released is not None
    assert attempts[0].released.reason == "CANCELLED"
    wait_until(lambda: not fake.heartbeats[-1].lease_tokens, "both leases to end", 10)
    assert not attempts[1].over

    # DRAIN lets what runs come to its end, and takes no more.
    publish(valkey_url, ("train", "cpu"), uid="uid3")
    last = fake.lease(three.lease_token)
    wait_until(lambda: "ready" in last.logs(), "the third stage", 20)
    fake.worker_directive = stage_pb2.DIRECTIVE_DRAIN
    time.sleep(1)
    assert not last.over
    assert worker.popen.poll() is None
    last.directive = stage_pb2.DIRECTIVE_CANCEL
    assert worker.popen.wait(15) == 0
    assert last.released is not None


def test_a_broker_that_refuses_the_worker_is_reported(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_node: Valkey
) -> None:
    valkey_node.configure("requirepass", "hidden")
    start_worker()

    def problem() -> str:
        return fake.heartbeats[-1].broker_error if fake.heartbeats else ""

    wait_until(lambda: "refuses the login" in problem(), "the report", 30)
    valkey_node.configure("requirepass", "", password="hidden")
    wait_until(lambda: problem() == "", "the connection", 20)


def test_a_broker_that_comes_back_empty_is_served_again(
    fake: FakeControlPlane, start_worker: StartWorker, valkey_node: Valkey
) -> None:
    order, next_order = make_order(fake, act="wait"), make_order(fake)
    fake.orders = {"uid1.train.1": order, "uid2.train.1": next_order}
    start_worker()
    publish(valkey_node.url, ("train", "cpu"))
    attempt = fake.lease(order.lease_token)
    wait_until(lambda: "ready" in attempt.logs(), "the stage", 20)
    valkey_node.kill()
    wait_until(lambda: "cannot be reached" in fake.heartbeats[-1].broker_error, "the report", 10)
    time.sleep(1)
    valkey_node.restart()
    assert not attempt.over, "the stage goes on without a broker"
    attempt.directive = stage_pb2.DIRECTIVE_CANCEL
    wait_until(lambda: attempt.released is not None, "the release", 10)
    publish(valkey_node.url, ("train", "cpu"), uid="uid2")
    following = fake.lease(next_order.lease_token)
    wait_until(lambda: following.completed is not None, "the next stage", 40)
