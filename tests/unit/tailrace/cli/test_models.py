"""``tailrace models`` against a real control plane: what it accepts is the server's to say."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.stack import Stack


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("stack")
    with Stack(data_dir, listen="127.0.0.1:0", workers=0) as stack:
        yield stack.server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder in Hugging Face layout with one tensor of one number, and a hidden file."""
    folder = tmp_path / "tiny"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache/huge.bin").write_bytes(b"x")
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    )
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_import_list_get(tailrace: Any, server: str, model: Path) -> None:
    arguments = ["--server", server, "--json"]
    made = tailrace("models", "import", model, "--description", "one number", *arguments).json()
    assert made["name"] == "models/tiny"
    assert made["architecture"] == "GPT2LMHeadModel"
    paths = [file["path"] for file in made["artifact"]["files"]]
    assert paths == ["config.json", "model.safetensors", "tokenizer.json"]
    again = tailrace("models", "import", model, *arguments).json()
    assert again["create_time"] == made["create_time"]
    assert [found["name"] for found in tailrace("models", "list", *arguments).json()] == [
        "models/tiny"
    ]
    shown = tailrace("models", "get", "tiny", "--server", server).out
    assert "one number" in shown
    assert "model.safetensors" in shown


def test_every_unfit_file_is_named_once(tailrace: Any, server: str, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    result = tailrace("models", "import", folder, "--server", server)
    assert result.code == 2
    assert result.err.count("pytorch_model.bin") == 1
    assert "config.json" in result.err
    assert "Traceback" not in result.err


def test_a_folder_that_is_not_there(tailrace: Any, server: str) -> None:
    result = tailrace("models", "import", "none", "--server", server)
    assert (result.code, result.err) == (2, "error: none is not a folder\n")
