from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config

CONFIG: dict[str, Any] = {
    "model_type": "mistral",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


@pytest.mark.parametrize(
    ("changes", "window", "layers"),
    [
        ({}, 4096, (True, True)),
        ({"sliding_window": None}, None, ()),
        ({"sliding_window": 8}, 8, (True, True)),
    ],
)
def test_every_layer_slides_unless_the_window_is_null(
    changes: dict[str, Any], window: int | None, layers: tuple[bool, ...]
) -> None:
    config = read_model_config({**CONFIG, **changes})
    assert (config.sliding_window, config.sliding_layers) == (window, layers)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="sliding_window must be a whole number"):
        read_model_config({**CONFIG, "sliding_window": 0})
