"""The API over real gRPC: conversions, errors, streams, limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from services.storage.rows import runs_with_stages
from tailrace.protomap import from_mapping
from tailrace.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    baseline_pb2,
    baseline_pb2_grpc,
    run_pb2,
    run_spec_pb2,
    stage_pb2,
    worker_pb2,
)
from tests.unit.services.api_client import ApiClient, failing
from tests.unit.services.driver import spec


async def test_a_run_comes_back_as_it_was_sent_and_resolved(api: ApiClient) -> None:
    run = await api.create(labels={"team": "x"})
    assert run.name == "runs/r"
    assert run.state == run_pb2.RUN_STATE_QUEUED
    assert not run.spec.train.HasField("seed")
    assert run.resolved_spec.train.seed == 42
    assert run.resolved_spec.dataset == "golden-v2@1"
    assert [stage.kind for stage in run.stages] == [1, 2, 3]
    assert run.stages[0].attempt == 0
    got = await api.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))
    assert [t.to_state for t in got.history] == ["RUN_STATE_QUEUED"]
    # The broker of this control plane refuses connections, which its relay may have met by now.
    reason = got.stages[0].waiting_reason
    assert "no live worker" in reason or reason.startswith("the control plane cannot publish it")


async def test_fields_of_an_older_client_are_refused(api: ApiClient) -> None:
    message = from_mapping(run_spec_pb2.RunSpec, spec())
    # Field 3 of SftSpec was batch_size.
    message.train.sft.MergeFromString(b"\x18\x04")
    request = run_pb2.CreateRunRequest(spec=message)
    _, wrong = await failing(api.runs.CreateRun(request), grpc.StatusCode.INVALID_ARGUMENT)
    assert "keys of train now" in wrong["spec.train.sft"]


async def test_a_uid_is_accepted_wherever_a_run_is_named(api: ApiClient) -> None:
    uid = (await api.create()).uid
    other = await api.create("other")
    for method in run_pb2.DESCRIPTOR.services_by_name["RunService"].methods:
        request = run_pb2.__dict__[method.input_type.name]()
        fields = method.input_type.fields_by_name
        if "names" in fields:
            request.names.extend([f"runs/{uid}", "runs/other"])
        elif "name" in fields or "parent" in fields:
            setattr(request, "name" if "name" in fields else "parent", f"runs/{uid}")
        else:
            continue
        if isinstance(request, run_pb2.ListLogLinesRequest):
            request.stage = "train"
        call = getattr(api.runs, method.name)(request)
        if method.name == "WatchRun":
            answer = (await call.read()).run
            call.cancel()
        elif method.server_streaming:
            answer = [response async for response in call]
        else:
            answer = await call
        if isinstance(answer, run_pb2.Run):
            assert (answer.name, answer.uid) == ("runs/r", uid)
        elif method.name == "CompareRuns":
            assert [run.name for run in answer.runs] == ["runs/r", other.name]
    twice = run_pb2.CompareRunsRequest(names=[f"runs/{uid}", "runs/r"])
    _reason, wrong = await failing(api.runs.CompareRuns(twice), grpc.StatusCode.INVALID_ARGUMENT)
    assert wrong == {"names[1]": "runs/r is named twice"}
    artifacts = artifact_pb2_grpc.ArtifactServiceStub(api.channel)
    await artifacts.ListArtifacts(artifact_pb2.ListArtifactsRequest(parent=f"runs/{uid}"))
    baselines = baseline_pb2_grpc.BaselineServiceStub(api.channel)
    baseline = baseline_pb2.SetBaselineRequest(name="baselines/main", run=f"runs/{uid}")
    with pytest.raises(grpc.aio.AioRpcError, match="runs/r is QUEUED"):
        await baselines.SetBaseline(baseline)
    nobody = api.runs.GetRun(run_pb2.GetRunRequest(name=f"runs/{'0' * 32}"))
    assert await failing(nobody, grpc.StatusCode.NOT_FOUND) == ("RUN_NOT_FOUND", {})
    posing = api.create(uid if uid[0].isalpha() else "a" * 32)
    _reason, wrong = await failing(posing, grpc.StatusCode.INVALID_ARGUMENT)
    assert "form of a uid" in wrong["run_id"]


async def test_errors_carry_reason_and_every_wrong_field(api: ApiClient) -> None:
    bad = api.create("Bad_Id", model={"preset": "gpt9"}, train={"epochs": -1.0})
    reason, fields = await failing(bad, grpc.StatusCode.INVALID_ARGUMENT)
    assert reason == "INVALID_INPUT"
    assert set(fields) == {"run_id", "spec.model.preset", "spec.train.epochs"}
    missing = api.runs.GetRun(run_pb2.GetRunRequest(name="runs/nobody"))
    assert await failing(missing, grpc.StatusCode.NOT_FOUND) == ("RUN_NOT_FOUND", {})
    await api.create()
    again = api.create()
    assert await failing(again, grpc.StatusCode.ALREADY_EXISTS) == ("RUN_EXISTS", {})


async def test_very_many_wrong_fields_still_reach_the_client(api: ApiClient) -> None:
    labels = {f"Bad Label {i} " * 20: "x" for i in range(32)}
    _reason, fields = await failing(api.create(labels=labels), grpc.StatusCode.INVALID_ARGUMENT)
    assert "more fields are wrong" in fields[""]


async def test_times_and_durations_out_of_range_are_bad_input(api: ApiClient) -> None:
    message = from_mapping(run_spec_pb2.RunSpec, spec())
    message.execution.train.timeout.seconds = 2**62
    call = api.runs.CreateRun(run_pb2.CreateRunRequest(spec=message))
    await failing(call, grpc.StatusCode.INVALID_ARGUMENT)


async def test_an_unexpected_error_shows_only_an_id(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise KeyError("secret inner state")

    monkeypatch.setattr(runs_with_stages, "get", broken)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await api.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))
    assert error.value.code() == grpc.StatusCode.INTERNAL
    details = error.value.details() or ""
    assert "secret" not in details
    error_id = details.rpartition(" ")[2]
    assert len(error_id) == 16
    assert error_id in caplog.text
    assert "secret inner state" in caplog.text


async def test_a_message_over_the_limit_is_refused(api: ApiClient) -> None:
    labels = {"a": "x" * (2 * 1024 * 1024)}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await api.create(labels=labels)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_events_become_lines_metrics_and_an_end_marker(api: ApiClient) -> None:
    await api.register()
    run = await api.create()
    order = await api.acquire(run)
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

    answers = [answer async for answer in api.stages.PublishEvents(batches())]
    assert [a.acknowledged_sequence for a in answers] == [3]
    await api.stages.FailStage(
        stage_pb2.FailStageRequest(
            lease_token=order.lease_token,
            error=run_pb2.StageError(code=13, reason="STAGE_CRASHED", message="boom"),
        )
    )
    stream = api.runs.StreamLogs(run_pb2.StreamLogsRequest(name="runs/r", follow=True))
    messages = [message async for message in stream]
    lines = [line for message in messages for line in message.lines]
    assert [line.sequence for line in lines] == [1, 2]
    assert lines[0].text == "hello\N{REPLACEMENT CHARACTER}"
    assert len(lines[1].text) == 8192
    assert messages[-1].end.line_count == 2
    errors = api.runs.StreamLogs(
        run_pb2.StreamLogsRequest(name="runs/r", min_level=run_pb2.LOG_LEVEL_ERROR, contains="xx")
    )
    assert [line.sequence async for message in errors for line in message.lines] == [2]
    metrics = api.runs.StreamMetrics(run_pb2.StreamMetricsRequest(name="runs/r"))
    assert [(p.name, p.value) async for message in metrics for p in message.points] == [
        ("loss", 3.5)
    ]
    failed = await api.runs.GetRun(run_pb2.GetRunRequest(name="runs/r"))
    assert failed.error.reason == "STAGE_CRASHED"
    assert failed.stages[0].attempts[0].worker == "workers/w1"


async def test_bad_events_end_the_stream_with_their_place(api: ApiClient) -> None:
    await api.register()
    order = await api.acquire(await api.create())
    point = run_pb2.MetricPoint(name="loss", step=1, value=float("nan"))

    async def batches(token: str) -> AsyncIterator[stage_pb2.PublishEventsRequest]:
        yield stage_pb2.PublishEventsRequest(
            lease_token=token,
            first_sequence=1,
            events=[stage_pb2.StageEvent(metric=point)],
        )

    call = api.stages.PublishEvents(batches(order.lease_token)).read()
    _reason, fields = await failing(call, grpc.StatusCode.INVALID_ARGUMENT)
    assert set(fields) == {"events[0].metric.value"}
    point.value = 1.0
    call = api.stages.PublishEvents(batches("no lease")).read()
    assert (await failing(call, grpc.StatusCode.FAILED_PRECONDITION))[0] == "LEASE_LOST"


async def test_workers_are_listed_with_their_slots(api: ApiClient) -> None:
    await api.register()
    run = await api.create()
    await api.acquire(run)
    listed = await api.fleet.ListWorkers(worker_pb2.ListWorkersRequest())
    (worker,) = listed.workers
    assert worker.name == "workers/w1"
    assert worker.state == worker_pb2.WORKER_STATE_ONLINE
    assert worker.slots[0].stage == "runs/r/stages/train"
    assert list(worker.slots[0].cores) == [0]


async def test_a_watcher_gets_the_snapshot_and_the_end(api: ApiClient) -> None:
    await api.create()
    stream = api.runs.WatchRun(run_pb2.WatchRunRequest(name="runs/r"))
    first = await anext(aiter(stream))
    assert first.run.state == run_pb2.RUN_STATE_QUEUED
    await api.runs.CancelRun(run_pb2.CancelRunRequest(name="runs/r"))
    rest = [message.run.state async for message in stream]
    assert rest[-1] == run_pb2.RUN_STATE_CANCELLED


async def test_a_deadline_ends_a_follower(api: ApiClient) -> None:
    await api.create()
    request = run_pb2.StreamLogsRequest(name="runs/r", follow=True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await api.runs.StreamLogs(request, timeout=0.3).read()
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
