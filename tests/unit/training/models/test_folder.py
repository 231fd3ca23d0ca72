from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoConfig

from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import Model, Params
from training.models.folder import end_tokens, load_model, save_model


@pytest.fixture
def folder(tmp_path: Path, model: Model, params: Params) -> Path:
    save_model(tmp_path, model, params, eos_token_id=0)
    return tmp_path


def test_round_trip_is_exact(folder: Path, model: Model, params: Params, tmp_path: Path) -> None:
    loaded, values = load_model(folder)
    assert loaded.config == model.config
    assert list(values) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(values[name], value)
    save_model(tmp_path / "again", loaded, values, eos_token_id=0)
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_transformers_reads_the_configuration(folder: Path, model: Model) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert (config.model_type, config.n_layer, config.eos_token_id) == ("gpt2", 1, 0)
    assert config.tie_word_embeddings
    assert config.vocab_size == model.config.vocab_size


def test_files_that_are_missing_or_broken(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="not a model folder"):
        load_model(tmp_path / "nowhere")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelConfigError, match="is not JSON"):
        load_model(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelConfigError, match="must hold a JSON object"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(ModelConfigError, match="'mamba' is not supported"):
        load_model(folder)


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        ({}, None, set()),
        ({"eos_token_id": 2}, None, {2}),
        ({"eos_token_id": None}, {}, set()),
        ({"eos_token_id": 2}, {"eos_token_id": [7, 3]}, {2, 3, 7}),
        ({"eos_token_id": [2, 4]}, {"temperature": 0.6}, {2, 4}),
    ],
)
def test_tokens_that_end_an_answer(
    tmp_path: Path, config: dict[str, object], generation: dict[str, object] | None, ends: set[int]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert end_tokens(tmp_path) == ends


@pytest.mark.parametrize("wrong", ["</s>", [1, "2"], 1.5, True])
def test_an_end_that_is_no_token(tmp_path: Path, wrong: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": wrong}))
    with pytest.raises(ModelConfigError, match="is neither a token id nor a list"):
        end_tokens(tmp_path)
