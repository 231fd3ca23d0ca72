from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import tailrace
from tailrace import errors
from tailrace.v1 import dataset_pb2, dataset_pb2_grpc


def line(prompt: str) -> bytes:
    steps = [{"i": 0, "type": "reasoning", "content": "thinking"}]
    return json.dumps({"prompt": prompt, "steps": steps, "answer": "4"}).encode() + b"\n"


def test_a_dataset_goes_in_and_comes_out(client: tailrace.Client, tmp_path: Path) -> None:
    data = b"".join(line(f"prompt {i}") for i in range(2000))
    (tmp_path / "traces.jsonl").write_bytes(data)
    dataset = client.import_dataset("mine", tmp_path / "traces.jsonl", description="Mine.")
    assert (dataset.name, dataset.line_count, dataset.description) == (
        "datasets/mine@1",
        2000,
        "Mine.",
    )
    assert client.get_dataset("mine") == dataset
    assert b"".join(client.export_dataset("mine@1")) == data
    artifact = client.get_artifact(dataset.artifact)
    assert [file.path for file in artifact.files] == ["dataset.jsonl", "manifest.json"]
    assert artifact.run == ""


def test_golden_v2_is_seeded_once(client: tailrace.Client) -> None:
    assert client.seed_dataset("golden-v2") == client.seed_dataset("golden-v2")
    assert "golden-v2" in [dataset.dataset_id for dataset in client.list_datasets(page_size=1)]
    with pytest.raises(errors.NotFound):
        client.seed_dataset("golden-v3")


def test_bad_lines_reach_the_client_as_far_as_a_status_holds_them(client: tailrace.Client) -> None:
    lines = [b'{"prompt": "p", "answer": "%s", "oops": 1}\n' % (b"x" * 300)] * 150
    with pytest.raises(errors.InvalidArgument) as error:
        client.import_dataset("bad", b"".join(lines))
    *named, rest = error.value.violations
    assert len(named) >= 20
    assert [v.field for v in named] == [f"line {i + 1}" for i in range(len(named))]
    assert all("oops" in v.description for v in named)
    assert f"and {150 - len(named)} more" in rest.description
    with pytest.raises(errors.NotFound):
        client.get_dataset("bad")


def test_streams_that_make_no_sense(client: tailrace.Client) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(client.channel)
    header = dataset_pb2.ImportDatasetRequest(
        header=dataset_pb2.ImportDatasetHeader(dataset_id="odd")
    )
    wrong_header = dataset_pb2.ImportDatasetRequest(
        header=dataset_pb2.ImportDatasetHeader(dataset_id="ODD", description="x" * 2000)
    )
    data = dataset_pb2.ImportDatasetRequest(data=line("p"))
    too_long = dataset_pb2.ImportDatasetRequest(data=b" " * ((1 << 20) + 1))
    streams: list[list[dataset_pb2.ImportDatasetRequest]] = [
        [],
        [data],
        [header],
        [header, header],
        [header, too_long],
        [wrong_header, data],
    ]
    for stream in streams:
        with pytest.raises(grpc.RpcError) as error:
            stub.ImportDataset(iter(stream))
        assert isinstance(errors.from_rpc(error.value), errors.InvalidArgument)


def test_an_import_that_breaks_off_stores_nothing(client: tailrace.Client) -> None:
    stub = dataset_pb2_grpc.DatasetServiceStub(client.channel)

    def breaking() -> Iterator[dataset_pb2.ImportDatasetRequest]:
        yield dataset_pb2.ImportDatasetRequest(
            header=dataset_pb2.ImportDatasetHeader(dataset_id="broken")
        )
        yield dataset_pb2.ImportDatasetRequest(data=line("p"))
        raise ConnectionResetError

    with pytest.raises(grpc.RpcError):
        stub.ImportDataset(breaking())
    with pytest.raises(errors.NotFound):
        client.get_dataset("broken")


def test_wrong_names_and_tokens(client: tailrace.Client) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.get_dataset("datasets/../x")
    with pytest.raises(errors.NotFound):
        list(client.export_dataset("nope"))
    stub = dataset_pb2_grpc.DatasetServiceStub(client.channel)
    with pytest.raises(grpc.RpcError) as error:
        stub.ListDatasets(dataset_pb2.ListDatasetsRequest(page_token="?"))
    assert isinstance(errors.from_rpc(error.value), errors.InvalidArgument)
