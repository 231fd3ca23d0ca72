from __future__ import annotations

from typing import Any

import pytest

from training.budget.dimensions import flops_per_token, matmul_parameters
from training.models.registry import model_from_config

GPT2 = {
    "model_type": "gpt2",
    "n_positions": 32,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "vocab_size": 50,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}


def test_sizes_of_both_kinds() -> None:
    gpt2 = model_from_config({**GPT2, "resid_pdrop": 0.1}).dimensions
    assert (gpt2.layers, gpt2.width, gpt2.heads, gpt2.inner) == (2, 16, 2, 64)
    assert (gpt2.gated, gpt2.dropout, gpt2.attention) == (False, True, 16)
    llama = model_from_config(LLAMA).dimensions
    assert (llama.layers, llama.heads, llama.key_heads, llama.head_width) == (3, 4, 2, 4)
    assert (llama.inner, llama.gated, llama.dropout, llama.vocabulary) == (48, True, False, 50)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # Per layer 16 × 48 + 16 × 16 + 2 × 16 × 64; tied output layer; positions are looked up.
        (GPT2, 2 * (768 + 256 + 2048) + 50 * 16),
        ({**LLAMA, "tie_word_embeddings": True}, 3 * (2 * 256 + 2 * 128 + 3 * 768) + 50 * 16),
        # A separate output layer counts, the input embedding does not.
        ({**LLAMA, "tie_word_embeddings": False}, 3 * (2 * 256 + 2 * 128 + 3 * 768) + 50 * 16),
    ],
)
def test_only_what_is_multiplied_counts(config: dict[str, Any], expected: int) -> None:
    assert matmul_parameters(model_from_config(config)) == expected


def test_of_the_experts_those_of_a_token_count() -> None:
    mixture = {**LLAMA, "model_type": "mixtral", "num_local_experts": 5, "num_experts_per_tok": 2}
    dense = matmul_parameters(model_from_config(LLAMA))
    router, expert = 5 * 16, 3 * 16 * 48
    assert matmul_parameters(model_from_config(mixture)) == dense + 3 * (router + expert)


def test_operations_per_token() -> None:
    model = model_from_config(GPT2)
    weights, attention = matmul_parameters(model), 12 * 2 * 16 * 32
    assert flops_per_token(model, 32, model.parameters) == 6 * weights + attention
    assert flops_per_token(model, 32, 100) == 4 * weights + 600 + attention
