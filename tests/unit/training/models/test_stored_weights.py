from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from training.errors import ModelConfigError
from training.models import tensor_blocks
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights, StoredWeights
from training.models.weight_writer import write_weights
from training.models.weights import WEIGHTS

ROOT = Path(__file__).parents[4]

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


def rewrite(folder: Path, **changes: np.ndarray | None) -> None:
    path = str(folder / WEIGHTS)
    tensors = {**load_file(path), **changes}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)


def assert_equal(values: Params, params: Params) -> None:
    assert list(values) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(values[name], value)


def test_old_layout_without_prefix_and_with_buffers(
    folder: Path, model: Model, params: Params
) -> None:
    path = str(folder / WEIGHTS)
    bare = {name.removeprefix("transformer."): v for name, v in load_file(path).items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 4, 4), np.float32)
    bare["lm_head.weight"] = bare["wte.weight"]
    save_file(bare, path)
    assert_equal(StoredWeights(folder, model).load(), params)


def test_stored_rotary_frequencies_are_ignored(tmp_path: Path) -> None:
    model = model_from_config(LLAMA)
    write_weights(tmp_path, model.init(0))
    rewrite(tmp_path, **{"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)})
    assert list(StoredWeights(tmp_path, model).load()) == list(model.shapes)


def test_an_output_layer_of_its_own_contradicts_tied_embeddings(
    folder: Path, model: Model, params: Params
) -> None:
    other = np.asarray(params["transformer.wte.weight"]) + 1
    rewrite(folder, **{"lm_head.weight": other})
    with pytest.raises(ModelConfigError, match=r"lm_head.weight differs .* is true: set"):
        StoredWeights(folder, model).load()


def test_untied_embeddings_need_an_output_layer(tmp_path: Path) -> None:
    tied = model_from_config({**LLAMA, "tie_word_embeddings": True})
    write_weights(tmp_path, tied.init(0))
    with pytest.raises(ModelConfigError, match=r"missing tensors: lm_head.weight \[11, 8\]"):
        StoredWeights(tmp_path, model_from_config(LLAMA))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(folder: Path, model: Model, params: Params, dtype: type) -> None:
    path = str(folder / WEIGHTS)
    save_file({name: v.astype(dtype) for name, v in load_file(path).items()}, path)
    values = StoredWeights(folder, model).load()
    name = "transformer.wte.weight"
    assert values[name].dtype == np.float32
    np.testing.assert_array_equal(values[name], np.asarray(params[name]).astype(dtype))


def test_all_wrong_tensors_are_named_with_their_shapes(folder: Path, model: Model) -> None:
    rewrite(
        folder,
        **{
            "transformer.wpe.weight": None,
            "transformer.ln_f.bias": np.ones(3, np.float32),
            "transformer.ln_f.weight": np.ones(16, np.int32),
            "extra": np.ones(2, np.float32),
        },
    )
    with pytest.raises(ModelConfigError) as caught:
        StoredWeights(folder, model).load()
    for complaint in (
        "transformer.ln_f.bias is [3], not [16]",
        "transformer.ln_f.weight holds I32, not one of",
        "unknown tensors: extra [2]",
        "missing tensors: transformer.wpe.weight [64, 16]",
    ):
        assert complaint in str(caught.value)


def test_more_layers_than_configured_are_counted(tmp_path: Path, model: Model) -> None:
    deeper = model_from_config({**model.family.dump_config(model.config), "n_layer": 2})
    write_weights(tmp_path, deeper.init(0))
    with pytest.raises(ModelConfigError, match=r"unknown tensors: transformer.h.1.* and 7 more"):
        StoredWeights(tmp_path, model)


@pytest.mark.parametrize("kept", [3, 100, 5000])
def test_truncated(folder: Path, model: Model, kept: int) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelConfigError, match=r"model.safetensors is .*damaged.*fetch it again"):
        StoredWeights(folder, model).load()


@pytest.mark.parametrize("stored", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("target", [jnp.float32, jnp.bfloat16])
def test_values_are_rounded_to_the_nearest_of_the_target_type(
    folder: Path, model: Model, params: Params, stored: type, target: Any
) -> None:
    path = str(folder / WEIGHTS)
    narrow = {name: value.astype(stored) for name, value in load_file(path).items()}
    save_file(narrow, path)
    for name, value in StoredWeights(folder, model).load(dtype=target).items():
        assert value.dtype == target
        expected = narrow[name].astype(np.float32).astype(target)
        np.testing.assert_array_equal(np.asarray(value), expected)


def test_a_tensor_of_several_blocks_is_read_as_a_whole(
    folder: Path, model: Model, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_blocks, "BLOCK_VALUES", 7)
    assert_equal(StoredWeights(folder, model).load(), params)


def test_values_that_are_not_finite_are_counted_over_all_blocks(
    folder: Path, model: Model, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = np.array(params["transformer.wpe.weight"])
    damaged[3, 5], damaged[60, 0] = np.nan, np.inf
    rewrite(folder, **{"transformer.wpe.weight": damaged})
    monkeypatch.setattr(tensor_blocks, "BLOCK_VALUES", 100)
    message = r"wpe.weight holds 2 values of 1024 that are NaN .* first at \[3, 5\]"
    with pytest.raises(ModelConfigError, match=message):
        StoredWeights(folder, model).load()


def test_a_file_that_is_cut_after_its_header_was_read(folder: Path, model: Model) -> None:
    weights = StoredWeights(folder, model)
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelConfigError, match=r"model.safetensors is cut or damaged: fetch"):
        weights.load()


def test_a_step_may_reuse_the_buffers_of_loaded_weights(folder: Path, model: Model) -> None:
    double = jax.jit(
        lambda values: {name: 2 * value for name, value in values.items()}, donate_argnums=0
    )
    values = StoredWeights(folder, model).load()
    places = {value.unsafe_buffer_pointer() for value in values.values()}
    doubled = double(values)
    assert {value.unsafe_buffer_pointer() for value in doubled.values()} == places


def test_held_weights_survive_a_step_on_loaded_ones(params: Params) -> None:
    held = HeldWeights(params)
    for value in held.load().values():
        value.delete()
    assert_equal(dict(held.arrays()), params)


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of ``load_probe.py``."""
    probe = Path(__file__).parent / "load_probe.py"
    done = subprocess.run(
        [sys.executable, str(probe), str(tmp_path_factory.mktemp("large"))],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def test_loading_needs_the_weights_and_one_tensor(probed: dict[str, Any]) -> None:
    needed = probed["weights"] + 1.5 * probed["largest"]
    assert probed["weights"] > 150e6
    assert probed["grown"] <= needed + 100e6


def test_no_host_array_holds_more_than_a_tensor(probed: dict[str, Any]) -> None:
    assert probed["devices"] == 8
    assert probed["host_peak"] <= 1.2 * probed["largest"] + 20e6 < probed["weights"] / 2


def test_a_split_by_rows_is_read_by_rows(probed: dict[str, Any]) -> None:
    assert probed["rows"] == 16384 / 8
    assert probed["row_peak"] <= probed["split"] / 8 + 20e6 < probed["split"]


def test_each_device_has_its_part(probed: dict[str, Any]) -> None:
    assert probed["differing"] == []
    assert probed["parts"]["model.embed_tokens.weight"] == 8
    assert probed["parts"]["model.norm.weight"] == 1
