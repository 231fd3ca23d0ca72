"""Mixtral (Jiang et al., arXiv:2401.04088): Mistral with eight experts in every layer."""

from __future__ import annotations

from typing import Any

from tailrace.formats.model.config_reader import ConfigReader
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.model.families.llama import read_common, write_common
from tailrace.formats.model.families.mixture import (
    MAX_EXPERTS,
    MixtureConfig,
    mixture_family,
    read_router,
    write_router,
)
from tailrace.formats.model.rope import with_theta

_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "num_experts_per_tok": 2,
}
_THETA = 1_000_000.0
_EXPERTS = 8


def read(reader: ConfigReader) -> MixtureConfig:
    """Read the configuration of a Mixtral."""
    present = {name: value for name, value in reader.data.items() if value is not None}
    reader.data = with_theta({**_DEFAULTS, **present}, _THETA)
    reader.fixed({"router_jitter_noise": 0.0})
    common = read_common(reader)
    layers = common["num_hidden_layers"]
    window = None
    if reader.data.get("sliding_window") is not None:
        window = reader.size("sliding_window")
    experts = reader.size("num_local_experts", _EXPERTS, maximum=MAX_EXPERTS)
    return MixtureConfig(
        **common,
        **read_router(reader, experts),
        sliding_window=window,
        sliding_layers=() if window is None else (True,) * layers,
        expert_size=common["intermediate_size"],
        sparse_layers=(True,) * layers,
        sparse_name="block_sparse_moe",
        expert_names=("w1", "w3", "w2"),
    )


def write(config: MixtureConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    sizes = {"num_local_experts": config.experts, "sliding_window": config.sliding_window}
    return {**write_common(config), **write_router(config), **sizes}


FAMILY = mixture_family("mixtral", "MixtralForCausalLM", read, write, TokenizerRule(fixed=True))
"""Mixtral's record, for 8x7B and 8x22B."""
