from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.models.gguf.gguf_file import write_gguf
from training.data.tokenizer import encode, load_tokenizer
from training.models.folder import load_model
from training.models.registry import model_from_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def source(tmp_path: Path, tokenizer: Any) -> Path:
    model = model_from_config(
        {
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 48,
            "tie_word_embeddings": True,
        }
    )
    write_gguf(tmp_path / "model.gguf", model, model.init(3), tokenizer, pre="qwen2")
    return tmp_path / "model.gguf"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.import_gguf", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_folder_opens(source: Path, tmp_path: Path, tokenizer: Any) -> None:
    output = tmp_path / "made"
    done = run("--gguf", str(source), "--output", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    assert "qwen2" in done.stdout
    model, params = load_model(output)
    expected = model.init(3)
    for name, value in params.items():
        np.testing.assert_array_equal(value, expected[name])
    text = "What is the answer?"
    assert encode(load_tokenizer(output), text) == encode(tokenizer, text)


def test_a_folder_in_use_is_left_alone(source: Path, tmp_path: Path) -> None:
    done = run("--gguf", str(source), "--output", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path} is not empty")
