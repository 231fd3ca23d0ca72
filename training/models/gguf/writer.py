"""GGUF files of models, written tensor by tensor.

A file is read again after it is written: settings and tokenizers that the format, or the reader of
this package, cannot express are refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from training.errors import ConfigError, ModelConfigError
from training.models.exported import ExportedModel
from training.models.family import Model
from training.models.gguf.config import ARCHITECTURES, Architecture, read_config
from training.models.gguf.file import GgufFile
from training.models.gguf.token_metadata import add_tokenizer, require_same_tokens
from training.models.registry import model_from_config
from training.models.rotary import Llama3Scaling, Rotary

if TYPE_CHECKING:
    from gguf import GGUFWriter

_SAME_TENSORS = {"mistral": "llama"}
"""Families without an architecture of their own, and the one whose files they are."""

_UNSTORED = ("initializer_range", "attention_dropout", "bos_token_id", "pad_token_id")
"""Settings that the output of a model does not depend on."""


def write_gguf(path: Path, exported: ExportedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write a model as a GGUF file; vectors are float32, as llama.cpp needs them.

    Raises:
        ModelConfigError: The family, a setting or the tokenizer cannot be exported.
        ConfigError: The package ``gguf`` is missing.
        OSError: The file cannot be written.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise ConfigError("writing GGUF files needs the package gguf: pip install gguf") from error
    model = exported.model
    name = _architecture_name(model)
    architecture = ARCHITECTURES[name]
    writer = gguf.GGUFWriter(path, name)
    rotary = _add_settings(writer, name, model)
    add_tokenizer(writer, tokenizer, model.vocabulary)
    tensors = _tensor_names(name, model)
    for parameter, stored in tensors.items():
        _announce(writer, stored, model.shapes[parameter], _type(exported, parameter))
    for stored, values in rotary.items():
        _announce(writer, stored, values.shape, values.dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for parameter in tensors:
        values = _as_stored(architecture, model, parameter, exported.array(parameter))
        writer.write_tensor_data(values.astype(_type(exported, parameter)))
    for values in rotary.values():
        writer.write_tensor_data(values)
    writer.close()
    _require_same(path, model, tokenizer)


def _architecture_name(model: Model) -> str:
    family = model.family.model_type
    names = {architecture.model_type: name for name, architecture in ARCHITECTURES.items()}
    name = names.get(_SAME_TENSORS.get(family, family))
    if name is None:
        known = ", ".join(sorted([*names, *_SAME_TENSORS]))
        raise ModelConfigError(f"{family} cannot be exported to GGUF; known: {known}")
    return name


def _add_settings(writer: GGUFWriter, name: str, model: Model) -> dict[str, NDArray[np.float32]]:
    """Add the metadata of an architecture; return its tensors that are not parameters."""
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope.theta)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(int(config.head_dim * config.rope.fraction))
    writer.add_vocab_size(config.vocab_size)
    if "attention.sliding_window" in ARCHITECTURES[name].reads:
        writer.add_sliding_window(config.sliding_window or 0)
    if name == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if name in ("gemma2", "gemma3"):
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if getattr(config, key) is not None:
                writer.add_float32(f"{name}.{key}", getattr(config, key))
    if name == "gemma3":
        writer.add_float32(f"{name}.rope.freq_base_swa", config.local_rope.theta)
    return _add_rope(writer, config)


def _add_rope(writer: GGUFWriter, config: Any) -> dict[str, NDArray[np.float32]]:
    """Add the scaling of the rotary embedding; return its tensors."""
    import gguf

    rope = config.rope
    if rope.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope.values["factor"])
    elif rope.kind == "llama3":
        plain = Rotary(rope.theta).frequencies(config.head_dim)
        scaled = Rotary(rope.theta, Llama3Scaling(**rope.values)).frequencies(config.head_dim)
        return {"rope_freqs.weight": np.asarray(plain / scaled, np.float32)}
    elif rope.kind == "longrope":
        writer.add_rope_scaling_orig_ctx_len(rope.values["original_max_position_embeddings"])
        writer.add_rope_scaling_attn_factors(rope.values["attention_factor"])
        return {
            f"rope_factors_{kind}.weight": np.asarray(rope.values[f"{kind}_factor"], np.float32)
            for kind in ("long", "short")
        }
    return {}


def _tensor_names(name: str, model: Model) -> dict[str, str]:
    """Return the file's tensor name of each parameter."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architectures = {name: key for key, name in MODEL_ARCH_NAMES.items()}
    table = get_tensor_name_map(architectures[name], model.config.num_hidden_layers)
    parts = {parameter: parameter.rpartition(".") for parameter in model.shapes}
    return {
        parameter: f"{table.get_name(place)}.{kind}"
        for parameter, (place, _, kind) in parts.items()
    }


def _type(exported: ExportedModel, parameter: str) -> np.dtype[Any]:
    dtype = exported.dtypes[parameter]
    is_vector = len(exported.model.shapes[parameter]) == 1
    return np.dtype(np.float32) if is_vector or dtype.itemsize > 4 else dtype


def _announce(writer: GGUFWriter, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    import gguf

    kinds = gguf.GGMLQuantizationType
    types: Mapping[np.dtype[Any], Any] = {
        np.dtype(np.float32): kinds.F32,
        np.dtype(np.float16): kinds.F16,
        np.dtype(ml_dtypes.bfloat16): kinds.BF16,
    }
    size = math.prod(shape) * dtype.itemsize
    writer.add_tensor_info(name, shape, dtype, size, raw_dtype=types[dtype])


def _as_stored(
    architecture: Architecture, model: Model, name: str, value: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a parameter as llama.cpp's converter stores it; the reader undoes both changes."""
    config = model.config
    if architecture.offset_norms and name.endswith("norm.weight"):
        return value + np.float32(1)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = heads.get(name.split(".")[-2])
    if not architecture.paired or count is None:
        return value
    halves = value.reshape(count, 2, config.head_dim // 2, *value.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))


def _require_same(path: Path, model: Model, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise :class:`ModelConfigError` unless the file's reader returns the model's settings."""
    file = GgufFile(path)
    written = dataclasses.asdict(model_from_config(read_config(file)).config)
    wanted = dataclasses.asdict(model.config)
    lost = sorted(key for key in wanted.keys() - set(_UNSTORED) if written[key] != wanted[key])
    if lost:
        raise ModelConfigError(
            f"a GGUF file of {file.architecture} cannot hold these settings of the model: "
            + ", ".join(f"{key} = {wanted[key]}" for key in lost)
        )
    require_same_tokens(file, tokenizer)
