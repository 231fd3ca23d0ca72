"""Attempts from order to report: real stage processes, a real gRPC server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.rpc import code_pb2

from tailrace.channel import connect
from tailrace.formats.data.jsonl import read_records
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.dispatch import TaskId
from tailrace.formats.endpoint_access import EndpointAccess, EndpointKey
from tailrace.formats.stage_protocol import decode_job
from tailrace.v1 import artifact_pb2, evaluation_pb2, run_pb2, stage_pb2
from tests.servers.node import wait_until
from tests.servers.worker_token import worker_token
from tests.unit.workers.conftest import STAGE_COMMAND, make_order
from tests.unit.workers.process.test_environment import SECRETS
from tests.unit.workers.twin import FakeControlPlane, RecordedAttempt, refuse
from workers.accelerators import Accelerator, Slot
from workers.attempt.cache import BlobCache
from workers.attempt.content import Content
from workers.attempt.report import Conclusion, ReportRefusedError
from workers.attempt.run import AttemptRunner, WorkerResources
from workers.instance import FOLDER as INSTANCES
from workers.pool.directives import Directives
from workers.process.prewarmed import Prewarmer
from workers.settings import Settings
from workers.stage_client import StageClient

TASK = TaskId("uid", "train", 2)
KEY_A, KEY_B = "TAILRACE_JUDGE_KEY_A", "TAILRACE_JUDGE_KEY_B"
CORES = tuple(sorted(os.sched_getaffinity(0)))


class Worker:
    """Executes orders in this process."""

    def __init__(self, fake: FakeControlPlane, folder: Path, channel: Any) -> None:
        self.fake = fake
        self.folder = folder / "attempt"
        self.folder.mkdir()
        settings = Settings(
            server=fake.address,
            stage_command=STAGE_COMMAND,
            work_dir=folder / "work",
            cache_dir=folder / "cache",
            grace_seconds=1.0,
            drain_seconds=30.0,
        )
        self.resources = WorkerResources(
            settings,
            Slot("cpu-0", Accelerator.CPU, (), CORES),
            StageClient(channel, worker_token()),
            Content(channel, BlobCache(folder / "cache", 10**9)),
            Prewarmer(folder),
        )
        self.directives = Directives()

    def run(self, order: stage_pb2.StageOrder, successor: str = "") -> Conclusion:
        self.fake.lease(order.lease_token)
        attempt = AttemptRunner(self.resources, TASK, order, self.directives, self.folder)
        return attempt.run(successor)

    def when_ready(self, attempt_record: RecordedAttempt, do: Callable[[], object]) -> None:
        """Do something once the stage process runs, from another thread."""

        def wait() -> None:
            wait_until(lambda: "ready" in attempt_record.logs(), "the stage", 15)
            do()

        threading.Thread(target=wait).start()

    def stage_pid(self) -> int:
        return int((self.folder / "output/pid").read_text())


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.fixture
def worker(fake: FakeControlPlane, tmp_path: Path) -> Iterator[Worker]:
    with connect(fake.address) as channel:
        new_worker = Worker(fake, tmp_path, channel)
        yield new_worker
        new_worker.resources.prewarmer.close()


def test_a_success_is_reported_with_all_it_made(fake: FakeControlPlane, worker: Worker) -> None:
    order = make_order(fake)
    order.checkpoint.CopyFrom(fake.artifact(artifact_pb2.ARTIFACT_KIND_CHECKPOINT, state=b"3"))
    attempt_record = fake.lease(order.lease_token)
    fake.decision = stage_pb2.CHAIN_DECISION_CONTINUE
    assert worker.run(order, "uid.infer.1") == Conclusion("succeeded", chain_goes_on=True)

    assert attempt_record.completed is not None
    assert attempt_record.completed.successor_task_id == "uid.infer.1"
    assert attempt_record.completed.last_event_sequence == len(attempt_record.events)
    (model,) = attempt_record.completed.artifacts
    assert model.kind == artifact_pb2.ARTIFACT_KIND_MODEL
    assert fake.blobs[model.files[0].sha256] == b"weights"
    kinds = [event.WhichOneof("event") for event in attempt_record.events]
    assert {"log", "metric", "progress", "checkpoint"} == set(kinds)
    assert "hello from stdout" in attempt_record.logs()
    assert not (worker.folder / "inputs/checkpoint/state").stat().st_mode & 0o222


@pytest.mark.parametrize(("number", "stored"), [(1, None), (2, ["a", "b", "c"])])
def test_a_later_attempt_at_predicting_gets_what_is_stored(
    fake: FakeControlPlane, worker: Worker, number: int, stored: list[str] | None
) -> None:
    fake.predictions = [
        evaluation_pb2.Prediction(
            eval_set="s",
            example_id=example,
            model_role="MODEL_ROLE_TRAINED",
            prompt="p",
            finish_reason="FINISH_REASON_EOS",
            token_ids=[1, 0],
        )
        for example in "abc"
    ]
    order = make_order(fake, run_pb2.STAGE_KIND_INFER)
    fake.lease(order.lease_token)
    task = TaskId("uid", "infer", number)
    attempt = AttemptRunner(worker.resources, task, order, worker.directives, worker.folder)
    assert attempt.run("").outcome == "succeeded"
    job = decode_job((worker.folder / "job.json").read_text())
    path = job.inputs.stored_predictions
    if stored is None:
        assert path is None
        return
    assert path is not None
    predictions = read_records(Prediction, Path(path))
    assert [prediction.example_id for prediction in predictions] == stored
    assert all(
        prediction.text == "" and prediction.token_ids == [1, 0] for prediction in predictions
    )


def test_a_stage_gets_the_process_in_waiting_and_leaves_another(
    fake: FakeControlPlane, worker: Worker
) -> None:
    # Servers of the session may be children as well.
    other_children = children()
    worker.resources.prewarmer.refill(worker.resources.launch(len(CORES)))
    waiting = children() - other_children
    order = make_order(fake)
    assert worker.run(order).outcome == "succeeded"
    assert worker.stage_pid() in waiting
    assert "hello from stdout" in fake.attempts[order.lease_token].logs()
    following = children() - other_children
    assert len(following) == len(waiting)
    assert not following & waiting, "a process has one job in its life"
    worker.resources.prewarmer.close()
    assert children() == other_children


@pytest.mark.parametrize("kind", [run_pb2.STAGE_KIND_TRAIN, run_pb2.STAGE_KIND_JUDGE])
@pytest.mark.parametrize("warm", [True, False])
def test_no_secret_of_the_worker_is_in_the_environment_of_a_stage(
    fake: FakeControlPlane,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    kind: run_pb2.StageKind.ValueType,
    warm: bool,
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("XLA_FLAGS", "--needed")
    if warm:
        worker.resources.prewarmer.refill(worker.resources.launch(len(CORES)))
    order = make_order(fake, kind, act="environment")
    assert worker.run(order).outcome == "succeeded"
    logs = fake.attempts[order.lease_token].logs()
    assert "XLA_FLAGS=--needed" in logs
    assert not [line for line in logs if "planted" in line]
    (home,) = [line.removeprefix("HOME=") for line in logs if line.startswith("HOME=")]
    assert home != os.environ.get("HOME")
    assert Path(home).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("warm", [True, False])
def test_a_stage_finds_the_workers_files_with_secrets_empty(
    fake: FakeControlPlane, worker: Worker, tmp_path: Path, warm: bool
) -> None:
    probe = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system allows no mount namespace")
    keys = tmp_path / "keys.json"
    keys.touch(mode=0o600)
    keys.write_text("{}")
    settings = worker.resources.settings.model_copy(update={"judge_keys_file": keys})
    worker.resources = replace(worker.resources, settings=settings)
    (settings.work_dir / INSTANCES).mkdir(parents=True)
    if warm:
        worker.resources.prewarmer.refill(worker.resources.launch(len(CORES)))
    order = make_order(fake, act="read", path=str(keys))
    assert worker.run(order).outcome == "succeeded"
    assert "read: " in fake.attempts[order.lease_token].logs()
    assert keys.read_text() == "{}"
    hidden = worker.resources.launch(1).hidden
    assert (settings.work_dir / INSTANCES) in hidden, "the ids to which workers' names are bound"


@pytest.mark.parametrize("kind", [run_pb2.STAGE_KIND_JUDGE, run_pb2.STAGE_KIND_TRAIN])
def test_a_judge_gets_its_keys_on_standard_input_and_nowhere_else(
    fake: FakeControlPlane, worker: Worker, tmp_path: Path, kind: run_pb2.StageKind.ValueType
) -> None:
    keys = tmp_path / "keys.json"
    keys.touch(mode=0o600)
    entries = {
        name: {"host": "api.example.com", "key": f"sk-{name[-1]}"} for name in (KEY_A, KEY_B)
    }
    keys.write_text(json.dumps(entries))
    settings = {"judge_keys_file": keys, "judge_endpoints": ("localhost:8000",)}
    worker.resources = replace(
        worker.resources, settings=worker.resources.settings.model_copy(update=settings)
    )
    endpoint = {"url": "https://api.example.com/v1", "model": "m", "api_key_env": KEY_A}
    options = {"rubric": "r", "backend": {"endpoint": endpoint}}
    judges = [{"name": "llm_rubric", "llm_rubric": options}]
    order = make_order(fake, kind, judges=judges, act="input")
    assert worker.run(order).outcome == "succeeded"
    logs = fake.attempts[order.lease_token].logs()
    (access,) = [line.removeprefix("input: ") for line in logs if line.startswith("input: ")]
    assert not [line for line in logs if line.startswith("command: ") and "sk-" in line]
    if kind == run_pb2.STAGE_KIND_TRAIN:
        assert not access
        return
    assert EndpointAccess.decode(access.encode()) == EndpointAccess(
        ["localhost:8000"], [EndpointKey(KEY_A, "api.example.com:443", "sk-A")]
    )
    assert "sk-" not in (worker.folder / "job.json").read_text()


def test_a_chain_stops_when_told_so(fake: FakeControlPlane, worker: Worker) -> None:
    order = make_order(fake, run_pb2.STAGE_KIND_JUDGE)
    assert worker.run(order, "uid.x.1") == Conclusion("succeeded", chain_goes_on=False)


@pytest.mark.parametrize(
    ("act", "reason", "retryable"),
    [
        ("crash", "STAGE_CRASHED", True),
        ("nothing", "STAGE_CRASHED", True),
        ("garbage", "STAGE_CRASHED", True),
        ("memory", "OUT_OF_MEMORY", False),
        ("error", "OVERLONG", False),
    ],
)
def test_failures_are_reported_with_reason_and_last_lines(
    fake: FakeControlPlane, worker: Worker, act: str, reason: str, retryable: bool
) -> None:
    order = make_order(fake, act=act)
    assert worker.run(order) == Conclusion("failed", detail=reason)
    failed = fake.attempts[order.lease_token].failed
    assert failed is not None
    assert (failed.error.reason, failed.error.retryable) == (reason, retryable)
    assert "hello from stdout" in failed.error.log_tail
    assert failed.last_event_sequence == len(fake.attempts[order.lease_token].events)
    if act == "crash":
        assert failed.error.exit_code == 3
        # Events and output come through two pipes: their order among each other is not fixed.
        assert "about to crash" in failed.error.log_tail


def test_a_stage_that_holds_too_much_memory_is_ended(
    fake: FakeControlPlane, worker: Worker
) -> None:
    worker.resources = replace(worker.resources, memory_bytes=300 << 20)
    order = make_order(fake, act="grow")
    assert worker.run(order) == Conclusion("failed", detail="OUT_OF_MEMORY")
    failed = fake.attempts[order.lease_token].failed
    assert failed is not None
    assert "may use 0.29 GiB here" in failed.error.message
    assert failed.error.signal == "SIGKILL"


def test_a_kill_is_reported_within_seconds(fake: FakeControlPlane, worker: Worker) -> None:
    order = make_order(fake, act="daemon")
    attempt_record = fake.lease(order.lease_token)
    killed: list[float] = []

    def kill() -> None:
        wait_until(
            lambda: any("grandchild" in line for line in attempt_record.logs()), "a child", 5
        )
        killed.append(time.monotonic())
        os.kill(worker.stage_pid(), signal.SIGKILL)

    worker.when_ready(attempt_record, kill)
    assert worker.run(order).detail == "STAGE_KILLED"
    assert time.monotonic() - killed[0] < 2.5
    assert attempt_record.failed is not None
    assert attempt_record.failed.error.signal == "SIGKILL"
    grandchild = next(
        int(t.split()[1]) for t in attempt_record.logs() if t.startswith("grandchild")
    )
    wait_until(lambda: not psutil.pid_exists(grandchild), "the grandchild's end", 3)


def test_the_timeout_is_that_of_the_stage(fake: FakeControlPlane, worker: Worker) -> None:
    order = make_order(fake, timeout=1.0, act="wait")
    assert worker.run(order).detail == "STAGE_TIMEOUT"


@pytest.mark.parametrize("act", ["wait", "hang"])
def test_a_cancellation_ends_willing_and_deaf_stages(
    fake: FakeControlPlane, worker: Worker, act: str
) -> None:
    order = make_order(fake, act=act)
    attempt_record = fake.lease(order.lease_token)
    cancel = stage_pb2.DIRECTIVE_CANCEL
    worker.when_ready(attempt_record, lambda: worker.directives.direct(cancel))
    assert worker.run(order) == Conclusion("released", detail="CANCELLED")
    assert attempt_record.released is not None
    assert attempt_record.failed is None


@pytest.mark.parametrize(("drained", "reason"), [(True, "DRAINED"), (False, "PREEMPTED")])
def test_a_release_keeps_the_checkpoint(
    fake: FakeControlPlane, worker: Worker, drained: bool, reason: str
) -> None:
    order = make_order(fake, act="wait")
    attempt_record = fake.lease(order.lease_token)

    def release() -> None:
        if drained:
            worker.directives.drain()
        else:
            worker.directives.direct(stage_pb2.DIRECTIVE_RELEASE)

    worker.when_ready(attempt_record, release)
    assert worker.run(order) == Conclusion("released", detail=reason)
    (saved,) = [e.checkpoint for e in attempt_record.events if e.HasField("checkpoint")]
    assert saved.step == 7
    assert fake.blobs[saved.files[0].sha256] == b'{"step": 7}'


def test_a_lost_lease_kills_and_reports_nothing(fake: FakeControlPlane, worker: Worker) -> None:
    order = make_order(fake, act="hang")
    attempt_record = fake.lease(order.lease_token)

    def lose() -> None:
        attempt_record.lost = True
        worker.directives.lose()

    worker.when_ready(attempt_record, lose)
    assert worker.run(order) == Conclusion("abandoned")
    assert not attempt_record.over
    assert not psutil.pid_exists(worker.stage_pid())


def test_inputs_that_are_missing_are_the_workers_fault(
    fake: FakeControlPlane, worker: Worker
) -> None:
    order = make_order(fake)
    fake.blobs.clear()
    assert worker.run(order) == Conclusion("failed", detail="WORKER_FAULT")
    failed = fake.attempts[order.lease_token].failed
    assert failed is not None
    assert failed.error.retryable
    assert "inputs" in failed.error.message


def test_a_cancellation_during_the_download_spawns_nothing(
    fake: FakeControlPlane, worker: Worker
) -> None:
    order = make_order(fake)
    threading.Timer(0.5, worker.directives.direct, (stage_pb2.DIRECTIVE_CANCEL,)).start()
    began = time.monotonic()
    fake.before["Read"] = lambda *_: time.sleep(3)
    assert worker.run(order) == Conclusion("released", detail="CANCELLED")
    assert not (worker.folder / "job.json").exists()
    assert time.monotonic() - began < 2.5


def test_a_stage_command_that_is_missing_fails_the_stage(
    fake: FakeControlPlane, worker: Worker
) -> None:
    settings = worker.resources.settings.model_copy(update={"stage_command": ("/no/such",)})
    worker.resources = replace(worker.resources, settings=settings)
    order = make_order(fake)
    assert worker.run(order).detail == "STAGE_CRASHED"
    failed = fake.attempts[order.lease_token].failed
    assert failed is not None
    assert "/no/such" in failed.error.log_tail[-1]


def test_a_refused_result_becomes_a_failure(fake: FakeControlPlane, worker: Worker) -> None:
    def no(request: Any, context: Any) -> None:
        refuse(context, code_pb2.INVALID_ARGUMENT, "BAD_RESULT", "no such kind")

    fake.before["CompleteStage"] = no
    order = make_order(fake)
    assert worker.run(order).detail == "WORKER_FAULT"
    failed = fake.attempts[order.lease_token].failed
    assert failed is not None
    assert "no such kind" in failed.error.message


def test_a_control_plane_that_refuses_everything_is_told_in_the_log(
    fake: FakeControlPlane, worker: Worker
) -> None:
    def no(request: Any, context: Any) -> None:
        refuse(context, code_pb2.INVALID_ARGUMENT, "NO", "not today")

    fake.before["FailStage"] = no
    with pytest.raises(ReportRefusedError, match="not today"):
        worker.run(make_order(fake, act="crash"))


def test_a_drain_does_not_wait_for_an_absent_control_plane(
    fake: FakeControlPlane, worker: Worker
) -> None:
    order = make_order(fake, act="wait")
    attempt_record = fake.lease(order.lease_token)

    def leave() -> None:
        fake.stop()
        worker.directives.drain()

    worker.when_ready(attempt_record, leave)
    began = time.monotonic()
    with pytest.raises(ReportRefusedError):
        worker.run(order)
    assert time.monotonic() - began < 15


def test_threads_are_those_of_the_spec_within_the_slot(
    fake: FakeControlPlane, worker: Worker
) -> None:
    order = make_order(fake)
    order.spec.execution.train.threads = 1000
    worker.run(order)
    logs = fake.attempts[order.lease_token].logs()
    assert any(f"{len(CORES)} threads are used" in line for line in logs)
