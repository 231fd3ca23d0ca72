from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config

CONFIG: dict[str, Any] = {
    "model_type": "granite",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def test_multipliers_are_one_unless_the_configuration_says_otherwise() -> None:
    config = read_model_config({**CONFIG, "residual_multiplier": 0.22})
    assert config.residual_multiplier == 0.22
    # Unlike other families: not 1 / sqrt(head_dim).
    assert config.attention_multiplier == config.embedding_multiplier == config.logits_scaling == 1


def test_logits_cannot_be_divided_by_zero() -> None:
    with pytest.raises(ValueError, match="logits_scaling must be above 0"):
        read_model_config({**CONFIG, "logits_scaling": 0})
