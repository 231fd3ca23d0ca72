from __future__ import annotations

from pathlib import Path

import pytest

import tailrace
from tailrace import errors, transfer
from tailrace.v1 import artifact_pb2
from tests.model_folder import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_a_model_goes_in_and_comes_out(
    client: tailrace.Client, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = transfer.upload_folder(client.channel, folder)
    model = client.register_model("tiny", files, description="Tiny.")
    assert (model.name, model.architecture) == ("models/tiny", "GPT2LMHeadModel")
    assert model.artifact.kind == artifact_pb2.ARTIFACT_KIND_MODEL
    assert client.register_model("tiny", files) == model
    stored = client.get_model("tiny")
    assert [step.model for step in stored.lineage] == ["models/tiny@1"]
    stored.ClearField("lineage")
    assert stored == model
    assert [model.name for model in client.list_models()] == ["models/tiny"]
    copy = tmp_path_factory.mktemp("copy")
    transfer.download_artifact(client.channel, model.artifact, copy)
    for path in folder.iterdir():
        assert (copy / path.name).read_bytes() == path.read_bytes()


def test_pickled_weights_are_refused_with_the_reason(client: tailrace.Client, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    files = transfer.upload_folder(client.channel, folder)
    with pytest.raises(errors.InvalidArgument, match="run code when opened"):
        client.register_model("pickled", files)
    with pytest.raises(errors.NotFound):
        client.get_model("pickled")


def test_a_model_whose_files_were_not_uploaded(client: tailrace.Client) -> None:
    files = [
        artifact_pb2.ArtifactFile(path=path, sha256="1" * 64, size_bytes=1)
        for path in ("config.json", "model.safetensors", "tokenizer.json")
    ]
    with pytest.raises(errors.FailedPrecondition) as error:
        client.register_model("absent", files)
    assert error.value.reason == "BLOB_MISSING"
