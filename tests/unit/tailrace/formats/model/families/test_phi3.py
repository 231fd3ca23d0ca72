from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.tensors import expected_shapes

CONFIG: dict[str, Any] = {
    "model_type": "phi3",
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.5, 2.0],
    "long_factor": [2.0, 3.0, 4.0],
}
LONG = {
    **CONFIG,
    "original_max_position_embeddings": 32,
    "partial_rotary_factor": 0.75,
    "rope_scaling": LONGROPE,
}


def test_projections_are_fused() -> None:
    shapes = expected_shapes(CONFIG)
    assert shapes["model.layers.0.self_attn.qkv_proj.weight"] == (32 + 2 * 16, 32)
    assert shapes["model.layers.0.mlp.gate_up_proj.weight"] == (48, 32)


def test_all_layers_have_the_window() -> None:
    config = read_model_config({**CONFIG, "sliding_window": 7})
    assert (config.sliding_window, config.sliding_layers) == (7, (True, True))
    assert read_model_config(CONFIG).sliding_layers == ()


def test_longrope_has_the_whole_context_and_keys_that_hold_in_the_original_one() -> None:
    config = read_model_config(LONG)
    assert (config.rope.kind, config.rope.fraction) == ("longrope", 0.75)
    assert config.rope.values["factor"] == 4
    sizes = FAMILIES["phi3"].dimensions(config)
    assert (sizes.context, sizes.cache_limit) == (128, 32)


@pytest.mark.parametrize("word", ["su", "yarn"])
def test_old_words_for_longrope_are_read(word: str) -> None:
    old = {**LONG, "rope_scaling": {**LONGROPE, "type": word}}
    assert read_model_config(old) == read_model_config(LONG)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"resid_pdrop": 0.1}, "resid_pdrop must be 0.0"),
        ({"rope_scaling": {**LONGROPE, "short_factor": [1.0]}}, "short_factor must be a list of 3"),
        ({"rope_scaling": {**LONGROPE, "long_factor": [1, 2, -3]}}, "long_factor must be a list"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, "must be default or longrope"),
        ({"partial_rotary_factor": 0.9}, "must rotate an even number of channels"),
    ],
)
def test_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_model_config({**LONG, **changes})
