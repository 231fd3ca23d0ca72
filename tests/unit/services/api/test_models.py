from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import tailrace
from services.domain.run import RunState
from services.usecases.content import datasets
from services.usecases.context import Context
from services.usecases.stages.complete import complete_stage
from tailrace import errors, transfer
from tailrace.formats.spec.run_spec import StageKind
from tailrace.v1 import artifact_pb2, run_pb2
from tests.model_folder import files, write
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import CALLER, Driver


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_a_model_goes_in_and_comes_out(
    client: tailrace.Client, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uploaded = transfer.upload_folder(client.channel, folder)
    model = client.register_model("tiny", uploaded, description="Tiny.")
    assert (model.name, model.architecture) == ("models/tiny", "GPT2LMHeadModel")
    assert model.artifact.kind == artifact_pb2.ARTIFACT_KIND_MODEL
    assert client.register_model("tiny", uploaded) == model
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
    uploaded = transfer.upload_folder(client.channel, folder)
    with pytest.raises(errors.InvalidArgument, match="run code when opened"):
        client.register_model("pickled", uploaded)
    with pytest.raises(errors.NotFound):
        client.get_model("pickled")


def test_a_model_whose_files_were_not_uploaded(client: tailrace.Client) -> None:
    absent = [
        artifact_pb2.ArtifactFile(path=path, sha256="1" * 64, size_bytes=1)
        for path in ("config.json", "model.safetensors", "tokenizer.json")
    ]
    with pytest.raises(errors.FailedPrecondition) as error:
        client.register_model("absent", absent)
    assert error.value.reason == "BLOB_MISSING"


async def _finish(context: Context, run_id: str) -> None:
    """Run through all stages; the final model has the files of :mod:`tests.model_folder`."""
    driver = Driver(context)
    await driver.register()
    await datasets.seed(context, CALLER, "golden-v2")
    gate = {"name": "loss", "metric": "last_loss", "maximum": 1.0}
    await driver.create(run_id, gates=[gate])
    while (await driver.get(run_id)).run.state is not RunState.SUCCEEDED:
        order = await driver.start(run_id)
        report = await driver.completion(order)
        if order.stage.kind is StageKind.TRAIN:
            model, *others = report.artifacts
            entries = [await driver.upload(path, data) for path, data in files().items()]
            artifacts = [dataclasses.replace(model, files=entries), *others]
            report = dataclasses.replace(report, artifacts=artifacts)
        await complete_stage(context, report)


def test_a_run_is_promoted_named_and_deleted(
    client: tailrace.Client, served: ServedControlPlane
) -> None:
    served.call(_finish(served.control_plane.context, "promoted"))
    model = client.promote_model("promoted", "support", description="Answers.")
    assert (model.version, model.architecture) == (1, "GPT2LMHeadModel")
    moved = client.set_model_alias("support", "prod", 1)
    assert list(moved.aliases) == ["prod"]
    stored = client.get_model("support@prod")
    (step,) = stored.lineage
    assert (step.run, step.model) == ("runs/promoted", "models/support@1")
    assert [(gate.name, gate.outcome) for gate in step.gates] == [
        ("loss", run_pb2.GATE_OUTCOME_PASSED)
    ]
    assert [(move.alias, move.to_version) for move in stored.alias_history] == [("prod", 1)]
    with pytest.raises(errors.FailedPrecondition) as error:
        client.delete_model("support@1")
    assert error.value.reason == "MODEL_IN_USE"
    assert error.value.metadata["dependents"] == "models/support@prod"
    client.delete_model("support")
    client.delete_model("support", allow_missing=True)
    with pytest.raises(errors.NotFound):
        client.get_model("support")


def test_promotions_and_aliases_that_are_refused(client: tailrace.Client) -> None:
    with pytest.raises(errors.NotFound):
        client.promote_model("nothing", "support")
    with pytest.raises(errors.InvalidArgument):
        client.promote_model("nothing", "Not an id", force=True)
    with pytest.raises(errors.NotFound):
        client.set_model_alias("nothing", "prod", 1)
    with pytest.raises(errors.NotFound):
        client.delete_model("nothing")
