"""Wrong input gets an answer that helps, and never INTERNAL."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from tailrace import errors
from tailrace.v1 import dataset_pb2, run_pb2, run_pb2_grpc, run_spec_pb2
from tests.integration.specs import small, train_only
from tests.stack import Stack

pytestmark = pytest.mark.parametrize("stack", ["embedded"], indirect=True)
"""One stack: wrong input is refused before database and broker."""


def test_every_wrong_field_comes_back_at_once(stack: Stack) -> None:
    spec = small()
    spec.train.batch_size = 0
    spec.train.learning_rate = -1
    spec.infer.eval_sets.append("eval_v9")
    spec.judges.add(name="vibes")
    with stack.client() as client, pytest.raises(errors.InvalidArgument) as caught:
        client.create_run(spec)
    assert {violation.field for violation in caught.value.violations} >= {
        "spec.train.batch_size",
        "spec.train.learning_rate",
        "spec.infer.eval_sets[1]",
        "spec.judges[1].name",
    }


def test_an_empty_request_is_refused(stack: Stack) -> None:
    with stack.client() as client, pytest.raises(errors.InvalidArgument):
        client.create_run(run_spec_pb2.RunSpec())


@pytest.mark.parametrize("name", ["runs/none", "nonsense", "", "runs/", "runs/A/b", "runs/\0"])
def test_unknown_and_malformed_names(stack: Stack, name: str) -> None:
    wanted = errors.NotFound if name == "runs/none" else errors.InvalidArgument
    with stack.client() as client:
        stub = run_pb2_grpc.RunServiceStub(client.channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetRun(run_pb2.GetRunRequest(name=name))
        assert caught.value.code() is wanted.code
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.StreamLogs(run_pb2.StreamLogsRequest(name=name)))
        assert caught.value.code() is wanted.code


def test_unknown_datasets_and_models(stack: Stack) -> None:
    with stack.client() as client:
        with pytest.raises(errors.NotFound, match="no-such"):
            client.create_run(train_only(dataset="no-such"))
        unknown = train_only()
        unknown.model.source = "models/no-such"
        with pytest.raises(errors.NotFound, match="no-such"):
            client.create_run(unknown)


@pytest.mark.parametrize(
    "arguments",
    [
        {"filter": "state ="},
        {"filter": "colour = red"},
        {"filter": 'create_time > "yesterday"'},
        {"order_by": "name"},
        {"page_token": "nonsense"},
    ],
)
def test_wrong_list_arguments(stack: Stack, arguments: dict[str, str]) -> None:
    with stack.client() as client:
        stub = run_pb2_grpc.RunServiceStub(client.channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListRuns(run_pb2.ListRunsRequest(**arguments))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_bad_dataset_line_is_named_and_nothing_is_stored(stack: Stack, tmp_path: Path) -> None:
    lines = tmp_path / "traces.jsonl"
    good = '{"prompt": "p", "answer": "a", "steps": [{"i": 0, "type": "t", "content": "c"}]}'
    lines.write_text(f"{good}\nnot json\n{good}\n" + '{"prompt": ""}\n')
    with stack.client() as client:
        with pytest.raises(errors.InvalidArgument) as caught:
            client.import_dataset("bad-lines", lines)
        fields = {violation.field for violation in caught.value.violations}
        assert any(field.startswith("line 2") for field in fields)
        assert any(field.startswith("line 4") for field in fields)
        with pytest.raises(errors.NotFound):
            client.get_dataset("bad-lines")


def test_a_message_over_the_limit_is_refused(stack: Stack) -> None:
    with stack.client() as client:
        huge = train_only()
        huge.labels["big"] = "x" * (64 * 1024 * 1024)
        with pytest.raises(errors.ResourceExhausted):
            client.create_run(huge)


def test_importing_twice_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        one = client.seed_dataset("golden-v2")
        two = client.seed_dataset("golden-v2")
        assert isinstance(one, dataset_pb2.Dataset)
        assert one == two
        assert (one.line_count, one.prompt_count) == (100, 67)
