"""The config.json that a GGUF file's metadata describes, by its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.errors import ModelConfigError
from training.models.gguf.file import GgufFile
from training.models.rotary import Llama3Scaling, Rotary

_LONGROPE_TENSORS = {f"{kind}_factor": f"rope_factors_{kind}.weight" for kind in ("long", "short")}
"""Tensors with the divisors of LongRoPE, by their keys of config.json."""

_SIZES = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
}
_ROTATED = "rope.dimension_count"
"""Setting for the number of rotated channels of a head."""

_REFUSED: dict[str, Any] = {
    "expert_count": 0,
    "attention.causal": True,
    "attention.sliding_window": 0,
    "attention.sliding_window_pattern": 0,
    "attn_logit_softcapping": 0,
    "final_logit_softcapping": 0,
    "embedding_scale": 0,
    "residual_scale": 0,
    "logit_scale": 0,
    "attention.scale": 0,
    "rope.freq_base_swa": 0,
    "rope.scaling.attn_factor": 1,
}
"""Settings that change what an architecture computes, each with the value that does not; an
architecture names those that it reads."""


@dataclass(frozen=True)
class Architecture:
    """Facts about one ``general.architecture``."""

    model_type: str
    """Model family."""
    paired: bool = False
    """True if the channels of a rotary pair are neighbours in the rows of queries and keys."""
    offset_norms: bool = False
    """True if factors of norms are stored as 1 + weight."""
    further: Callable[[GgufFile, Mapping[str, Any]], dict[str, Any]] = lambda _file, _config: {}
    """Returns further keys of config.json from the file and the common keys."""
    reads: tuple[str, ...] = ()
    """Settings that ``further`` reads and other architectures do not have."""
    tensors: tuple[str, ...] = ("rope_freqs.weight",)
    """Tensors that belong to the configuration: divisors of the rotary frequencies."""


def read_config(file: GgufFile) -> dict[str, Any]:
    """Return the config.json of a file.

    Raises:
        ModelConfigError: The architecture, or a setting of it, is not converted.
    """
    architecture = architecture_of(file)
    refused = [
        name
        for name, neutral in _REFUSED.items()
        if name not in architecture.reads and file.setting(name) not in (None, neutral, "none")
    ]
    _require_converted(file, refused)
    config = _sizes(file)
    heads = config["num_attention_heads"]
    width = file.setting("attention.key_length") or file.setting(_ROTATED)
    if "token_embd.weight" in file.names:
        config["vocab_size"] = file.shape("token_embd.weight")[0]
    width = width or config["hidden_size"] // heads
    # llama.cpp would rotate a part of the channels, or refuse the file.
    if _ROTATED not in architecture.reads and file.setting(_ROTATED) not in (None, width):
        _require_converted(file, [_ROTATED])
    config |= {
        "model_type": architecture.model_type,
        "num_key_value_heads": file.setting("attention.head_count_kv") or heads,
        "head_dim": width,
        "rms_norm_eps": shortest(file.setting("attention.layer_norm_rms_epsilon")),
        "rope_theta": file.setting("rope.freq_base"),
        "attention_bias": "blk.0.attn_output.bias" in file.names,
        "tie_word_embeddings": "output.weight" not in file.names,
        "bos_token_id": file.special("bos"),
        "pad_token_id": file.special("padding"),
    }
    config["rope_scaling"] = _scaling(file, config)
    return config | architecture.further(file, config)


def _require_converted(file: GgufFile, refused: Sequence[str]) -> None:
    """Raise :class:`ModelConfigError` if there is a setting that is not converted."""
    if refused:
        values = ", ".join(f"{name} = {file.setting(name)}" for name in refused)
        raise ModelConfigError(f"{file.path}: not converted: {values}")


def _sizes(file: GgufFile) -> dict[str, Any]:
    sizes = {name: file.setting(key) for name, key in _SIZES.items()}
    wrong = [_SIZES[name] for name, size in sizes.items() if type(size) is not int or size < 1]
    if wrong:
        raise ModelConfigError(
            f"{file.path}: {', '.join(wrong)} of {file.architecture} must be a whole number above 0"
        )
    # Every layer has tensors; a model of thousands of layers is not described in vain.
    if sizes["num_hidden_layers"] > len(file.names):
        raise ModelConfigError(
            f"{file.path}: block_count = {sizes['num_hidden_layers']}, but the file has "
            f"{len(file.names)} tensors only"
        )
    return sizes


def architecture_of(file: GgufFile) -> Architecture:
    """Return the facts about a file's architecture. Raises :class:`ModelConfigError`."""
    if file.architecture not in ARCHITECTURES:
        raise ModelConfigError(
            f"{file.path}: architecture {file.architecture!r} is not converted; "
            f"known: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[file.architecture]


def shortest(value: Any) -> Any:
    """Return the shortest decimal of a float32: 1e-05, not 9.9999997e-06.

    Other values than numbers stay as in the file, for the reader of config.json to refuse.
    """
    is_number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    return float(str(np.float32(value))) if is_number else value


def _scaling(file: GgufFile, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the rotary scaling that all architectures store alike."""
    kind = file.setting("rope.scaling.type")
    if "rope_freqs.weight" in file.names:
        return _llama3_scaling(file, int(config["head_dim"]), float(config["rope_theta"] or 10_000))
    factor = shortest(file.setting("rope.scaling.factor") or file.setting("rope.scale_linear"))
    # To llama.cpp a factor without a type is a linear one.
    if kind == "linear" or (kind is None and factor not in (None, 0, 1)):
        return {"rope_type": "linear", "factor": factor}
    longrope = kind == "longrope" and file.architecture == "phi3"
    if kind not in (None, "none") and not longrope:
        raise ModelConfigError(f"{file.path}: not converted: rope.scaling.type = {kind}")
    return None


def _llama3_scaling(file: GgufFile, width: int, theta: float) -> dict[str, Any]:
    """Return Llama 3's rotary scaling, which GGUF stores as a divisor per frequency."""
    divisors = file.tensor("rope_freqs.weight")
    # All Llama 3 models share the other three values, which are checked below.
    scaling = Llama3Scaling(float(divisors.max()), 8192)
    plain = Rotary(theta).frequencies(width)
    if not np.allclose(plain / scaling.scale(plain, theta), divisors, rtol=1e-3):
        raise ModelConfigError(f"{file.path}: rope_freqs.weight is not Llama 3's rotary scaling")
    return {"rope_type": "llama3", **asdict(scaling)}


def _granite(file: GgufFile, _: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "attention_multiplier": "attention.scale",
        "embedding_multiplier": "embedding_scale",
        "residual_multiplier": "residual_scale",
        "logits_scaling": "logit_scale",
    }
    return {name: shortest(file.setting(key)) for name, key in names.items()}


def _smollm3(_: GgufFile, config: Mapping[str, Any]) -> dict[str, Any]:
    # llama.cpp leaves the rotation of every fourth layer out, without a key for it.
    layers = int(config["num_hidden_layers"])
    return {"no_rope_layers": [int((layer + 1) % 4 != 0) for layer in range(layers)]}


_LARGEST_GEMMAS = {("gemma2", 46), ("gemma3", 62)}
"""Architecture and number of layers of the models of 27 billion parameters."""


def _gemma(file: GgufFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a Gemma; llama.cpp knows the others from the architecture."""
    largest = (file.architecture, config["num_hidden_layers"]) in _LARGEST_GEMMAS
    heads = config["num_attention_heads"]
    window = file.setting("attention.sliding_window")
    return {
        "query_pre_attn_scalar": config["hidden_size"] // heads if largest else config["head_dim"],
        "sliding_window": window or None,
        "final_logit_softcapping": shortest(file.setting("final_logit_softcapping")),
        "attn_logit_softcapping": shortest(file.setting("attn_logit_softcapping")),
    }


def _gemma3(file: GgufFile, config: Mapping[str, Any]) -> dict[str, Any]:
    full = {"rope_type": "default", **(config["rope_scaling"] or {})}
    local = {"rope_type": "default", "rope_theta": file.setting("rope.freq_base_swa") or 10_000.0}
    ropes = {
        "full_attention": {**full, "rope_theta": config["rope_theta"]},
        "sliding_attention": local,
    }
    return {**_gemma(file, config), "rope_parameters": ropes, "rope_scaling": None}


def _phi3(file: GgufFile, config: Mapping[str, Any]) -> dict[str, Any]:
    width = config["hidden_size"] // config["num_attention_heads"]
    rotated = file.setting(_ROTATED) or width
    if type(rotated) is not int:
        raise ModelConfigError(f"{file.path}: {_ROTATED} must be a whole number, not {rotated!r}")
    original = file.setting("rope.scaling.original_context_length")
    content = {
        "head_dim": None,
        "sliding_window": file.setting("attention.sliding_window") or None,
        "partial_rotary_factor": rotated / width,
        "original_max_position_embeddings": original,
    }
    if not file.names.intersection(_LONGROPE_TENSORS.values()):
        return content
    missing = sorted(set(_LONGROPE_TENSORS.values()) - file.names)
    if missing:
        raise ModelConfigError(f"{file.path}: {missing[0]} is missing")
    factors = {
        name: [shortest(factor) for factor in file.tensor(tensor).reshape(-1)]
        for name, tensor in _LONGROPE_TENSORS.items()
    }
    magnitude = shortest(file.setting("rope.scaling.attn_factor"))
    return {
        **content,
        "rope_scaling": {"rope_type": "longrope", "attention_factor": magnitude, **factors},
    }


_GEMMA_READS = ("attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping")

ARCHITECTURES: dict[str, Architecture] = {
    # A Mistral has llama as general.architecture.
    "llama": Architecture("llama", paired=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "olmo2": Architecture("olmo2"),
    "granite": Architecture(
        "granite",
        paired=True,
        further=_granite,
        reads=("attention.scale", "embedding_scale", "residual_scale", "logit_scale"),
    ),
    "smollm3": Architecture("smollm3", paired=True, further=_smollm3),
    "gemma2": Architecture("gemma2", offset_norms=True, further=_gemma, reads=_GEMMA_READS),
    "gemma3": Architecture(
        "gemma3_text",
        offset_norms=True,
        further=_gemma3,
        reads=(*_GEMMA_READS, "rope.freq_base_swa"),
    ),
    "phi3": Architecture(
        "phi3",
        further=_phi3,
        reads=("attention.sliding_window", "rope.scaling.attn_factor", _ROTATED),
        tensors=tuple(_LONGROPE_TENSORS.values()),
    ),
}
"""Architectures that can be converted."""
