"""SmolLM3: Llama with layers that do not rotate queries and keys (NoPE, arXiv:2501.18795)."""

from __future__ import annotations

from typing import Any

from tailrace.formats.model.config_reader import MAX_LAYERS, ConfigReader, shorten
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import (
    LlamaConfig,
    llama_family,
    read_common,
    read_windows,
    write_common,
    write_windows,
)
from tailrace.formats.model.rope import with_theta

_KEY_HEADS = 4
_THETA = 2_000_000.0
_INTERVAL = 4


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a SmolLM3."""
    defaults: dict[str, Any] = {"num_key_value_heads": _KEY_HEADS, "tie_word_embeddings": True}
    present = {name: value for name, value in reader.data.items() if value is not None}
    reader.data = with_theta({**defaults, **present}, _THETA)
    biased = reader.flag("attention_bias", False)
    rope_layers = _read_rope_layers(reader)
    _choose_windows(reader, rope_layers)
    return LlamaConfig(
        **read_common(reader),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=reader.flag("mlp_bias", False),
        rope_layers=rope_layers,
        **read_windows(reader),
    )


def _read_rope_layers(reader: ConfigReader) -> tuple[bool, ...]:
    """Return for each layer whether it rotates: ``no_rope_layers`` has 1 for those that do."""
    layers = reader.size("num_hidden_layers", 1, maximum=MAX_LAYERS)
    interval = reader.size("no_rope_layer_interval", _INTERVAL)
    flags = reader.data.get("no_rope_layers")
    if flags is None:
        return tuple((layer + 1) % interval != 0 for layer in range(layers))
    if not isinstance(flags, list) or len(flags) < layers or any(f not in (0, 1) for f in flags):
        reader.wrong(f"no_rope_layers must be {layers} times 0 or 1, not {shorten(flags)}")
        return (True,) * layers
    return tuple(bool(flag) for flag in flags[:layers])


def _choose_windows(reader: ConfigReader, rope_layers: tuple[bool, ...]) -> None:
    """Set ``layer_types`` where it is absent: layers without rotation have the window."""
    if reader.data.get("layer_types") is None:
        types = ["full_attention" if rotates else "sliding_attention" for rotates in rope_layers]
        reader.data = {**reader.data, "layer_types": types}


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    biases = {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}
    rope_layers = {"no_rope_layers": [int(rotates) for rotates in config.rope_layers]}
    windows = {k: v for k, v in write_windows(config).items() if k != "max_window_layers"}
    return {**write_common(config), **biases, **windows, **rope_layers}


FAMILY = llama_family("smollm3", "SmolLM3ForCausalLM", read, write, TokenizerRule())
"""SmolLM3's record."""
