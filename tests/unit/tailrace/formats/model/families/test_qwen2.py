from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.tensors import expected_shapes

CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}

SLIDING = {"sliding_window": 8, "use_sliding_window": True}


def test_queries_keys_and_values_have_biases() -> None:
    shapes = expected_shapes(CONFIG)
    biases = {name.partition("layers.0.")[2] for name in shapes if name.endswith("bias")}
    assert biases - {""} == {f"self_attn.{part}_proj.bias" for part in "qkv"}


@pytest.mark.parametrize(
    ("changes", "window", "layers"),
    [
        ({"sliding_window": 8}, None, ()),
        (SLIDING, 8, (False, False)),
        ({**SLIDING, "max_window_layers": 1}, 8, (False, True)),
        ({**SLIDING, "max_window_layers": 0}, 8, (True, True)),
        ({**SLIDING, "layer_types": ["sliding_attention", "full_attention"]}, 8, (True, False)),
    ],
)
def test_the_layers_that_slide(
    changes: dict[str, Any], window: int | None, layers: tuple[bool, ...]
) -> None:
    config = read_model_config({**CONFIG, **changes})
    assert (config.sliding_window, config.sliding_layers) == (window, layers)


@pytest.mark.parametrize(
    "types", [["full_attention"], ["full_attention", "linear"], "full", [1, 2], [[], {}]]
)
def test_wrong_layer_types(types: Any) -> None:
    with pytest.raises(ValueError, match="layer_types must be 2 times full_attention or"):
        read_model_config({**CONFIG, **SLIDING, "layer_types": types})
