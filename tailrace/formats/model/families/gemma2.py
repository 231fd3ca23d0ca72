"""Gemma 2 (arXiv:2408.00118), and the parts that it shares with Gemma 3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config_reader import ACTIVATIONS, MAX_LAYERS, ConfigReader, shorten
from tailrace.formats.model.families.family import (
    Dimensions,
    Family,
    Shapes,
    TokenizerRule,
)
from tailrace.formats.model.families.llama import AXES, FULL, SIZES, SLIDING, model_shapes
from tailrace.formats.model.rope import Rope, read_rope, write_rope

HEAD_DIM = 256
"""Channels of a head where config.json names none."""

_KEY_HEADS = 4
_WINDOW = 4096
_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


@dataclass(frozen=True)
class GemmaConfig:
    """Hyperparameters, named as in Hugging Face's config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    """Longest sequence in tokens."""
    num_key_value_heads: int
    head_dim: int
    rope: Rope
    """Rotation of the layers that see all tokens."""
    local_rope: Rope
    """Rotation of the layers with a window."""
    hidden_activation: str
    rms_norm_eps: float
    initializer_range: float
    attention_dropout: float
    attention_bias: bool
    """True if the four projections of attention have biases."""
    query_pre_attn_scalar: float
    """Divisor under the root by which attention scores are scaled."""
    sliding_window: int | None
    """Number of newest tokens visible to the layers in ``sliding_layers``."""
    sliding_layers: tuple[bool, ...]
    """For each layer, true if it has the window."""
    attn_logit_softcapping: float | None
    """Bound of the attention scores."""
    final_logit_softcapping: float | None
    """Bound of the logits."""
    tie_word_embeddings: bool
    """True if the output layer is the input embedding."""
    qk_norm: bool = False
    """True if each head's queries and keys are normalized before the rotary embedding."""
    bos_token_id: int | None = None
    pad_token_id: int | None = None


def read_gemma(
    reader: ConfigReader,
    *,
    ropes: tuple[Rope, Rope],
    full_every: int,
    softcaps: tuple[float | None, float | None],
    qk_norm: bool,
) -> GemmaConfig:
    """Read the configuration of a Gemma.

    Args:
        reader: Reader of config.json.
        ropes: Rotations of the layers without and with a window.
        full_every: Number of layers of which one sees all tokens, where ``layer_types`` is absent.
        softcaps: Bounds of attention scores and logits that the family has by default.
        qk_norm: True if the family normalizes queries and keys.
    """
    sizes: dict[str, Any] = {
        name: reader.size(name, maximum=MAX_LAYERS)
        if name == "num_hidden_layers"
        else reader.size(name)
        for name in SIZES
    }
    heads, key_heads = sizes["num_attention_heads"], reader.size("num_key_value_heads", _KEY_HEADS)
    if heads % key_heads:
        reader.wrong(f"num_attention_heads {heads} must be a multiple of {key_heads} key heads")
    width = reader.size("head_dim", HEAD_DIM)
    if width % 2:
        reader.wrong(f"head_dim must be even, not {width}")
    if reader.data.get("use_bidirectional_attention"):
        reader.wrong("use_bidirectional_attention must be false: only causal models are supported")
    window = _optional(reader, "sliding_window", _WINDOW)
    return GemmaConfig(
        **sizes,
        num_key_value_heads=key_heads,
        head_dim=width,
        rope=ropes[0],
        local_rope=ropes[1],
        hidden_activation=reader.choice("hidden_activation", "gelu_pytorch_tanh", ACTIVATIONS),
        rms_norm_eps=reader.number("rms_norm_eps", 1e-6),
        initializer_range=reader.number("initializer_range", 0.02),
        attention_dropout=reader.number("attention_dropout", 0.0, maximum=1.0),
        attention_bias=reader.flag("attention_bias", False),
        query_pre_attn_scalar=_whole(reader.number("query_pre_attn_scalar", 256, minimum=1e-6)),
        sliding_window=None if window is None else reader.size("sliding_window", _WINDOW),
        sliding_layers=_read_layers(reader, sizes["num_hidden_layers"], full_every),
        attn_logit_softcapping=_optional(reader, "attn_logit_softcapping", softcaps[0]),
        final_logit_softcapping=_optional(reader, "final_logit_softcapping", softcaps[1]),
        tie_word_embeddings=reader.flag("tie_word_embeddings", True),
        qk_norm=qk_norm,
        bos_token_id=reader.token("bos_token_id"),
        pad_token_id=reader.token("pad_token_id"),
    )


def _whole(number: float) -> float:
    """Return a whole number as an int: transformers refuses a saved 256.0 where it wants 256."""
    return int(number) if number == int(number) else number


def _optional(reader: ConfigReader, name: str, default: float | None) -> float | None:
    """Return a number above 0, or None for a null; ``default`` is for an absent key alone."""
    value = reader.data.get(name, default)
    return None if value is None else reader.number(name, default, minimum=1e-6)


def _read_layers(reader: ConfigReader, layers: int, full_every: int) -> tuple[bool, ...]:
    types = reader.data.get("layer_types")
    if types is None:
        return tuple((layer + 1) % full_every != 0 for layer in range(layers))
    valid = isinstance(types, list) and all(kind in (FULL, SLIDING) for kind in types)
    if not valid or len(types) != layers:
        text = shorten(types)
        reader.wrong(f"layer_types must be {layers} times {FULL} or {SLIDING}, not {text}")
        return (False,) * layers
    return tuple(kind == SLIDING for kind in types)


def write_gemma(config: GemmaConfig) -> dict[str, Any]:
    """Return the keys of config.json that both families write alike."""
    names = (
        *SIZES,
        "num_key_value_heads",
        "head_dim",
        "hidden_activation",
        "rms_norm_eps",
        "initializer_range",
        "attention_dropout",
        "attention_bias",
        "query_pre_attn_scalar",
        "sliding_window",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "tie_word_embeddings",
        "bos_token_id",
        "pad_token_id",
    )
    types = [SLIDING if slides else FULL for slides in config.sliding_layers]
    return {**{name: getattr(config, name) for name in names}, "layer_types": types}


def shapes(config: GemmaConfig) -> Shapes:
    """Return the tensors by name; linear maps are stored as [outputs, inputs]."""
    return model_shapes(dimensions(config), _block_shapes(config), config.tie_word_embeddings)


def _block_shapes(config: GemmaConfig) -> Shapes:
    width, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    tensors: Shapes = {f"{name}.weight": (width,) for name in _NORMS}
    maps = {"q_proj": (queries, width), "k_proj": (keys, width), "v_proj": (keys, width)}
    for name, shape in {**maps, "o_proj": (width, queries)}.items():
        tensors[f"self_attn.{name}.weight"] = shape
        if config.attention_bias:
            tensors[f"self_attn.{name}.bias"] = shape[:1]
    tensors |= {f"mlp.{name}.weight": (inner, width) for name in ("gate_proj", "up_proj")}
    tensors["mlp.down_proj.weight"] = (width, inner)
    if config.qk_norm:
        tensors |= {f"self_attn.{name}_norm.weight": (config.head_dim,) for name in ("q", "k")}
    return tensors


def dimensions(config: GemmaConfig) -> Dimensions:
    """Return the sizes of a Gemma."""
    context = config.rope.longest_sequence(config.max_position_embeddings)
    limits = [rope.cache_limit(context) for rope in (config.rope, config.local_rope)]
    heads = config.num_attention_heads + config.num_key_value_heads
    return Dimensions(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head_width=config.head_dim,
        inner=config.intermediate_size,
        gated=True,
        vocabulary=config.vocab_size,
        context=context,
        dropout=config.attention_dropout > 0,
        cache_limit=min((limit for limit in limits if limit is not None), default=None),
        normalized=2 * config.hidden_size + (heads * config.head_dim if config.qk_norm else 0),
        capped=config.attn_logit_softcapping is not None,
    )


def gemma_family(
    model_type: str,
    class_name: str,
    read: Callable[[ConfigReader], GemmaConfig],
    write: Callable[[GemmaConfig], dict[str, Any]],
) -> Family:
    """Return the record of a family that Gemma's decoder computes."""
    return Family(
        model_type=model_type,
        class_name=class_name,
        decoder="gemma",
        read=read,
        write=write,
        shapes=shapes,
        dimensions=dimensions,
        prefix="model.",
        embedding="model.embed_tokens.weight",
        axes=AXES,
        buffers=(".rotary_emb.inv_freq",),
        tokenizer=TokenizerRule("GemmaTokenizer"),
    )


def read(reader: ConfigReader) -> GemmaConfig:
    """Read the configuration of a Gemma 2."""
    rope = read_rope(reader, reader.size("head_dim", HEAD_DIM))
    return read_gemma(
        reader, ropes=(rope, rope), full_every=2, softcaps=(50.0, 30.0), qk_norm=False
    )


def write(config: GemmaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    return {**write_gemma(config), **write_rope(config.rope)}


FAMILY = gemma_family("gemma2", "Gemma2ForCausalLM", read, write)
"""Gemma 2's record."""
