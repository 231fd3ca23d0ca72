"""What config.json says about a model: one reading for imports and for the training library.

Keys are Hugging Face's. Each family's reader returns the values that the training library builds
its modules from, and collects every wrong key.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SIZE = 2**31 - 1
"""Largest size of anything in a model."""

MAX_LAYERS = 10_000
"""Most layers of a model."""

ACTIVATIONS = (
    *("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "quick_gelu"),
    *("relu", "silu", "swish"),
)
"""Activations of the feed-forward layer."""

ROPE_KINDS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": (
        *("factor", "original_max_position_embeddings"),
        *("low_freq_factor", "high_freq_factor"),
    ),
    "yarn": (
        *("factor", "original_max_position_embeddings"),
        *("beta_fast", "beta_slow", "attention_factor"),
    ),
}
"""Scalings of rotary positions by ``rope_type``, with their settings; ``default`` is none."""

LLAMA_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
GPT2_REFUSED = {
    "add_cross_attention": False,
    "reorder_and_upcast_attn": False,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
}
"""Switches of GPT-2's configuration that are supported with this value only."""

FULL, SLIDING = "full_attention", "sliding_attention"
"""Words of ``layer_types``."""

_ROPE_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "truncate"}
_MISTRAL_WINDOW = 4096
_QWEN3_HEAD_DIM = 128


class ConfigReader:
    """Takes values out of a parsed ``config.json`` and collects what is wrong with them.

    A null counts as absent, as in transformers. After a wrong value a harmless one is returned, so
    that reading goes on.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.problems: list[str] = []
        """What was found wrong so far."""

    def wrong(self, message: str) -> None:
        """Report a problem; the message names its key."""
        self.problems.append(message)

    def size(
        self, name: str, default: int | None = None, minimum: int = 1, maximum: int = MAX_SIZE
    ) -> int:
        """Return a whole number within its bounds; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        if value is None:
            self.wrong(f"{name} is missing")
            return minimum
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            self.wrong(f"{name} must be a whole number of at least {minimum}, not {_text(value)}")
            return minimum
        if value > maximum:
            self.wrong(f"{name} must be at most {maximum}, not {_text(value)}")
            return minimum
        return value

    def number(
        self,
        name: str,
        default: float | None,
        minimum: float = 0.0,
        maximum: float = sys.float_info.max,
    ) -> float:
        """Return a number within its bounds; required unless there is a default."""
        value = self.data.get(name)
        value = default if value is None else value
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or value is None or not minimum <= value <= maximum:
            bounds = f"from {minimum:g} to {maximum:g}"
            self.wrong(f"{name} must be a number {bounds}, not {_text(value)}")
            return minimum
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.wrong(f"{name} must be true or false, not {_text(value)}")
            return default
        return value

    def choice(self, name: str, default: str, known: Iterable[str]) -> str:
        """Return one of the known words."""
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, str) or value not in known:
            self.wrong(f"{name} must be one of {', '.join(known)}, not {_text(value)}")
            return default
        return value

    def token(self, name: str) -> int | None:
        """Return a token id, the first of a list, or nothing."""
        value = self.data.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.wrong(f"{name} must be a token id, not {_text(value)}")
        return None

    def fixed(self, values: Mapping[str, Any]) -> None:
        """Refuse every key that is there with a value other than the one supported."""
        for name, value in values.items():
            if self.data.get(name, value) != value:
                self.wrong(f"{name} must be {value!r}, not {_text(self.data[name])}")


@dataclass(frozen=True)
class Rope:
    """How positions turn queries and keys."""

    theta: float = 10_000.0
    """Base of the wavelengths."""
    kind: str = "default"
    """A name of :data:`ROPE_KINDS`, or ``default``."""
    values: dict[str, float] = field(default_factory=dict)
    """The scaling's settings; absent ones have their defaults."""


Values = dict[str, Any]
"""A configuration by key; ``rope`` holds a :class:`Rope`."""


def read_gpt2(reader: ConfigReader) -> Values:
    """Read GPT-2's configuration."""
    reader.fixed(GPT2_REFUSED)
    sizes: Values = {
        name: reader.size(name) for name in ("vocab_size", "n_positions", "n_embd", "n_head")
    }
    sizes["n_layer"] = reader.size("n_layer", maximum=MAX_LAYERS)
    if sizes["n_embd"] % sizes["n_head"]:
        reader.wrong(f"n_embd {sizes['n_embd']} must be a multiple of n_head {sizes['n_head']}")
    rates = {
        name: reader.number(name, 0.1, maximum=1.0)
        for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")
    }
    return {
        **sizes,
        **rates,
        "n_inner": reader.size("n_inner", 4 * sizes["n_embd"]),
        "activation_function": reader.choice("activation_function", "gelu_new", ACTIVATIONS),
        "layer_norm_epsilon": reader.number("layer_norm_epsilon", 1e-5),
        "initializer_range": reader.number("initializer_range", 0.02),
        "tie_word_embeddings": reader.flag("tie_word_embeddings", True),
    }


def read_llama(reader: ConfigReader) -> Values:
    """Read Llama's configuration."""
    biased = reader.flag("attention_bias", False)
    return {
        **_read_common(reader),
        "qkv_bias": biased,
        "output_bias": biased,
        "mlp_bias": reader.flag("mlp_bias", False),
    }


def read_mistral(reader: ConfigReader) -> Values:
    """Read Mistral's configuration."""
    common = _read_common(reader)
    # Absent means the original's window, null means none.
    if reader.data.get("sliding_window", _MISTRAL_WINDOW) is None:
        return common
    window = reader.size("sliding_window", _MISTRAL_WINDOW)
    slides = (True,) * common["num_hidden_layers"]
    return {**common, "sliding_window": window, "sliding_layers": slides}


def read_qwen2(reader: ConfigReader) -> Values:
    """Read Qwen2's configuration."""
    return {**_read_common(reader), "qkv_bias": True, **_read_windows(reader)}


def read_qwen3(reader: ConfigReader) -> Values:
    """Read Qwen3's configuration."""
    biased = reader.flag("attention_bias", False)
    return {
        **_read_common(reader, head_dim=_QWEN3_HEAD_DIM),
        "qkv_bias": biased,
        "output_bias": biased,
        "qk_norm": True,
        **_read_windows(reader),
    }


READERS: dict[str, Callable[[ConfigReader], Values]] = {
    "gpt2": read_gpt2,
    "llama": read_llama,
    "mistral": read_mistral,
    "qwen2": read_qwen2,
    "qwen3": read_qwen3,
}
"""By ``model_type``: every family that can be loaded."""


def read_model_config(config: Mapping[str, Any]) -> Values:
    """Read a whole config.json.

    Raises:
        ValueError: Everything in it that no run can use; the message is a list of sentences.
    """
    problem = family_problem(config)
    if problem:
        raise ValueError(problem)
    reader = ConfigReader(config)
    values = READERS[config["model_type"]](reader)
    if reader.problems:
        raise ValueError("; ".join(reader.problems))
    return values


def family_problem(config: Mapping[str, Any]) -> str:
    """Return why no family reads a configuration; empty when one does."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in READERS:
        known = ", ".join(READERS)
        named = "a missing model_type" if name is None else f"model_type {_text(name)}"
        nested = "; its language model is in text_config: save that one on its own"
        inside = nested if isinstance(config.get("text_config"), Mapping) else ""
        code = "; code of its own (auto_map) is never run" if "auto_map" in config else ""
        return f"{named} is not supported{code}{inside}; known: {known}"
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            return (
                f"quantized weights ({key}) are not supported: give the model as it was before "
                "its quantization"
            )
    return ""


def read_rope(reader: ConfigReader) -> Rope:
    """Read ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling`` (4)."""
    data = reader.data
    block = data.get("rope_scaling") or data.get("rope_parameters") or {}
    if not isinstance(block, Mapping):
        reader.wrong(f"rope_parameters must be an object, not {_text(block)}")
        return Rope()
    outer = {name: data.get(name) for name in ("rope_theta", "partial_rotary_factor")}
    named = {**{k: v for k, v in outer.items() if v is not None}, **block}
    rope = ConfigReader({name: value for name, value in named.items() if value is not None})
    layered = sorted(name for name, value in rope.data.items() if isinstance(value, Mapping))
    if layered:
        rope.wrong(f"{layered[0]} is not supported: one setting must hold for all layers")
    kind = rope.data.get("rope_type") or rope.data.get("type") or "default"
    theta = rope.number("rope_theta", 10_000.0, minimum=1.0)
    rope.fixed({"partial_rotary_factor": 1.0, "truncate": True})
    values: dict[str, float] = {}
    if isinstance(kind, str) and kind in ROPE_KINDS:
        values = _read_scaling(ROPE_KINDS[kind], rope, data.get("max_position_embeddings"))
    elif kind != "default":
        known = ", ".join(ROPE_KINDS)
        rope.wrong(f"rope_type must be one of default, {known}, not {_text(kind)}")
        kind = "default"
    for problem in rope.problems:
        reader.wrong(f"rope_parameters.{problem}")
    return Rope(theta, str(kind), values)


def end_token_ids(value: object) -> list[int]:
    """Return the tokens that ``eos_token_id`` of a configuration names: one, several or none.

    Raises:
        ValueError: It is neither a token id nor a list of them.
    """
    ids: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(index) is int for index in ids):
        raise ValueError(f"eos_token_id {_text(value)} is neither a token id nor a list of them")
    # Some files name -1 for no token.
    if not all(-1 <= index <= MAX_SIZE for index in ids):
        raise ValueError(f"eos_token_id {_text(value)} names a token beyond {MAX_SIZE}")
    return ids


def _read_common(reader: ConfigReader, *, head_dim: int | None = None) -> Values:
    """Read what all families but GPT-2 have in common.

    ``head_dim`` is the family's default head width; without one, the heads share the channels.
    """
    sizes: Values = {
        name: reader.size(name, maximum=MAX_LAYERS if name == "num_hidden_layers" else MAX_SIZE)
        for name in LLAMA_SIZES
    }
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
    return {
        **sizes,
        "num_key_value_heads": key_heads,
        "head_dim": width,
        "rope": read_rope(reader),
        "hidden_act": reader.choice("hidden_act", "silu", ACTIVATIONS),
        "rms_norm_eps": reader.number("rms_norm_eps", 1e-6),
        "initializer_range": reader.number("initializer_range", 0.02),
        "attention_dropout": reader.number("attention_dropout", 0.0, maximum=1.0),
        "tie_word_embeddings": reader.flag("tie_word_embeddings", False),
        "bos_token_id": reader.token("bos_token_id"),
        "pad_token_id": reader.token("pad_token_id"),
    }


def _read_windows(reader: ConfigReader) -> Values:
    """Read the sliding window of the Qwen families: ``layer_types``, or the count before them."""
    layers = reader.size("num_hidden_layers", 1, maximum=MAX_LAYERS)
    if not reader.flag("use_sliding_window", False) or reader.data.get("sliding_window") is None:
        return {}
    first = reader.size("max_window_layers", layers, minimum=0)
    types = reader.data.get("layer_types")
    if types is None:
        types = [FULL if layer < first else SLIDING for layer in range(layers)]
    known = isinstance(types, list) and all(kind in (FULL, SLIDING) for kind in types)
    if not known or len(types) != layers:
        shown = _text(types)
        reader.wrong(f"layer_types must be {layers} times {FULL} or {SLIDING}, not {shown}")
        types = []
    slides = tuple(kind == SLIDING for kind in types)
    return {"sliding_window": reader.size("sliding_window"), "sliding_layers": slides}


def _read_scaling(names: tuple[str, ...], rope: ConfigReader, context: Any) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in sorted(names):
        if name == "original_max_position_embeddings":
            values[name] = rope.size(name, context if isinstance(context, int) else None)
        elif name == "factor":
            values[name] = rope.number(name, None, minimum=1.0)
        elif rope.data.get(name) is not None:
            values[name] = rope.number(name, None)
    for name in sorted(set(rope.data) - set(names) - _ROPE_COMMON):
        rope.wrong(f"{name} is not supported with this rope_type")
    return values


def _text(value: object) -> str:
    """Return a wrong value, cut where it is long."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number above 10^30" if value > 0 else "a number below -10^30"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
