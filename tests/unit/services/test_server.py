"""The whole control plane over real gRPC: errors, streams, limits, drain."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from services.server import SERVICES, ControlPlane
from services.settings import Settings
from services.storage import runs
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.protomap import from_mapping
from tailrace.v1 import (
    dataset_pb2,
    dataset_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    run_spec_pb2,
    stage_pb2,
    stage_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from tests.servers.node import free_port
from tests.unit.services.driver import spec


class Caller:
    """A client of a control plane in this process."""

    def __init__(self, plane: ControlPlane, address: str) -> None:
        self.plane = plane
        # The stubs' types know only the blocking flavour.
        self.channel: Any = grpc.aio.insecure_channel(address)
        self.runs: Any = run_pb2_grpc.RunServiceStub(self.channel)
        self.stages: Any = stage_pb2_grpc.StageServiceStub(self.channel)
        self.fleet: Any = worker_pb2_grpc.FleetServiceStub(self.channel)
        self.datasets: Any = dataset_pb2_grpc.DatasetServiceStub(self.channel)

    async def create(self, run_id: str = "r", **changes: Any) -> run_pb2.Run:
        message = from_mapping(run_spec_pb2.RunSpec, spec(**changes))
        request = run_pb2.CreateRunRequest(run_id=run_id, spec=message)
        created: run_pb2.Run = await self.runs.CreateRun(request)
        return created

    async def register(self) -> None:
        slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
        await self.stages.RegisterWorker(
            stage_pb2.RegisterWorkerRequest(
                worker_id="w1",
                hostname="host",
                pools=["cpu"],
                slots=[slot],
                protocol_version=PROTOCOL_VERSION,
            )
        )

    async def acquire(self, run: run_pb2.Run) -> stage_pb2.StageOrder:
        stage = run.stages[0]
        answer = await self.stages.AcquireStage(
            stage_pb2.AcquireStageRequest(
                run_uid=run.uid,
                stage=stage.id,
                attempt=1,
                acquire_id="acquire-id-0123456789",
                worker="workers/w1",
                slot="cpu-0",
            )
        )
        assert answer.WhichOneof("answer") == "run"
        order: stage_pb2.StageOrder = answer.run
        return order


@pytest.fixture
async def caller(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    settings = Settings(
        database_url=sqlite_url,
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        data_dir=tmp_path / "data",
        listen="127.0.0.1:0",
        metrics_port=0,
        shutdown_grace_seconds=2,
        publish_timeout_seconds=1,
        max_message_bytes=1024 * 1024,
    )
    plane = ControlPlane(settings)
    made = Caller(plane, await plane.start())
    await made.datasets.SeedDataset(dataset_pb2.SeedDatasetRequest(dataset_id="golden-v2"))
    yield made
    await made.channel.close()
    await plane.stop()


def decoded(error: Any) -> tuple[str, dict[str, str]]:
    """The reason of an error and its field violations."""
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "tailrace"
    return info.reason, {v.field: v.description for v in bad.field_violations}


async def failing(call: Any, code: grpc.StatusCode) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code, error.value.details()
    return decoded(error.value)


async def test_a_run_comes_back_as_it_was_sent_and_resolved(caller: Caller) -> None:
    run = await caller.create(labels={"team": "x"})
    assert run.name == "runs/r"
    assert run.state == run_pb2.RUN_STATE_QUEUED
    assert not run.spec.train.HasField("seed")
    assert run.resolved_spec.train.seed == 42
    assert run.resolved_spec.dataset == "golden-v2@1"
    assert [stage.kind for stage in run.stages] == [1, 2, 3]
    assert run.stages[0].attempt == 0
    got = await caller.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))
    assert [t.to_state for t in got.history] == ["RUN_STATE_QUEUED"]
    assert "no live worker" in got.stages[0].waiting_reason


async def test_errors_carry_reason_and_every_wrong_field(caller: Caller) -> None:
    bad = caller.create("Bad_Id", model={"preset": "gpt9"}, train={"sft": {"epochs": -1.0}})
    reason, fields = await failing(bad, grpc.StatusCode.INVALID_ARGUMENT)
    assert reason == "INVALID_INPUT"
    assert set(fields) == {"run_id", "spec.model.preset", "spec.train.sft.epochs"}
    missing = caller.runs.GetRun(run_pb2.GetRunRequest(name="runs/nobody"))
    assert await failing(missing, grpc.StatusCode.NOT_FOUND) == ("RUN_NOT_FOUND", {})
    await caller.create()
    again = caller.create()
    assert await failing(again, grpc.StatusCode.ALREADY_EXISTS) == ("RUN_EXISTS", {})


async def test_very_many_wrong_fields_still_reach_the_client(caller: Caller) -> None:
    labels = {f"Bad Label {i}" * 5: "x" for i in range(500)}
    _reason, fields = await failing(caller.create(labels=labels), grpc.StatusCode.INVALID_ARGUMENT)
    assert "more fields are wrong" in fields[""]


async def test_times_and_durations_out_of_range_are_bad_input(caller: Caller) -> None:
    message = from_mapping(run_spec_pb2.RunSpec, spec())
    message.execution.train.timeout.seconds = 2**62
    call = caller.runs.CreateRun(run_pb2.CreateRunRequest(spec=message))
    await failing(call, grpc.StatusCode.INVALID_ARGUMENT)


async def test_an_unexpected_error_shows_only_an_id(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise KeyError("secret inner state")

    monkeypatch.setattr(runs, "get", broken)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))
    assert error.value.code() == grpc.StatusCode.INTERNAL
    details = error.value.details() or ""
    assert "secret" not in details
    error_id = details.rpartition(" ")[2]
    assert len(error_id) == 16
    logged = capsys.readouterr().out
    assert error_id in logged
    assert "secret inner state" in logged


async def test_a_message_over_the_limit_is_refused(caller: Caller) -> None:
    labels = {"a": "x" * (2 * 1024 * 1024)}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.create(labels=labels)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_events_become_lines_metrics_and_an_end_marker(caller: Caller) -> None:
    await caller.register()
    run = await caller.create()
    order = await caller.acquire(run)
    assert order.run == "runs/r"
    assert order.kind == run_pb2.STAGE_KIND_TRAIN
    assert order.successor_task_id == f"{run.uid}.infer.1"

    def log(text: str, level: int) -> stage_pb2.StageEvent:
        record = stage_pb2.LogRecord(text=text, level=run_pb2.LogLevel.ValueType(level))
        record.time.GetCurrentTime()
        return stage_pb2.StageEvent(log=record)

    metric = stage_pb2.StageEvent(metric=run_pb2.MetricPoint(name="loss", step=1, value=3.5))
    events = [log("hello\0", 2), metric, log("x" * 20_000, 4)]

    async def batches() -> AsyncIterator[stage_pb2.PublishEventsRequest]:
        yield stage_pb2.PublishEventsRequest(
            lease_token=order.lease_token, first_sequence=1, events=events
        )

    answers = [answer async for answer in caller.stages.PublishEvents(batches())]
    assert [a.acknowledged_sequence for a in answers] == [3]
    await caller.stages.FailStage(
        stage_pb2.FailStageRequest(
            lease_token=order.lease_token,
            error=run_pb2.StageError(code=13, reason="STAGE_CRASHED", message="boom"),
        )
    )
    stream = caller.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r", follow=True))
    messages = [message async for message in stream]
    lines = [line for message in messages for line in message.lines]
    assert [line.sequence for line in lines] == [1, 2]
    assert lines[0].text == "hello\N{REPLACEMENT CHARACTER}"
    assert len(lines[1].text) == 8192
    assert messages[-1].end.line_count == 2
    errors = caller.runs.StreamLogs(
        run_pb2.StreamLogsRequest(name="runs/r", min_level=run_pb2.LOG_LEVEL_ERROR, contains="xx")
    )
    assert [line.sequence async for message in errors for line in message.lines] == [2]
    metrics = caller.runs.StreamMetrics(run_pb2.StreamMetricsRequest(name="runs/r"))
    assert [(p.name, p.value) async for message in metrics for p in message.points] == [
        ("loss", 3.5)
    ]
    failed = await caller.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))
    assert failed.error.reason == "STAGE_CRASHED"
    assert failed.stages[0].attempts[0].worker == "workers/w1"


async def test_bad_events_end_the_stream_with_their_place(caller: Caller) -> None:
    await caller.register()
    order = await caller.acquire(await caller.create())
    point = run_pb2.MetricPoint(name="loss", step=1, value=float("nan"))

    async def batches(token: str) -> AsyncIterator[stage_pb2.PublishEventsRequest]:
        yield stage_pb2.PublishEventsRequest(
            lease_token=token,
            first_sequence=1,
            events=[stage_pb2.StageEvent(metric=point)],
        )

    call = caller.stages.PublishEvents(batches(order.lease_token)).read()
    _reason, fields = await failing(call, grpc.StatusCode.INVALID_ARGUMENT)
    assert set(fields) == {"events[0].metric.value"}
    point.value = 1.0
    call = caller.stages.PublishEvents(batches("no lease")).read()
    assert (await failing(call, grpc.StatusCode.FAILED_PRECONDITION))[0] == "LEASE_LOST"


async def test_workers_are_listed_with_their_slots(caller: Caller) -> None:
    await caller.register()
    run = await caller.create()
    await caller.acquire(run)
    listed = await caller.fleet.ListWorkers(worker_pb2.ListWorkersRequest())
    (worker,) = listed.workers
    assert worker.name == "workers/w1"
    assert worker.state == worker_pb2.WORKER_STATE_ONLINE
    assert worker.slots[0].stage == "runs/r/stages/train"
    assert list(worker.slots[0].cores) == [0]


async def test_a_watcher_gets_the_snapshot_and_the_end(caller: Caller) -> None:
    await caller.create()
    stream = caller.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r"))
    first = await anext(aiter(stream))
    assert first.run.state == run_pb2.RUN_STATE_QUEUED
    await caller.runs.CancelRun(run_pb2.CancelRunRequest(name="runs/r"))
    rest = [message.run.state async for message in stream]
    assert rest[-1] == run_pb2.RUN_STATE_CANCELLED


async def test_a_deadline_ends_a_follower(caller: Caller) -> None:
    await caller.create()
    request = run_pb2.StreamLogsRequest(name="runs/r", follow=True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.runs.StreamLogs(request, timeout=0.3).read()
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_health_reflection_and_metrics_are_served(caller: Caller) -> None:
    health = health_pb2_grpc.HealthStub(caller.channel)
    for service in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await stub.ServerReflectionInfo(iter([request])).read()
    names = {service.name for service in answer.list_services_response.service}
    assert set(SERVICES) < names
    port = caller.plane.metrics_port
    url = f"http://127.0.0.1:{port}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    assert 'tailrace_rpc_calls_total{code="OK",method="DatasetService/SeedDataset"} 1.0' in text


async def test_a_drain_ends_streams_with_unavailable(sqlite_url: str, tmp_path: Path) -> None:
    settings = Settings(
        database_url=sqlite_url,
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        data_dir=tmp_path / "data",
        listen="127.0.0.1:0",
        publish_timeout_seconds=1,
    )
    plane = ControlPlane(settings)
    caller = Caller(plane, await plane.start())
    await caller.datasets.SeedDataset(dataset_pb2.SeedDatasetRequest(dataset_id="golden-v2"))
    await caller.create()
    watcher = caller.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r"))
    await watcher.read()
    events = caller.stages.PublishEvents()
    follower = caller.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r", follow=True))
    ends = [asyncio.ensure_future(stream.read()) for stream in (watcher, events, follower)]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(plane.stop(), 6)
    for end in ends:
        assert (await failing(end, grpc.StatusCode.UNAVAILABLE))[0] == "DRAINING"
    await caller.channel.close()


async def test_a_taken_port_is_an_error(caller: Caller, tmp_path: Path, sqlite_url: str) -> None:
    settings = caller.plane.settings.model_copy(update={"listen": caller.plane.address})
    second = ControlPlane(settings)
    with pytest.raises(OSError, match="cannot listen"):
        await second.start()
    await second.stop()


async def test_the_program_starts_says_where_and_ends_on_sigterm(
    sqlite_url: str, tmp_path: Path
) -> None:
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")},
        "TAILRACE_DATABASE_URL": sqlite_url,
        "TAILRACE_DATA_DIR": str(tmp_path / "data"),
        "TAILRACE_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
        "TAILRACE_LISTEN": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", env=env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert said["event"] == "listening"
    assert said["address"].startswith("127.0.0.1:")
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0
    wrong = {**env, "TAILRACE_LISTEN": "nowhere", "TAILRACE_LEASE_SECONDS": "-1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", env=wrong, stderr=asyncio.subprocess.PIPE
    )
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 78
    assert b"TAILRACE_LISTEN: " in err
    assert b"TAILRACE_LEASE_SECONDS: " in err
