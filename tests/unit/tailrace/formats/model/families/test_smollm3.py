from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config

CONFIG: dict[str, Any] = {
    "model_type": "smollm3",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def test_every_fourth_layer_does_not_rotate_by_default() -> None:
    config = read_model_config(CONFIG)
    assert config.rope_layers == (True, True, True, False)
    assert (config.rope.theta, config.num_key_value_heads) == (2_000_000, 4)
    assert config.tie_word_embeddings


def test_the_window_goes_with_layers_that_do_not_rotate() -> None:
    windowed = {"use_sliding_window": True, "sliding_window": 8}
    config = read_model_config({**CONFIG, **windowed, "no_rope_layers": [1, 0, 1, 0]})
    assert config.rope_layers == (True, False, True, False)
    assert config.sliding_layers == (False, True, False, True)


@pytest.mark.parametrize("flags", [[1, 0], [1, 0, 2, 1], "none"])
def test_wrong_layers_are_refused(flags: object) -> None:
    with pytest.raises(ValueError, match="no_rope_layers must be 4 times 0 or 1"):
        read_model_config({**CONFIG, "no_rope_layers": flags})
