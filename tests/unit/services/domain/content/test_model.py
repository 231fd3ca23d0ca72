from __future__ import annotations

import pytest

from services.domain.content.model import ModelReference, folder_violations
from services.domain.errors import InvalidInput
from tailrace.formats.listing import FileEntry


def entry(path: str, size: int = 10) -> FileEntry:
    return FileEntry(path, "a" * 64, size)


def test_a_whole_folder_is_fine() -> None:
    names = ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
    assert folder_violations([entry(name) for name in names]) == []


def test_what_is_missing_is_said_beside_what_is_wrong() -> None:
    violations = folder_violations([entry("model.pt")])
    assert [v.field for v in violations] == ["files[0].path", "files", "files", "files"]


def test_a_config_is_small() -> None:
    huge = entry("config.json", (1 << 20) + 1)
    (violation,) = folder_violations([huge, entry("model.safetensors"), entry("tokenizer.json")])
    assert violation.field == "files[0].path"


def test_files_of_weights_and_templates_are_counted() -> None:
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    names += [f"part-{i}.safetensors" for i in range(1000)]
    names += [f"additional_chat_templates/{i}.jinja" for i in range(21)]
    violations = folder_violations([entry(name) for name in names])
    assert [v.description.split()[-2:] for v in violations] == [
        ["weight", "files"],
        ["chat", "templates"],
    ]


def test_names() -> None:
    assert ModelReference.parse("models/gpt2", "name") == ModelReference("gpt2", None)
    assert ModelReference.parse("models/gpt2@3", "name") == ModelReference("gpt2", 3)
    assert ModelReference.parse("models/gpt2@prod", "name") == ModelReference("gpt2", None, "prod")
    for name in ("gpt2", "models/", "models/a/b", "models/..", "models/a\n"):
        with pytest.raises(InvalidInput):
            ModelReference.parse(name, "name")
