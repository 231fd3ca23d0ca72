"""``tailrace models`` against a real control plane: what it accepts is the server's to say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.embedded.stack import Stack
from tests.model_folder import write


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("stack")
    with Stack(data_dir, listen="127.0.0.1:0", workers=0) as stack:
        yield stack.server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder in Hugging Face layout, with a hidden file."""
    folder = write(tmp_path / "tiny")
    (folder / ".cache").mkdir()
    (folder / ".cache/huge.bin").write_bytes(b"x")
    return folder


def test_import_list_get(tailrace: Any, server: str, model: Path) -> None:
    arguments = ["--server", server, "--json"]
    model_document = tailrace(
        "models", "import", model, "--description", "one number", *arguments
    ).json()
    assert model_document["name"] == "models/tiny"
    assert model_document["architecture"] == "GPT2LMHeadModel"
    paths = [file["path"] for file in model_document["artifact"]["files"]]
    assert paths == ["config.json", "model.safetensors", "tokenizer.json"]
    again = tailrace("models", "import", model, *arguments).json()
    assert again["create_time"] == model_document["create_time"]
    assert [
        listed_model["name"] for listed_model in tailrace("models", "list", *arguments).json()
    ] == ["models/tiny"]
    text = tailrace("models", "get", "tiny", "--server", server).out
    assert "one number" in text
    assert "model.safetensors" in text


def test_versions_aliases_lineage_and_download(
    tailrace: Any, server: str, model: Path, tmp_path: Path
) -> None:
    arguments = ["--server", server]
    tailrace("models", "import", model, "--id", "aliased", *arguments)
    moved = tailrace("models", "alias", "aliased", "prod", "1", *arguments, "--json").json()
    assert (moved["version"], moved["aliases"]) == (1, ["prod"])
    text = tailrace("models", "lineage", "aliased@prod", *arguments).out
    assert "models/aliased@1" in text
    assert "prod" in text
    folder = tmp_path / "copy"
    tailrace("models", "download", "aliased@prod", "-o", folder, *arguments)
    assert (folder / "config.json").read_bytes() == (model / "config.json").read_bytes()
    refused = tailrace("models", "delete", "aliased@1", *arguments)
    assert refused.code == 4
    assert "models/aliased@prod" in refused.err
    removed = tailrace("models", "alias", "aliased", "prod", "0", *arguments)
    assert removed.out.split() == ["removed:", "models/aliased@prod"]
    assert tailrace("models", "delete", "aliased@1", *arguments).code == 0
    assert tailrace("models", "delete", "aliased", "--allow-missing", *arguments).code == 0
    refused = tailrace("models", "promote", "nothing", "aliased", *arguments)
    assert refused.code == 3
    assert "runs/nothing does not exist" in refused.err


def test_unfit_files_stay_here_and_are_named(tailrace: Any, server: str, model: Path) -> None:
    (model / "README.md").write_text("# A card")
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (model / "modeling.py").write_text("import os")
    result = tailrace("models", "import", model, "--id", "card", "--server", server, "--json")
    files = [file["path"] for file in result.json()["artifact"]["files"]]
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]
    for name in ("README.md", "pytorch_model.bin", "modeling.py"):
        assert result.err.count(name) == 1


def test_a_folder_without_a_model(tailrace: Any, server: str, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    result = tailrace("models", "import", folder, "--server", server)
    assert result.code == 2
    assert "pytorch_model.bin may hold pickled objects" in result.err
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert name in result.err


def test_other_kinds_of_models_are_named_with_the_way_out(
    tailrace: Any, server: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"x")
    for place, words in ((file, "training.import_gguf"), (adapter, "--base models/NAME")):
        result = tailrace("models", "import", place, "--server", server)
        assert result.code == 2
        assert words in " ".join(result.err.split())


def test_a_link_out_of_the_folder_is_refused(
    tailrace: Any, server: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("key")
    (model / "vocab.txt").symlink_to(tmp_path / "secret.txt")
    result = tailrace("models", "import", model, "--server", server)
    assert result.code == 2
    assert "vocab.txt' is a link that leads out of the folder" in result.err


def test_what_cannot_run_is_refused(tailrace: Any, server: str, model: Path) -> None:
    config = (model / "config.json").read_text().replace('"gpt2"', '"mamba"')
    (model / "config.json").write_text(config)
    result = tailrace("models", "import", model, "--server", server)
    assert result.code == 2
    assert "model_type 'mamba' is not supported" in result.err


def test_a_folder_that_is_not_there(tailrace: Any, server: str) -> None:
    result = tailrace("models", "import", "none", "--server", server)
    assert (result.code, result.err) == (2, "error: none is not a folder\n")
