from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.tensors import expected_shapes

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
MIXTRAL = {**SIZES, "model_type": "mixtral"}
QWEN = {**SIZES, "model_type": "qwen3_moe", "num_experts": 8}


def sparse_layers(**changes: Any) -> tuple[bool, ...]:
    layers: tuple[bool, ...] = read_model_config({**QWEN, **changes}).sparse_layers
    return layers


def test_mixtral_has_the_defaults_of_its_paper() -> None:
    config = read_model_config(MIXTRAL)
    assert (config.experts, config.active_experts, config.normalized) == (8, 2, True)
    assert (config.rope.theta, config.rms_norm_eps, config.sliding_window) == (1e6, 1e-5, None)
    assert config.sparse_layers == (True,) * 4


def test_each_expert_has_its_own_tensors() -> None:
    mixtral = expected_shapes({**MIXTRAL, "num_local_experts": 3})
    assert mixtral["model.layers.3.block_sparse_moe.experts.2.w2.weight"] == (16, 24)
    assert mixtral["model.layers.0.block_sparse_moe.gate.weight"] == (3, 16)
    assert not any(".mlp." in name for name in mixtral)
    qwen = expected_shapes({**QWEN, "moe_intermediate_size": 5})
    assert qwen["model.layers.0.mlp.experts.7.gate_proj.weight"] == (5, 16)


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, (True, True, True, True)),
        ({"decoder_sparse_step": 2}, (False, True, False, True)),
        ({"mlp_only_layers": [0, 3]}, (False, True, True, False)),
        ({"decoder_sparse_step": 3, "mlp_only_layers": [2]}, (False,) * 4),
    ],
)
def test_layers_of_qwen_without_experts(changes: dict[str, Any], layers: tuple[bool, ...]) -> None:
    assert sparse_layers(**changes) == layers


def test_dense_layers_have_the_width_of_their_own() -> None:
    shapes = expected_shapes({**QWEN, "mlp_only_layers": [1], "moe_intermediate_size": 5})
    assert shapes["model.layers.1.mlp.gate_proj.weight"] == (24, 16)
    assert shapes["model.layers.0.mlp.experts.0.up_proj.weight"] == (5, 16)


def test_the_number_of_experts_has_two_names() -> None:
    renamed = {name: value for name, value in QWEN.items() if name != "num_experts"}
    config = read_model_config({**renamed, "num_local_experts": 8})
    assert config == read_model_config(QWEN)
    with pytest.raises(ValueError, match="num_experts 8 must equal num_local_experts 4"):
        read_model_config({**QWEN, "num_local_experts": 4})


@pytest.mark.parametrize("config", [MIXTRAL, {**QWEN, "mlp_only_layers": [1]}])
def test_dump_is_the_inverse_of_read(config: dict[str, Any]) -> None:
    read = read_model_config({**config, "output_router_logits": True, "sliding_window": 7})
    written = FAMILIES[config["model_type"]].dump_config(read)
    assert read_model_config(written) == read


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({**MIXTRAL, "num_experts_per_tok": 9}, "num_experts_per_tok 9 must be at most the 8"),
        ({**MIXTRAL, "router_jitter_noise": 0.1}, "router_jitter_noise must be 0.0"),
        ({**QWEN, "mlp_only_layers": "all"}, "mlp_only_layers must be a list of layer numbers"),
        ({**QWEN, "num_experts": 10**9}, "num_experts must be at most 4096"),
        (
            {**MIXTRAL, "num_local_experts": 4096, "num_hidden_layers": 10_000},
            "experts of all layers have 122880000 tensors, at most 300000",
        ),
    ],
)
def test_refused(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_model_config(config)
