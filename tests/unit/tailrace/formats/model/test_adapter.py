from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.adapter import (
    AdapterConfig,
    adapter_tensor_problems,
    read_adapter_config,
)
from tailrace.formats.model.tensors import Tensor

PLAIN = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "bias": "none"}
LAYER = "base_model.model.model.layers.0.mlp.up_proj"
SHAPES = {"model.layers.0.mlp.up_proj.weight": (12, 8), "model.norm.weight": (8,)}


def pair(**changes: Tensor) -> dict[str, Tensor]:
    tensors = {"A": Tensor("F32", (4, 8)), "B": Tensor("BF16", (12, 4)), **changes}
    return {f"{LAYER}.lora_{name}.weight": tensor for name, tensor in tensors.items()}


def test_the_scale_is_that_of_peft() -> None:
    assert read_adapter_config(PLAIN).scale == 2
    assert read_adapter_config({**PLAIN, "use_rslora": True}).scale == 4


def test_settings_of_training_alone_do_not_matter() -> None:
    settings = {"lora_dropout": 0.1, "peft_version": "0.21", "layers_to_transform": [0]}
    assert read_adapter_config({**PLAIN, **settings, "rank_pattern": {}}).rank == 4


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', must be LORA"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS', must be CAUSAL_LM"),
        ({"bias": "all"}, "bias is 'all', must be none"),
        ({"use_dora": True}, "use_dora cannot be set"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save cannot be set"),
        ({"rank_pattern": {"up_proj": 8}}, "rank_pattern cannot be set"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base model"),
        ({"r": True}, "r is true, must be a whole number"),
        ({"r": 0}, "r is 0, must be a whole number"),
        ({"lora_alpha": float("nan")}, "must be a number above 0"),
        ({"lora_alpha": 10**400}, "must be a number above 0"),
        ({"use_rslora": 1}, "use_rslora is 1, must be true or false"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes', must be true or false"),
    ],
)
def test_other_kinds_are_refused_by_name(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="merge_and_unload") as caught:
        read_adapter_config({**PLAIN, **changes})
    assert complaint in str(caught.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"bias .*; r is .*; use_dora"):
        read_adapter_config({**PLAIN, "bias": "all", "r": None, "use_dora": True})


@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_fit_weights_in_the_orientation_of_the_family(transposed: bool) -> None:
    config, name = AdapterConfig(4, 8, False), "model.layers.0.mlp.up_proj.weight"
    shapes = {False: {name: (12, 8)}, True: {name: (8, 12)}}
    problems = [
        adapter_tensor_problems(config, pair(), shapes[stored], transposed=transposed)
        for stored in (transposed, not transposed)
    ]
    assert problems[0] == ""
    assert "up_proj maps 8 to 12 values, its weight is" in problems[1]


def test_names_in_messages_are_plain_and_short() -> None:
    text = adapter_tensor_problems(
        AdapterConfig(4, 8, False),
        {"\ud800": Tensor("F32", (1,)), "a" * 9000: Tensor("F32", (1,))},
        SHAPES,
    )
    text.encode()
    assert len(text) < 400


@pytest.mark.parametrize("module", ["model.embed_tokens", "model.layers.0.mlp.gate"])
def test_tables_have_no_adapter(module: str) -> None:
    shapes = {f"{module}.weight": (12, 8)}
    tensors = {name.replace(LAYER, f"base_model.model.{module}"): t for name, t in pair().items()}
    text = adapter_tensor_problems(AdapterConfig(4, 8, False), tensors, shapes, set(shapes))
    assert f"no linear layer {module}" in text


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({}, "there is no matrix of LoRA"),
        (pair(A=Tensor("F32", (3, 8))), "needs A and B of rank 4"),
        (pair(A=Tensor("F32", (4, 9))), "maps 9 to 12 values, its weight is [12, 8]"),
        (pair(A=Tensor("I32", (4, 8))), "lora_A.weight holds I32, not one of F64"),
        (
            {f"{LAYER}.lora_A.weight": Tensor("F32", (4, 8))},
            "needs A and B of rank 4",
        ),
        (
            {**pair(), f"{LAYER}.lora_magnitude_vector": Tensor("F32", (12,))},
            "lora_magnitude_vector is not a matrix of LoRA",
        ),
        (
            {"model.layers.0.mlp.up_proj.lora_A.weight": Tensor("F32", (4, 8))},
            "model.layers.0.mlp.up_proj.lora_A.weight is not a matrix of LoRA",
        ),
        (
            {"base_model.model.model.norm.lora_A.weight": Tensor("F32", (4, 8))},
            "no linear layer model.norm",
        ),
    ],
)
def test_matrices_that_do_not_fit(tensors: dict[str, Tensor], complaint: str) -> None:
    assert complaint in adapter_tensor_problems(AdapterConfig(4, 8, False), tensors, SHAPES)
