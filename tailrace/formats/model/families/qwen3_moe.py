"""Qwen3-MoE (arXiv:2505.09388): Qwen3 with experts in some or all layers."""

from __future__ import annotations

from typing import Any

from tailrace.formats.model.config_reader import MAX_LAYERS, ConfigReader, shorten
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import read_common, write_common
from tailrace.formats.model.families.mixture import (
    MAX_EXPERTS,
    MixtureConfig,
    mixture_family,
    read_router,
    write_router,
)

_EXPERTS = 128
_ACTIVE = 8
_EXPERT_SIZE = 768
_WINDOW = 4096


def read(reader: ConfigReader) -> MixtureConfig:
    """Read the configuration of a Qwen3-MoE."""
    present = {name: value for name, value in reader.data.items() if value is not None}
    reader.data = {"num_experts_per_tok": _ACTIVE, **present}
    biased = reader.flag("attention_bias", False)
    # A null window is none, also where windows are in use; an absent one has a default.
    in_use = reader.flag("use_sliding_window", False)
    window = reader.size("sliding_window", _WINDOW) if in_use else None
    layers = reader.size("num_hidden_layers", 1, maximum=MAX_LAYERS)
    return MixtureConfig(
        **read_common(reader),
        **read_router(reader, _read_experts(reader)),
        qkv_bias=biased,
        output_bias=biased,
        qk_norm=True,
        sliding_window=window,
        sliding_layers=() if window is None else (True,) * layers,
        expert_size=reader.size("moe_intermediate_size", _EXPERT_SIZE),
        normalized=reader.flag("norm_topk_prob", False),
        sparse_layers=_read_sparse_layers(reader, layers),
    )


def _read_experts(reader: ConfigReader) -> int:
    """Return the number of experts; transformers 5 writes it under another name than before."""
    experts = reader.size("num_local_experts", _EXPERTS, maximum=MAX_EXPERTS)
    if reader.data.get("num_experts") is None:
        return experts
    count = reader.size("num_experts", maximum=MAX_EXPERTS)
    if reader.data.get("num_local_experts") is not None and count != experts:
        reader.wrong(f"num_experts {count} must equal num_local_experts {experts}")
    return count


def _read_sparse_layers(reader: ConfigReader, layers: int) -> tuple[bool, ...]:
    """Return for each layer whether it has experts.

    Every ``decoder_sparse_step``-th has, unless ``mlp_only_layers`` lists it.
    """
    step = reader.size("decoder_sparse_step", 1)
    dense = reader.data.get("mlp_only_layers") or []
    if not isinstance(dense, list) or not all(type(layer) is int for layer in dense):
        reader.wrong(f"mlp_only_layers must be a list of layer numbers, not {shorten(dense)}")
        dense = []
    names = set(dense)
    return tuple((layer + 1) % step == 0 and layer not in names for layer in range(layers))


def write(config: MixtureConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    sparse = enumerate(config.sparse_layers)
    return {
        **write_common(config),
        **write_router(config),
        "attention_bias": config.qkv_bias,
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "num_experts": config.experts,
        "moe_intermediate_size": config.expert_size,
        "norm_topk_prob": config.normalized,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [layer for layer, is_sparse in sparse if not is_sparse],
    }


FAMILY = mixture_family(
    "qwen3_moe", "Qwen3MoeForCausalLM", read, write, TokenizerRule("Qwen2Tokenizer")
)
"""Qwen3-MoE's record."""
