from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data.tokenizer import encode, load_tokenizer
from training.errors import ModelConfigError, ModelNotFoundError, OutputError
from training.models.family import Model
from training.models.folder import load_model
from training.models.registry import model_from_config
from training.random_gpt2 import DISTILGPT2, make


@pytest.fixture
def vocabulary(tmp_path: Path, tokenizer: Any) -> Path:
    """GPT-2's two files, of a smaller tokenizer."""
    pieces = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps(pieces["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in pieces["merges"])
    (folder / "vocab.bpe").write_text(f"#version: 0.2\n{merges}\n")
    return folder


@pytest.fixture
def shape(model: Model) -> dict[str, Any]:
    shape: dict[str, Any] = model.family.dump_config(model.config)
    return shape


def test_the_folder_opens(
    shape: dict[str, Any], vocabulary: Path, tmp_path: Path, tokenizer: Any
) -> None:
    make(shape, vocabulary, tmp_path / "made", seed=5)
    model, params = load_model(tmp_path / "made")
    expected = model.init(5)
    for name, value in params.items():
        np.testing.assert_array_equal(value, expected[name])
    text = "What is 82 + 15?<|endoftext|>"
    assert encode(load_tokenizer(tmp_path / "made"), text) == encode(tokenizer, text)


def test_the_size_of_distilgpt2() -> None:
    assert model_from_config({**DISTILGPT2, "vocab_size": 50257}).parameters == 81_912_576


def test_refused(shape: dict[str, Any], vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not empty"):
        make(shape, vocabulary, vocabulary, seed=0)
    (vocabulary / "vocab.bpe").write_text("#version: 0.2\nno such\n")
    with pytest.raises(ModelConfigError, match=r"vocab\.bpe"):
        make(shape, vocabulary, tmp_path / "made", seed=0)
    (vocabulary / "vocab.bpe").unlink()
    with pytest.raises(ModelNotFoundError, match=r"vocab\.bpe: there is no such file"):
        make(shape, vocabulary, tmp_path / "made", seed=0)
