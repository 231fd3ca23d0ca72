from __future__ import annotations

import pytest

from services.domain.errors import InvalidInput
from services.domain.model import (
    MAX_CONFIG_BYTES,
    architecture,
    folder_violations,
    parse_model_name,
)
from tailrace.formats.listing import FileEntry


def entry(path: str, size: int = 10) -> FileEntry:
    return FileEntry(path, "a" * 64, size)


def test_a_whole_folder_is_fine() -> None:
    names = ["config.json", "model-00001-of-00002.safetensors", "tokenizer.model", "vocab.txt"]
    assert folder_violations([entry(name) for name in names]) == []


def test_what_is_missing_is_said_beside_what_is_wrong() -> None:
    found = folder_violations([entry("model.pt")])
    assert [v.field for v in found] == ["files[0].path", "files", "files"]


def test_a_config_is_small() -> None:
    huge = entry("config.json", MAX_CONFIG_BYTES + 1)
    (violation,) = folder_violations([huge, entry("model.safetensors")])
    assert violation.field == "files[0].path"


def test_the_architecture_is_the_first() -> None:
    assert architecture({"architectures": ["A", "B"]}) == "A"


@pytest.mark.parametrize(
    "config",
    [None, [], {}, {"architectures": None}, {"architectures": [1]}, {"architectures": ["x y"]}],
)
def test_a_config_without_architecture_is_refused(config: object) -> None:
    with pytest.raises(ValueError, match="architectures"):
        architecture(config)


def test_names() -> None:
    assert parse_model_name("models/gpt2") == "gpt2"
    for name in ("gpt2", "models/", "models/a/b", "models/..", "models/a\n"):
        with pytest.raises(InvalidInput):
            parse_model_name(name)
