from __future__ import annotations

from pathlib import Path

import grpc
import pytest

import tailrace
from tailrace import errors
from tailrace.v1 import evalset_pb2, evalset_pb2_grpc

LINE = b'{"id": "a", "prompt": "2 + 2?", "expected_answer": "4"}\n'


def test_an_eval_set_goes_in_and_is_found(client: tailrace.Client, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(LINE)
    eval_set = client.import_eval_set("sums", tmp_path / "items.jsonl", description="Sums.")
    assert (eval_set.name, eval_set.item_count, eval_set.description) == (
        "evalsets/sums@1",
        1,
        "Sums.",
    )
    assert client.get_eval_set("sums") == eval_set
    assert eval_set in list(client.list_eval_sets(page_size=1))
    artifact = client.get_artifact(eval_set.artifact)
    assert [file.path for file in artifact.files] == ["eval_set.jsonl"]


def test_bad_lines_and_empty_files_are_refused(client: tailrace.Client) -> None:
    with pytest.raises(errors.InvalidArgument) as error:
        client.import_eval_set("bad", LINE + LINE)
    assert [v.field for v in error.value.violations] == ["line 2"]
    with pytest.raises(errors.InvalidArgument, match="no eval item"):
        client.import_eval_set("bad", b"")
    with pytest.raises(errors.InvalidArgument, match="not an id"):
        client.import_eval_set("eval_v1", LINE)
    with pytest.raises(errors.NotFound):
        client.get_eval_set("bad")


def test_streams_that_make_no_sense(client: tailrace.Client) -> None:
    stub = evalset_pb2_grpc.EvalSetServiceStub(client.channel)
    header = evalset_pb2.ImportEvalSetRequest(
        header=evalset_pb2.ImportEvalSetHeader(eval_set_id="odd")
    )
    data = evalset_pb2.ImportEvalSetRequest(data=LINE)
    too_long = evalset_pb2.ImportEvalSetRequest(data=b" " * ((1 << 20) + 1))
    for stream in ([], [data], [header], [header, header], [header, too_long]):
        with pytest.raises(grpc.RpcError) as error:
            stub.ImportEvalSet(iter(stream))
        assert isinstance(errors.from_rpc(error.value), errors.InvalidArgument)
