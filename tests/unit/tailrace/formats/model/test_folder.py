from __future__ import annotations

import pytest

from tailrace.formats.model.folder import file_problem, lacks


@pytest.mark.parametrize("path", ["config.json", "a/b.safetensors", "vocab.txt", "spiece.model"])
def test_what_belongs(path: str) -> None:
    assert file_problem(path) is None


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("pytorch_model.bin", "run code when opened"),
        ("x.PKL", "run code when opened"),
        ("a.ckpt", "run code when opened"),
        ("modeling_x.py", "never run"),
        ("README.md", "not a file of a model"),
        ("config", "not a file of a model"),
        (".json", "not a file of a model"),
        ("model.SAFETENSORS", "not a file of a model"),
    ],
)
def test_what_does_not(path: str, says: str) -> None:
    assert says in (file_problem(path) or "")


def test_what_a_folder_lacks() -> None:
    assert lacks({"config.json", "model.safetensors", "tokenizer.json"}) == []
    assert lacks({"config.json", "model.safetensors.index.json", "vocab.json"}) == []
    missing = " ".join(lacks({"sub/config.json", "other.safetensors", "tokenizer.model"}))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert f"no {name}" in missing or f"neither {name}" in missing
