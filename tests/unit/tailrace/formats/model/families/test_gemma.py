from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import read_model_config
from tailrace.formats.model.families.gemma3 import write

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
GEMMA2 = {"model_type": "gemma2", **SIZES}
GEMMA3 = {"model_type": "gemma3_text", **SIZES}


def test_layers_of_gemma_2_have_a_window_by_turns_and_soft_caps() -> None:
    config = read_model_config(GEMMA2)
    assert config.sliding_layers == (True, False) * 3
    assert (config.sliding_window, config.head_dim) == (4096, 256)
    assert (config.attn_logit_softcapping, config.final_logit_softcapping) == (50, 30)


def test_a_null_turns_window_and_soft_caps_off() -> None:
    off = ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping")
    config = read_model_config({**GEMMA2, **dict.fromkeys(off)})
    assert [getattr(config, name) for name in off] == [None] * 3


def test_every_sixth_layer_of_gemma_3_sees_all_tokens_and_rotates_slowly() -> None:
    config = read_model_config(GEMMA3)
    assert config.sliding_layers == (True,) * 5 + (False,)
    assert (config.rope.theta, config.local_rope.theta) == (1_000_000, 10_000)
    assert config.attn_logit_softcapping is None


def test_rotations_of_gemma_3_have_two_spellings() -> None:
    older = {
        "rope_theta": 700.0,
        "rope_local_base_freq": 90.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    blocks = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 700.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    }
    config = read_model_config({**GEMMA3, **older})
    assert config == read_model_config({**GEMMA3, "rope_parameters": blocks})
    assert (config.rope.kind, config.local_rope.kind) == ("linear", "default")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention must be false"),
        ({"layer_types": ["full_attention"]}, "layer_types must be 6 times"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be a number"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "must have a block for full_attention"),
    ],
)
def test_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_model_config({**GEMMA3, **changes})


def test_a_whole_number_is_saved_as_one() -> None:
    saved = write(read_model_config({**GEMMA3, "query_pre_attn_scalar": 256.0}))
    assert isinstance(saved["query_pre_attn_scalar"], int)
