from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.folder import load_model, save_model


@pytest.fixture
def folder(tmp_path: Path, model: Model, params: Params) -> Path:
    save_model(tmp_path, model, params, eos_token_id=0)
    return tmp_path


def rewrite(folder: Path, **changes: np.ndarray | None) -> None:
    path = str(folder / "model.safetensors")
    tensors = {**load_file(path), **changes}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)


def test_round_trip_is_exact(folder: Path, model: Model, params: Params, tmp_path: Path) -> None:
    loaded, values = load_model(folder)
    assert loaded.config == model.config
    assert list(values) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(values[name], value)
    save_model(tmp_path / "again", loaded, values, eos_token_id=0)
    first, second = (f / "model.safetensors" for f in (folder, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_transformers_reads_the_configuration(folder: Path, model: Model) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert (config.model_type, config.n_layer, config.eos_token_id) == ("gpt2", 2, 0)
    assert config.tie_word_embeddings
    assert config.vocab_size == model.config.vocab_size


def test_old_layout_without_prefix_and_with_buffers(folder: Path, params: Params) -> None:
    path = str(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): v for name, v in load_file(path).items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 4, 4), np.float32)
    bare["lm_head.weight"] = bare["wte.weight"]
    save_file(bare, path)
    _, values = load_model(folder)
    assert list(values) == list(params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(folder: Path, params: Params, dtype: type) -> None:
    path = str(folder / "model.safetensors")
    save_file({name: v.astype(dtype) for name, v in load_file(path).items()}, path)
    _, values = load_model(folder)
    name = "transformer.wte.weight"
    assert values[name].dtype == np.float32
    np.testing.assert_array_equal(values[name], np.asarray(params[name]).astype(dtype))


def test_all_wrong_tensors_are_named(folder: Path) -> None:
    rewrite(folder, **{"transformer.wpe.weight": None, "extra": np.ones(2, np.float32)})
    with pytest.raises(ModelConfigError, match=r"unknown tensors extra; missing .*wpe.weight"):
        load_model(folder)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [(np.ones((3, 3), np.float32), r"is \(3, 3\), not \(64, 16\)"), (None, "missing tensors")],
)
def test_wrong_shape(folder: Path, value: np.ndarray | None, complaint: str) -> None:
    rewrite(folder, **{"transformer.wpe.weight": value})
    with pytest.raises(ModelConfigError, match=complaint):
        load_model(folder)


def test_integers_are_no_weights(folder: Path) -> None:
    rewrite(folder, **{"transformer.wpe.weight": np.ones((64, 16), np.int32)})
    with pytest.raises(ModelConfigError, match="holds int32, not floats"):
        load_model(folder)


def test_files_that_are_missing_or_broken(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    (folder / "model.safetensors").write_bytes(b"pickle?")
    with pytest.raises(ModelConfigError, match="not a safetensors file"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="as one safetensors file"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelConfigError, match="is not JSON"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(ModelConfigError, match="'mamba' is not supported"):
        load_model(folder)
