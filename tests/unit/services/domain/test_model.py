from __future__ import annotations

from typing import Any

import pytest

from services.domain.errors import InvalidInput
from services.domain.model import (
    MAX_CONFIG_BYTES,
    architecture,
    folder_violations,
    parse_config,
    parse_model_name,
    weight_files,
)
from tailrace.formats.listing import FileEntry


def entry(path: str, size: int = 10) -> FileEntry:
    return FileEntry(path, "a" * 64, size)


def test_a_whole_folder_is_fine() -> None:
    names = ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
    assert folder_violations([entry(name) for name in names]) == []


def test_what_is_missing_is_said_beside_what_is_wrong() -> None:
    found = folder_violations([entry("model.pt")])
    assert [v.field for v in found] == ["files[0].path", "files", "files", "files"]


def test_a_config_is_small() -> None:
    huge = entry("config.json", MAX_CONFIG_BYTES + 1)
    (violation,) = folder_violations([huge, entry("model.safetensors"), entry("tokenizer.json")])
    assert violation.field == "files[0].path"


def test_the_architecture_is_the_first() -> None:
    assert architecture({"architectures": ["A", "B"]}) == "A"


@pytest.mark.parametrize(
    "config",
    [{}, {"architectures": None}, {"architectures": [1]}, {"architectures": ["x y"]}],
)
def test_a_config_without_architecture_is_refused(config: dict[str, Any]) -> None:
    for read in (architecture, parse_config):
        with pytest.raises(ValueError, match="architectures"):
            read(config)


@pytest.mark.parametrize("config", [None, [], 3])
def test_a_config_is_an_object(config: object) -> None:
    with pytest.raises(ValueError, match="object"):
        parse_config(config)


def test_an_index_names_the_files_of_the_weights() -> None:
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}
    assert weight_files({"weight_map": shards}) == {"model-1.safetensors", "model-2.safetensors"}


@pytest.mark.parametrize(
    "index",
    [
        [],
        {},
        {"weight_map": {}},
        {"weight_map": {"a": 1}},
        {"weight_map": {"a": "../x.safetensors"}},
        {"weight_map": {"a": "x.bin"}},
    ],
)
def test_other_indexes_are_refused(index: object) -> None:
    with pytest.raises(ValueError, match="index of weights"):
        weight_files(index)


def test_names() -> None:
    assert parse_model_name("models/gpt2") == "gpt2"
    for name in ("gpt2", "models/", "models/a/b", "models/..", "models/a\n"):
        with pytest.raises(InvalidInput):
            parse_model_name(name)
