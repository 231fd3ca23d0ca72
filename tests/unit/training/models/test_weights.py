from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.stored_weights import StoredWeights
from training.models.weight_writer import write_weights
from training.models.weights import INDEX, WEIGHTS, list_weights, weights_digest

WIDEST = 320 * 16 * 4
"""Bytes of the largest tensor of the tiny model."""

LLAMA = {
    "model_type": "llama",
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}


@pytest.fixture
def folder(tmp_path: Path, params: Params) -> Path:
    write_weights(tmp_path, params)
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path, params: Params) -> Path:
    write_weights(tmp_path, params, max_shard_bytes=WIDEST)
    return tmp_path


def rewrite(folder: Path, **changes: np.ndarray | None) -> None:
    path = str(folder / WEIGHTS)
    tensors = {**load_file(path), **changes}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)


def assert_equal(values: Params, params: Params) -> None:
    assert list(values) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(values[name], value)


def test_shards_have_an_index_and_read_back_exactly(
    sharded: Path, model: Model, params: Params
) -> None:
    index = json.loads((sharded / INDEX).read_text())
    files = list_weights(sharded)
    assert len(files) > 1
    assert not (sharded / WEIGHTS).exists()
    assert [path.name for path in files] == [
        f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)
    ]
    assert set(index["weight_map"]) == set(params)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in params.values())
    for name, file in index["weight_map"].items():
        with safe_open(str(sharded / file), framework="numpy") as opened:
            assert name in opened.keys()  # noqa: SIM118
    assert_equal(StoredWeights(sharded, model).load(), params)


def test_no_shard_is_above_the_limit_unless_one_tensor_is(sharded: Path) -> None:
    for path in list_weights(sharded):
        assert sum(value.nbytes for value in load_file(str(path)).values()) <= WIDEST


def test_a_new_save_leaves_nothing_of_the_old(sharded: Path, model: Model, params: Params) -> None:
    (sharded / "other.safetensors").touch()
    write_weights(sharded, params)
    assert {path.name for path in sharded.iterdir()} == {WEIGHTS, "other.safetensors"}
    write_weights(sharded, params, max_shard_bytes=WIDEST)
    assert not (sharded / WEIGHTS).exists()
    assert_equal(StoredWeights(sharded, model).load(), params)


def test_digest(folder: Path, params: Params) -> None:
    whole = weights_digest(folder)
    assert whole == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    write_weights(folder, params, max_shard_bytes=WIDEST)
    split = weights_digest(folder)
    assert split == weights_digest(folder) != whole
    changed = list_weights(folder)[0]
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x7f")
    assert weights_digest(folder) != split


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "a.pt"])
def test_pickled_weights_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelConfigError, match=rf"{name}.* runs whatever code .* safetensors"):
        list_weights(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="has no weights"):
        list_weights(tmp_path)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    gone = list_weights(sharded)[1]
    gone.unlink()
    with pytest.raises(ModelNotFoundError, match=f"lacks weight files: {gone.name}"):
        list_weights(sharded)


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ({}, "needs a weight_map"),
        ({"weight_map": {}}, "is empty"),
        ({"weight_map": {"a": "../model.safetensors"}}, "is not the name of a safetensors file"),
        ({"weight_map": {"a": "/etc/passwd"}}, "is not the name of a safetensors file"),
        ({"weight_map": {"a": "pytorch_model.bin"}}, "is not the name of a safetensors file"),
        ({"weight_map": {"a": 3}}, "is not the name of a safetensors file"),
    ],
)
def test_wrong_index(tmp_path: Path, index: Any, complaint: str) -> None:
    (tmp_path / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    with pytest.raises(ModelConfigError, match=complaint):
        list_weights(tmp_path)
