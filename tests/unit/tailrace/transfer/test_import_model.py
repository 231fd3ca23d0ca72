from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.errors import InvalidArgument, NotFound
from tests.model_folder import safetensors, write
from tests.servers.control_plane import ServedControlPlane


@pytest.fixture
def client(connect: Any, served: ServedControlPlane) -> Any:
    with connect(served.address) as connected:
        yield connected


def test_a_model_folder_is_imported_in_one_call(client: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    (folder / "README.md").write_text("# A card")
    (folder / ".cache").mkdir()
    (folder / ".cache/config.json").write_text("{}")
    model = client.import_model(str(folder), description="One number.")
    assert (model.name, model.description) == ("models/tiny", "One number.")
    paths = [file.path for file in model.artifact.files]
    assert paths == ["config.json", "model.safetensors", "tokenizer.json"]
    assert client.import_model(folder).create_time == model.create_time
    assert client.import_model(folder, "other-name").name == "models/other-name"


def test_a_folder_without_a_model_is_refused(client: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="not a model folder:\n  there are no weights"):
        client.import_model(tmp_path)
    with pytest.raises(NotADirectoryError, match="nowhere is not a folder"):
        client.import_model(tmp_path / "nowhere")


def write_adapter(folder: Path, base: str = "org/base", **changes: Any) -> Path:
    """Write a PEFT adapter of the layer c_fc [2, 8] of the tiny model."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    layer = "base_model.model.transformer.h.0.mlp.c_fc"
    shapes = {f"{layer}.lora_A.weight": (1, 2), f"{layer}.lora_B.weight": (8, 1)}
    (folder / "adapter_model.safetensors").write_bytes(safetensors(shapes))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def test_an_adapter_is_imported_with_the_files_of_its_base(client: Any, tmp_path: Path) -> None:
    base = client.import_model(write(tmp_path / "base"))
    by_name = client.import_model(write_adapter(tmp_path / "one"), base="models/base")
    paths = [file.path for file in by_name.artifact.files]
    assert paths == [
        *(file.path for file in base.artifact.files),
        "unmerged_adapter/adapter_config.json",
        "unmerged_adapter/adapter_model.safetensors",
    ]
    client.import_model(write_adapter(tmp_path / "two", base="models/base"))
    with pytest.raises(ValueError, match=r"models/one has an adapter already: merge"):
        client.import_model(write_adapter(tmp_path / "three"), base="models/one")


def test_an_adapter_without_an_imported_base_names_the_way_out(client: Any, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"is a PEFT adapter of 'org/base': import that model"):
        client.import_model(adapter)
    with pytest.raises(NotFound):
        client.import_model(adapter, base="models/missing")
    with pytest.raises(ValueError, match="is not a PEFT adapter"):
        client.import_model(write(tmp_path / "whole"), base="models/base")


def test_an_adapter_that_does_not_fit_is_refused_by_the_server(client: Any, tmp_path: Path) -> None:
    client.import_model(write(tmp_path / "base"))
    adapter = write_adapter(tmp_path / "dora", use_dora=True)
    with pytest.raises(InvalidArgument, match="use_dora cannot be set"):
        client.import_model(adapter, base="models/base")
    other = write_adapter(tmp_path / "rank", r=2)
    with pytest.raises(InvalidArgument, match="needs A and B of rank 2"):
        client.import_model(other, base="models/base")
