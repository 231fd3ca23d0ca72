"""Writes a model as a GGUF file, the way llama.cpp's converter does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import PreTrainedTokenizerFast

from training.models.family import Model, Params


def write_gguf(
    path: Path,
    model: Model,
    params: Params,
    tokenizer: PreTrainedTokenizerFast,
    *,
    pre: str = "gpt-2",
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    extra: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> None:
    """Write all metadata and tensors; ``extra`` metadata and ``tensors`` outweigh the model's."""
    config, name = model.config, model.family.model_type.removesuffix("_text")
    writer = gguf.GGUFWriter(path, name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope.theta)
    if name not in ("granite", "phi3"):
        writer.add_key_length(config.head_dim)
    add_family = FAMILIES.get(name)
    if add_family is not None:
        tensors = {**add_family(writer, config), **(tensors or {})}
    _add_tokenizer(writer, tokenizer, pre)
    for key, value in (extra or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    architecture = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[name]
    table = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for here, value in params.items():
        place, _, suffix = here.rpartition(".")
        array = _neighbouring_pairs(model, here, np.asarray(value))
        if name.startswith("gemma") and here.endswith("norm.weight"):
            array = array + 1
        there = f"{table.get_name(place)}.{suffix}"
        _add_tensor(writer, there, (tensors or {}).get(there, array), kind)
    for there, array in (tensors or {}).items():
        if there not in {tensor for shard in writer.tensors for tensor in shard}:
            _add_tensor(writer, there, array, gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _granite(writer: gguf.GGUFWriter, config: Any) -> dict[str, np.ndarray]:
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_attention_scale(config.attention_multiplier)
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)
    return {}


def _gemma(writer: gguf.GGUFWriter, config: Any) -> dict[str, np.ndarray]:
    writer.add_sliding_window(config.sliding_window)
    if config.attn_logit_softcapping is not None:
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.rope.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope.values["factor"])
    return {}


def _phi3(writer: gguf.GGUFWriter, config: Any) -> dict[str, np.ndarray]:
    writer.add_rope_dimension_count(int(config.head_dim * config.rope.fraction))
    writer.add_sliding_window(config.sliding_window or 0)
    values = config.rope.values
    if not values:
        return {}
    writer.add_rope_scaling_orig_ctx_len(values["original_max_position_embeddings"])
    writer.add_rope_scaling_attn_factors(values["attention_factor"])
    return {
        f"rope_factors_{kind}.weight": np.asarray(values[f"{kind}_factor"], np.float32)
        for kind in ("long", "short")
    }


FAMILIES: dict[str, Callable[[gguf.GGUFWriter, Any], dict[str, np.ndarray]]] = {
    "granite": _granite,
    "gemma2": _gemma,
    "gemma3": _gemma,
    "phi3": _phi3,
}
"""Writers of an architecture's own metadata; they return its tensors besides the weights."""


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, pre: str) -> None:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab(), key=lambda token: tokenizer.get_vocab()[token])
    special = {token["content"] for token in content["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _neighbouring_pairs(model: Model, name: str, value: np.ndarray) -> np.ndarray:
    """llama.cpp turns neighbouring channels in its ``llama`` architecture."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = heads.get(name.split(".")[-2])
    if model.family.model_type not in ("llama", "granite", "smollm3") or count is None:
        return value
    halves = value.reshape(count, 2, config.head_dim // 2, *value.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))


def _add_tensor(
    writer: gguf.GGUFWriter, name: str, array: np.ndarray, kind: gguf.GGMLQuantizationType
) -> None:
    if array.ndim == 1:
        kind = gguf.GGMLQuantizationType.F32
    writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
