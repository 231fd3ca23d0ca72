from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator

import grpc
import pytest

import tailrace
from services.domain.content.artifact import Listing, Producer
from services.storage.rows import artifacts
from tailrace import errors
from tailrace.formats.listing import FileEntry
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.protomap import from_mapping
from tailrace.v1 import artifact_pb2, artifact_pb2_grpc, run_spec_pb2
from tests.servers.control_plane import ServedControlPlane

CONTENT = b"0123456789" * 300_000


def upload_name(content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return f"uploads/{uuid.uuid4()}/blobs/{sha256}/{len(content)}"


def write_requests(name: str, content: bytes) -> Iterator[artifact_pb2.WriteRequest]:
    size = 1 << 20
    for start in range(0, len(content), size):
        yield artifact_pb2.WriteRequest(
            resource_name=name if start == 0 else "",
            write_offset=start,
            data=content[start : start + size],
            finish_write=start + size >= len(content),
        )


@pytest.fixture
def stub(client: tailrace.Client) -> artifact_pb2_grpc.ArtifactServiceStub:
    return artifact_pb2_grpc.ArtifactServiceStub(client.channel)


def refused(error: grpc.RpcError) -> errors.TailraceError:
    return errors.from_rpc(error)


def test_a_blob_goes_in_and_comes_out(stub: artifact_pb2_grpc.ArtifactServiceStub) -> None:
    name = upload_name(CONTENT)
    before = stub.QueryWriteStatus(artifact_pb2.QueryWriteStatusRequest(resource_name=name))
    assert (before.committed_size, before.complete) == (0, False)
    assert stub.Write(write_requests(name, CONTENT)).committed_size == len(CONTENT)
    after = stub.QueryWriteStatus(artifact_pb2.QueryWriteStatusRequest(resource_name=name))
    assert (after.committed_size, after.complete) == (len(CONTENT), True)
    blob = f"blobs/{hashlib.sha256(CONTENT).hexdigest()}"
    responses = list(stub.Read(artifact_pb2.ReadRequest(resource_name=blob, read_offset=5)))
    assert b"".join(r.data for r in responses) == CONTENT[5:]
    assert max(len(r.data) for r in responses) <= 1 << 20
    some = stub.Read(artifact_pb2.ReadRequest(resource_name=blob, read_offset=7, read_limit=9))
    assert b"".join(r.data for r in some) == CONTENT[7:16]


def test_writing_what_is_there_answers_at_once(
    stub: artifact_pb2_grpc.ArtifactServiceStub,
) -> None:
    stub.Write(write_requests(upload_name(CONTENT), CONTENT))
    message_count = 0

    def endless() -> Iterator[artifact_pb2.WriteRequest]:
        nonlocal message_count
        for request in write_requests(upload_name(CONTENT), CONTENT * 100):
            message_count += 1
            yield request

    answer = stub.Write(
        artifact_pb2.WriteRequest(resource_name=upload_name(CONTENT), data=r.data)
        for r in endless()
    )
    assert answer.committed_size == len(CONTENT)
    assert message_count < 200


@pytest.mark.parametrize(
    ("name", "offset", "expected"),
    [
        ("blobs/" + "0" * 64, 0, errors.NotFound),
        ("blobs/../etc/passwd", 0, errors.InvalidArgument),
        ("blobs/" + "0" * 64, -1, errors.InvalidArgument),
    ],
)
def test_reading_what_cannot_be_read(
    stub: artifact_pb2_grpc.ArtifactServiceStub,
    name: str,
    offset: int,
    expected: type[errors.TailraceError],
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        list(stub.Read(artifact_pb2.ReadRequest(resource_name=name, read_offset=offset)))
    assert isinstance(refused(error.value), expected)


def test_an_offset_past_the_end_is_out_of_range(
    stub: artifact_pb2_grpc.ArtifactServiceStub,
) -> None:
    stub.Write(write_requests(upload_name(b"abc"), b"abc"))
    blob = f"blobs/{hashlib.sha256(b'abc').hexdigest()}"
    with pytest.raises(grpc.RpcError) as error:
        list(stub.Read(artifact_pb2.ReadRequest(resource_name=blob, read_offset=4)))
    assert isinstance(refused(error.value), errors.OutOfRange)


def test_streams_that_make_no_sense(stub: artifact_pb2_grpc.ArtifactServiceStub) -> None:
    name = upload_name(b"x" * 10)
    streams = [
        [],
        [artifact_pb2.WriteRequest(resource_name="nonsense", data=b"x")],
        [artifact_pb2.WriteRequest(resource_name=name, data=b"x" * 11, finish_write=True)],
        [artifact_pb2.WriteRequest(resource_name=name, data=b"y" * 10, finish_write=True)],
        [
            artifact_pb2.WriteRequest(resource_name=name, data=b"x"),
            artifact_pb2.WriteRequest(resource_name=upload_name(b""), write_offset=1, data=b"x"),
        ],
        [artifact_pb2.WriteRequest(resource_name=upload_name(b""), data=b"x" * (1 << 21))],
    ]
    for stream in streams:
        with pytest.raises(grpc.RpcError) as error:
            stub.Write(iter(stream))
        assert isinstance(refused(error.value), errors.InvalidArgument), stream


def test_a_message_over_the_limit_is_resource_exhausted(
    stub: artifact_pb2_grpc.ArtifactServiceStub,
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Write(iter([artifact_pb2.WriteRequest(data=b"x" * (17 << 20))]))
    assert isinstance(refused(error.value), errors.ResourceExhausted)


def test_artifacts_of_unknown_names(client: tailrace.Client) -> None:
    with pytest.raises(errors.NotFound):
        client.get_artifact("0" * 64)
    with pytest.raises(errors.InvalidArgument):
        client.get_artifact("artifacts/..")
    with pytest.raises(errors.NotFound):
        list(client.list_artifacts("nope"))


def test_a_runs_artifacts_are_listed_by_kind_and_page(
    client: tailrace.Client, served: ServedControlPlane
) -> None:
    client.seed_dataset("golden-v2")
    spec = {
        "model": {"preset": "gpt2-nano"},
        "dataset": "golden-v2",
        "train": {"max_steps": 1},
    }
    run = client.create_run(from_mapping(run_spec_pb2.RunSpec, spec), run_id="with-artifacts")
    assert list(client.list_artifacts("with-artifacts")) == []

    async def record() -> None:
        producer = Producer(run.uid, "with-artifacts", "train", 1)
        async with served.control_plane.context.database.write() as conn:
            for step in (1, 2, 3):
                listing = Listing.of([FileEntry(f"step-{step}", "a" * 64, 5)])
                kind = ArtifactKind.CHECKPOINT if step < 3 else ArtifactKind.MODEL
                await artifacts.record(conn, "default", listing, kind, producer=producer, step=step)

    served.call(record())
    listed = list(client.list_artifacts("with-artifacts", page_size=2))
    assert [a.step for a in listed] == [1, 2, 3]
    assert {(a.run, a.stage, a.attempt) for a in listed} == {("runs/with-artifacts", "train", 1)}
    (model,) = client.list_artifacts("runs/with-artifacts", kind="model")
    assert model == listed[2]
    assert client.get_artifact(model.name) == model
    stub = artifact_pb2_grpc.ArtifactServiceStub(client.channel)
    request = artifact_pb2.ListArtifactsRequest(parent="runs/with-artifacts", page_size=1)
    request.page_token = stub.ListArtifacts(request).next_page_token
    request.kind = artifact_pb2.ARTIFACT_KIND_MODEL
    with pytest.raises(grpc.RpcError) as error:
        stub.ListArtifacts(request)
    assert isinstance(refused(error.value), errors.InvalidArgument)
