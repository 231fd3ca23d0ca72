"""CompareRuns and BaselineService over real gRPC."""

from __future__ import annotations

import grpc

from tailrace.v1 import baseline_pb2, baseline_pb2_grpc, run_pb2
from tests.unit.services.api_client import ApiClient, failing


async def test_runs_are_compared(api: ApiClient) -> None:
    await api.create("a")
    await api.create("b", train={"max_steps": 7, "eval_fraction": 0.2})
    names = ["runs/a", "runs/b"]
    response = await api.runs.CompareRuns(run_pb2.CompareRunsRequest(names=names))
    assert [run.name for run in response.runs] == names
    [difference] = response.spec_differences
    assert difference.path == "train.max_steps"
    assert [value.number_value for value in difference.values] == [10, 7]
    assert not response.verdicts


async def test_what_cannot_be_compared_is_told_by_field(api: ApiClient) -> None:
    await api.create("a")
    for names, field in ((["runs/a"], "names"), (["runs/a", "b"], "names[1]")):
        call = api.runs.CompareRuns(run_pb2.CompareRunsRequest(names=names))
        _reason, fields = await failing(call, grpc.StatusCode.INVALID_ARGUMENT)
        assert list(fields) == [field]


async def test_baselines_need_a_run_that_succeeded(api: ApiClient) -> None:
    stub = baseline_pb2_grpc.BaselineServiceStub(api.channel)
    await api.create("a")
    request = baseline_pb2.SetBaselineRequest(name="baselines/main", run="runs/a")
    reason, _ = await failing(stub.SetBaseline(request), grpc.StatusCode.FAILED_PRECONDITION)
    assert reason == "RUN_NOT_SUCCEEDED"
    request = baseline_pb2.SetBaselineRequest(name="main", run="runs/a")
    _, fields = await failing(stub.SetBaseline(request), grpc.StatusCode.INVALID_ARGUMENT)
    assert list(fields) == ["name"]
    listed = await stub.ListBaselines(baseline_pb2.ListBaselinesRequest())
    assert list(listed.baselines) == []
    missing = stub.GetBaseline(baseline_pb2.GetBaselineRequest(name="baselines/main"))
    assert (await failing(missing, grpc.StatusCode.NOT_FOUND))[0] == "BASELINE_NOT_FOUND"
