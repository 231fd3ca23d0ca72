from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tailrace.formats.spec.run_spec import BaseDtype, LoraSpec
from tests.unit.training.conftest import TINY
from training.errors import ConfigError
from training.loop.lora import LoraAdapter, find_targets
from training.models.adapter_folder import save_adapter
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
}
TOKENS = np.arange(12).reshape(2, 6)


@pytest.fixture(scope="module")
def llama() -> Model:
    return model_from_config(LLAMA)


# Compiled as a whole: one by one, its operations take far longer to compile.
@partial(jax.jit, static_argnums=0)
def logits(trainable: LoraAdapter, trained: Params, frozen: Params, key: Any = None) -> jax.Array:
    decoder = trainable.decoder(trained, frozen, key)
    mask = jnp.tril(jnp.ones((6, 6), bool))[None]
    hidden, _ = decoder.hidden(TOKENS, jnp.arange(6)[None], mask)
    return decoder.logits(hidden)


def random(model: Model) -> Params:
    generator = np.random.default_rng(1)
    return {
        name: jnp.asarray(generator.normal(0, 0.2, shape), jnp.float32)
        for name, shape in model.shapes.items()
    }


@pytest.fixture(scope="module")
def two_layers() -> Model:
    return model_from_config({**TINY, "n_layer": 2, "vocab_size": 320})


def make(model: Model, **changes: Any) -> tuple[LoraAdapter, Params, Params, Params]:
    """A trainable, its trained values with B off zero, its frozen ones, and the model's weights."""
    params = random(model)
    trainable = LoraAdapter(model, LoraSpec(**{"rank": 4, "alpha": 8.0} | changes), jnp.float32, 3)
    trained, frozen = trainable.start(HeldWeights(params))
    generator = np.random.default_rng(2)
    moved = {
        name: value + np.float32(0.1) * generator.normal(size=value.shape).astype(np.float32)
        for name, value in trained.items()
    }
    return trainable, moved, frozen, params


@pytest.mark.parametrize(
    ("family", "base_dtype"),
    [
        *(("gpt2", BaseDtype.NONE), ("gpt2", BaseDtype.NF4)),
        *(("llama", BaseDtype.NONE), ("llama", BaseDtype.INT8)),
    ],
)
def test_merged_equals_beside(
    model: Model, llama: Model, family: str, base_dtype: BaseDtype
) -> None:
    network = {"gpt2": model, "llama": llama}[family]
    trainable, trained, frozen, params = make(network, base_dtype=base_dtype)
    beside = logits(trainable, trained, frozen)
    whole = dict(trainable.merge(trained, params))
    zero = {name: np.zeros_like(value) for name, value in trained.items()}
    plain, *_ = make(network)
    np.testing.assert_allclose(logits(plain, zero, whole), beside, rtol=1e-4, atol=1e-5)
    assert float(np.abs(beside - logits(trainable, zero, frozen)).max()) > 0.01
    assert set(whole) == set(params)


def test_all_linear_layers_but_the_output_layer_are_quantized(llama: Model) -> None:
    _, _, frozen, params = make(llama, base_dtype=BaseDtype.NF4, target_modules=["q_proj"])
    codes = {name for name, value in frozen.items() if not isinstance(value, jax.Array)}
    assert codes == {target.weight for target in find_targets(llama, [])}
    assert all(np.array_equal(frozen[name], params[name]) for name in set(params) - codes)


def test_training_starts_from_the_model_as_it_is(llama: Model) -> None:
    trainable, _, _, params = make(llama)
    trained, frozen = trainable.start(HeldWeights(params))
    assert all(not np.any(value) for name, value in trained.items() if "lora_B" in name)
    down = trained["model.layers.0.self_attn.q_proj.lora_A.weight"]
    assert float(np.abs(down).max()) <= 16**-0.5
    assert float(np.std(down)) == pytest.approx(16**-0.5 / 3**0.5, rel=0.3)
    again, _ = trainable.start(HeldWeights(params))
    assert all(np.array_equal(again[name], value) for name, value in trained.items())
    plain = {name: np.zeros_like(value) for name, value in trained.items()}
    np.testing.assert_array_equal(
        logits(trainable, trained, frozen), logits(trainable, plain, params)
    )


def test_dropout_acts_on_the_adapter_alone_and_only_with_a_key(llama: Model) -> None:
    trainable, trained, frozen, _ = make(llama, dropout=0.5)
    still = logits(trainable, trained, frozen)
    np.testing.assert_array_equal(still, logits(trainable, trained, frozen))
    first, second = (logits(trainable, trained, frozen, jax.random.key(i)) for i in (0, 1))
    assert not np.array_equal(first, still)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, logits(trainable, trained, frozen, jax.random.key(0)))
    zero = {name: np.zeros_like(value) for name, value in trained.items()}
    np.testing.assert_array_equal(
        logits(trainable, zero, frozen, jax.random.key(0)), logits(trainable, zero, frozen)
    )


def test_all_linear_layers_but_the_output_layer_by_default(two_layers: Model, llama: Model) -> None:
    found = [target.module for target in find_targets(llama, [])]
    assert [name.rsplit(".", 1)[-1] for name in found] == [
        *("down_proj", "gate_proj", "up_proj", "k_proj", "o_proj", "q_proj", "v_proj")
    ]
    gpt2 = find_targets(two_layers, [])
    assert {target.module for target in gpt2} == {
        f"transformer.h.{layer}.{part}"
        for layer in (0, 1)
        for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert all(target.transposed for target in gpt2)
    assert (gpt2[0].inputs, gpt2[0].outputs) == (16, 48)
    trainable, trained, *_ = make(two_layers)
    assert trainable.parameters == sum(value.size for value in trained.values())


def test_targets_by_the_ends_of_their_names(llama: Model, two_layers: Model) -> None:
    def names(of: Model, *wanted: str) -> list[str]:
        return [target.module for target in find_targets(of, list(wanted))]

    assert names(llama, "lm_head") == ["lm_head"]
    assert names(llama, "self_attn.q_proj", "up_proj") == [
        *("model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj")
    ]
    assert names(two_layers, "attn.c_proj") == [f"transformer.h.{i}.attn.c_proj" for i in (0, 1)]


def test_a_target_that_is_not_there(llama: Model) -> None:
    with pytest.raises(ConfigError, match=r"no linear layer 'c_attn', 'proj'; it has down_proj"):
        find_targets(llama, ["q_proj", "c_attn", "proj"])


def test_experts_and_routers_have_no_adapters() -> None:
    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8}
    mixtral = model_from_config({"model_type": "mixtral", **sizes, **heads})
    modules = {target.module.rsplit(".", 1)[-1] for target in find_targets(mixtral, [])}
    assert modules == {"q_proj", "k_proj", "v_proj", "o_proj"}
    for name in ("w1", "gate"):
        with pytest.raises(ConfigError, match="weights of experts and routers cannot"):
            find_targets(mixtral, [name])


def test_the_adapter_folder_is_laid_out_as_peft_has_it(
    model: Model, llama: Model, tmp_path: Path
) -> None:
    trainable, trained, *_ = make(llama, dropout=0.1, target_modules=["q_proj", "mlp.up_proj"])
    save_adapter(tmp_path, trainable, trained, "models/base")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("adapter_config.json", "adapter_model.safetensors")
    ]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] == "models/base"
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8.0, 0.1)
    assert config["target_modules"] == ["mlp.up_proj", "q_proj"]
    assert config["fan_in_fan_out"] is False
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    layer = "base_model.model.model.layers.0"
    assert {name: value.shape for name, value in tensors.items()} == {
        f"{layer}.self_attn.q_proj.lora_A.weight": (4, 16),
        f"{layer}.self_attn.q_proj.lora_B.weight": (16, 4),
        f"{layer}.mlp.up_proj.lora_A.weight": (4, 16),
        f"{layer}.mlp.up_proj.lora_B.weight": (24, 4),
    }
    first = (tmp_path / "adapter_model.safetensors").read_bytes()
    save_adapter(tmp_path, trainable, trained, "models/base")
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == first
    trainable, trained, *_ = make(model)
    save_adapter(tmp_path / "gpt2", trainable, trained, None)
    config = json.loads((tmp_path / "gpt2" / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True
    assert config["target_modules"] == ["c_attn", "c_fc", "c_proj"]
