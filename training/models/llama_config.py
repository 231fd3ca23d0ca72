"""The configuration of Llama and of the families that differ from it in switches only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model import config
from tailrace.formats.model.config import FULL, LLAMA_SIZES, SLIDING
from training.models.config_json import ConfigReader
from training.models.rotary import Rotary, dump_rotary, rotary_of


@dataclass(frozen=True)
class LlamaConfig:
    """The hyperparameters, named as in Hugging Face's ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    """Longest sequence in tokens."""
    rotary: Rotary
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = False
    """Whether the output layer is the input embedding."""
    qkv_bias: bool = False
    """Whether the projections to queries, keys and values have biases."""
    output_bias: bool = False
    """Whether the projection behind the attention has a bias."""
    mlp_bias: bool = False
    """Whether the feed-forward layer has biases."""
    qk_norm: bool = False
    """Whether each head's queries and keys are normalized before they are turned."""
    sliding_window: int | None = None
    """How many of the newest tokens the layers in ``sliding_layers`` look at."""
    sliding_layers: tuple[bool, ...] = ()
    """For each layer, whether it is confined to the window; empty when there is none."""
    bos_token_id: int | None = None
    pad_token_id: int | None = None


def parse_with(
    read: Callable[[config.ConfigReader], config.Values], data: Mapping[str, Any]
) -> LlamaConfig:
    """Return the configuration that a family's reader finds in ``config.json``.

    Raises:
        ModelConfigError: It names every wrong key.
    """
    reader = ConfigReader(data)
    values = read(reader)
    reader.finish()
    return LlamaConfig(rotary=rotary_of(values.pop("rope")), **values)


def dump_windows(config: LlamaConfig) -> dict[str, Any]:
    """What ``config.json`` says about sliding windows, in both spellings."""
    slides = config.sliding_layers or (False,) * config.num_hidden_layers
    return {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "max_window_layers": slides.count(False),
        "layer_types": [SLIDING if slide else FULL for slide in slides],
    }


def dump_common(config: LlamaConfig) -> dict[str, Any]:
    """What ``config.json`` says in all these families."""
    names = (
        *LLAMA_SIZES,
        "num_key_value_heads",
        "head_dim",
        "hidden_act",
        "rms_norm_eps",
        "initializer_range",
        "attention_dropout",
        "tie_word_embeddings",
        "bos_token_id",
        "pad_token_id",
    )
    return {**{name: getattr(config, name) for name in names}, **dump_rotary(config.rotary)}
