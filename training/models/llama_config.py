"""The configuration of Llama and of the families that differ from it in switches only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.models.config_json import ConfigReader
from training.models.layers import ACTIVATIONS
from training.models.rotary import Rotary, dump_rotary, parse_rotary

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
_FULL, _SLIDING = "full_attention", "sliding_attention"


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


def read_common(
    reader: ConfigReader, *, head_dim: int | None = None, **switches: Any
) -> LlamaConfig:
    """Read what all these families have in common; ``switches`` are a family's own fields.

    ``head_dim`` is the family's default head width; without one, the heads share the channels.
    Raises :class:`training.errors.ModelConfigError` naming every wrong key.
    """
    sizes: dict[str, Any] = {name: reader.size(name) for name in _SIZES}
    heads = sizes["num_attention_heads"]
    key_heads = reader.size("num_key_value_heads", heads)
    width = reader.size("head_dim", head_dim or max(1, sizes["hidden_size"] // heads))
    shared = head_dim is None and reader.data.get("head_dim") is None
    if shared and sizes["hidden_size"] % heads:
        reader.wrong(f"hidden_size {sizes['hidden_size']} must be a multiple of {heads} heads")
    if heads % key_heads:
        reader.wrong(f"num_attention_heads {heads} must be a multiple of {key_heads} key heads")
    if width % 2:
        reader.wrong(f"head_dim must be even, not {width}")
    config = LlamaConfig(
        **sizes,
        num_key_value_heads=key_heads,
        head_dim=width,
        rotary=parse_rotary(reader),
        hidden_act=reader.choice("hidden_act", "silu", ACTIVATIONS),
        rms_norm_eps=reader.number("rms_norm_eps", 1e-6),
        initializer_range=reader.number("initializer_range", 0.02),
        attention_dropout=reader.number("attention_dropout", 0.0, maximum=1.0),
        tie_word_embeddings=reader.flag("tie_word_embeddings", False),
        bos_token_id=reader.token("bos_token_id"),
        pad_token_id=reader.token("pad_token_id"),
        **switches,
    )
    reader.finish()
    return config


def read_windows(reader: ConfigReader) -> dict[str, Any]:
    """The sliding window of the Qwen families: ``layer_types``, or the count before them."""
    layers = reader.size("num_hidden_layers")
    if not reader.flag("use_sliding_window", False) or reader.data.get("sliding_window") is None:
        return {}
    first = reader.size("max_window_layers", layers, minimum=0)
    types = reader.data.get("layer_types")
    if types is None:
        types = [_FULL if layer < first else _SLIDING for layer in range(layers)]
    known = isinstance(types, list) and all(kind in (_FULL, _SLIDING) for kind in types)
    if not known or len(types) != layers:
        reader.wrong(f"layer_types must be {layers} times {_FULL} or {_SLIDING}, not {types!r}")
        types = []
    slides = tuple(kind == _SLIDING for kind in types)
    return {"sliding_window": reader.size("sliding_window"), "sliding_layers": slides}


def dump_windows(config: LlamaConfig) -> dict[str, Any]:
    """The inverse of :func:`read_windows`, in both spellings."""
    slides = config.sliding_layers or (False,) * config.num_hidden_layers
    return {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "max_window_layers": slides.count(False),
        "layer_types": [_SLIDING if slide else _FULL for slide in slides],
    }


def dump_common(config: LlamaConfig) -> dict[str, Any]:
    """The inverse of :func:`read_common`."""
    names = (
        *_SIZES,
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
