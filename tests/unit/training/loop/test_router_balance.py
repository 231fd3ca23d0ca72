from __future__ import annotations

import pytest

from tailrace.formats.spec.run_spec import TrainSpec
from training.errors import ConfigError
from training.loop.router_balance import choose_balance
from training.models.registry import model_from_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}


def test_a_model_without_experts_has_none_to_balance() -> None:
    model = model_from_config(LLAMA)
    assert choose_balance(model, TrainSpec(max_steps=1, router_aux_loss_coef=0)) is None
    with pytest.raises(ConfigError, match=r"^train.router_aux_loss_coef .* none: leave it out$"):
        choose_balance(model, TrainSpec(max_steps=1, router_aux_loss_coef=0.01))
