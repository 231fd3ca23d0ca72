from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.model_folder import write
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
