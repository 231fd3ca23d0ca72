"""Llama (arXiv:2302.13971), and the parts that families differing from it in switches share.

SmolLM2 and many others call themselves a Llama.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config_reader import (
    ACTIVATIONS,
    MAX_LAYERS,
    MAX_SIZE,
    ConfigReader,
    shorten,
)
from tailrace.formats.model.families.family import (
    FSDP,
    OUTPUT_LAYER,
    TENSOR,
    AxisRules,
    Dimensions,
    Family,
    Shapes,
    TokenizerRule,
)
from tailrace.formats.model.rope import Rope, read_rope, write_rope

FULL, SLIDING = "full_attention", "sliding_attention"
"""Words of ``layer_types``."""

SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
"""Sizes that config.json must have."""


@dataclass(frozen=True)
class LlamaConfig:
    """Hyperparameters, named as in Hugging Face's config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    """Longest sequence in tokens."""
    rope: Rope
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = False
    """True if the output layer is the input embedding."""
    qkv_bias: bool = False
    """True if the projections to queries, keys and values have biases."""
    output_bias: bool = False
    """True if the output projection of attention has a bias."""
    mlp_bias: bool = False
    """True if the feed-forward layer has biases."""
    qk_norm: bool = False
    """True if each head's queries and keys are normalized before the rotary embedding."""
    whole_qk_norm: bool = False
    """True if the queries and keys of all heads are normalized together instead."""
    fused: bool = False
    """True if queries, keys and values have one projection, and gate and first map another."""
    post_norm: bool = False
    """True if the outputs of attention and feed-forward layer are normalized, not the inputs."""
    rope_layers: tuple[bool, ...] = ()
    """For each layer, true if it rotates queries and keys; empty when all do."""
    embedding_multiplier: float = 1.0
    """Factor of the input embeddings."""
    residual_multiplier: float = 1.0
    """Factor of what attention and feed-forward layer add to the residual path."""
    attention_multiplier: float | None = None
    """Factor of the attention scores; None for 1 / √head_dim."""
    logits_scaling: float = 1.0
    """Divisor of the logits."""
    sliding_window: int | None = None
    """Number of newest tokens visible to the layers in ``sliding_layers``."""
    sliding_layers: tuple[bool, ...] = ()
    """For each layer, true if it has the window; empty when no layer has."""
    bos_token_id: int | None = None
    pad_token_id: int | None = None


def read_common(
    reader: ConfigReader,
    *,
    head_dim: int | None = None,
    original: int | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """Return the arguments of :class:`LlamaConfig` that all these families read alike.

    ``head_dim`` is the family's default head width; without one, the heads share the channels.
    ``original`` and ``partial`` are as in :func:`tailrace.formats.model.rope.read_rope`.
    """
    sizes: dict[str, Any] = {
        name: reader.size(name, maximum=MAX_LAYERS if name == "num_hidden_layers" else MAX_SIZE)
        for name in SIZES
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
        "rope": read_rope(reader, width, original=original, partial=partial),
        "hidden_act": reader.choice("hidden_act", "silu", ACTIVATIONS),
        "rms_norm_eps": reader.number("rms_norm_eps", 1e-6),
        "initializer_range": reader.number("initializer_range", 0.02),
        "attention_dropout": reader.number("attention_dropout", 0.0, maximum=1.0),
        "tie_word_embeddings": reader.flag("tie_word_embeddings", False),
        "bos_token_id": reader.token("bos_token_id"),
        "pad_token_id": reader.token("pad_token_id"),
    }


def read_windows(reader: ConfigReader) -> dict[str, Any]:
    """Return the sliding window of the Qwen families.

    ``layer_types`` names the sliding layers, or ``max_window_layers`` counts the layers before
    them.
    """
    layers = reader.size("num_hidden_layers", 1, maximum=MAX_LAYERS)
    if not reader.flag("use_sliding_window", False) or reader.data.get("sliding_window") is None:
        return {}
    first = reader.size("max_window_layers", layers, minimum=0)
    types = reader.data.get("layer_types")
    if types is None:
        types = [FULL if layer < first else SLIDING for layer in range(layers)]
    valid = isinstance(types, list) and all(kind in (FULL, SLIDING) for kind in types)
    if not valid or len(types) != layers:
        text = shorten(types)
        reader.wrong(f"layer_types must be {layers} times {FULL} or {SLIDING}, not {text}")
        types = []
    slides = tuple(kind == SLIDING for kind in types)
    return {"sliding_window": reader.size("sliding_window"), "sliding_layers": slides}


def write_common(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json that all these families write alike."""
    names = (
        *SIZES,
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
    return {**{name: getattr(config, name) for name in names}, **write_rope(config.rope)}


def write_windows(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of sliding windows, in both spellings."""
    slides = config.sliding_layers or (False,) * config.num_hidden_layers
    return {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "max_window_layers": slides.count(False),
        "layer_types": [SLIDING if slide else FULL for slide in slides],
    }


def shapes(config: LlamaConfig) -> Shapes:
    """Return the tensors by name; linear maps are stored as [outputs, inputs]."""
    return model_shapes(dimensions(config), _block_shapes(config), config.tie_word_embeddings)


def model_shapes(sizes: Dimensions, block: Shapes, tied: bool) -> Shapes:
    """Return the tensors of a model whose blocks have the tensors ``block``.

    ``tied`` is True if the output layer is the input embedding.
    """
    table = (sizes.vocabulary, sizes.width)
    tensors: Shapes = {"model.embed_tokens.weight": table}
    for layer in range(sizes.layers):
        tensors |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    tensors["model.norm.weight"] = (sizes.width,)
    if not tied:
        tensors[OUTPUT_LAYER] = table
    return tensors


def _block_shapes(config: LlamaConfig) -> Shapes:
    width, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    first, second = block_norms(config)
    tensors: Shapes = {f"{first}.weight": (width,), f"{second}.weight": (width,)}
    maps = [
        ("self_attn.o_proj", width, queries, config.output_bias),
        ("mlp.down_proj", width, inner, config.mlp_bias),
    ]
    if config.fused:
        maps += [
            ("self_attn.qkv_proj", queries + 2 * keys, width, config.qkv_bias),
            ("mlp.gate_up_proj", 2 * inner, width, config.mlp_bias),
        ]
    else:
        maps += [
            ("self_attn.q_proj", queries, width, config.qkv_bias),
            ("self_attn.k_proj", keys, width, config.qkv_bias),
            ("self_attn.v_proj", keys, width, config.qkv_bias),
            ("mlp.gate_proj", inner, width, config.mlp_bias),
            ("mlp.up_proj", inner, width, config.mlp_bias),
        ]
    for name, outputs, inputs, has_bias in maps:
        tensors[f"{name}.weight"] = (outputs, inputs)
        if has_bias:
            tensors[f"{name}.bias"] = (outputs,)
    if config.qk_norm:
        tensors |= {f"self_attn.{name}_norm.weight": (config.head_dim,) for name in ("q", "k")}
    if config.whole_qk_norm:
        tensors |= {"self_attn.q_norm.weight": (queries,), "self_attn.k_norm.weight": (keys,)}
    return tensors


def block_norms(config: LlamaConfig) -> tuple[str, str]:
    """Return the names of a block's two norms: of attention and of the feed-forward layer."""
    if config.post_norm:
        return "post_attention_layernorm", "post_feedforward_layernorm"
    return "input_layernorm", "post_attention_layernorm"


def dimensions(config: LlamaConfig) -> Dimensions:
    """Return the sizes of a model of these families."""
    context = config.rope.longest_sequence(config.max_position_embeddings)
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
        cache_limit=config.rope.cache_limit(context),
        normalized=heads * config.head_dim if config.qk_norm or config.whole_qk_norm else 0,
    )


AXES: AxisRules = (
    # Linear layers are [outputs, inputs].
    (r"model\.embed_tokens\.weight|lm_head\.weight", (TENSOR, FSDP)),
    (r".*\.(q_proj|k_proj|v_proj|qkv_proj|gate_proj|up_proj|gate_up_proj)\.weight", (TENSOR, FSDP)),
    (r".*\.(o_proj|down_proj)\.weight", (FSDP, TENSOR)),
    (r".*\.(q_proj|k_proj|v_proj|gate_proj|up_proj)\.bias", (TENSOR,)),
)
"""Mesh axes of parameters with these names."""


def llama_family(
    model_type: str,
    class_name: str,
    read: Callable[[ConfigReader], LlamaConfig],
    write: Callable[[LlamaConfig], dict[str, Any]],
    tokenizer: TokenizerRule,
) -> Family:
    """Return the record of a family that Llama's decoder computes."""
    return Family(
        model_type=model_type,
        class_name=class_name,
        decoder="llama",
        read=read,
        write=write,
        shapes=shapes,
        dimensions=dimensions,
        prefix="model.",
        embedding="model.embed_tokens.weight",
        axes=AXES,
        # Old checkpoints store the frequencies, which follow from the configuration.
        buffers=(".rotary_emb.inv_freq",),
        tokenizer=tokenizer,
    )


def read(reader: ConfigReader) -> LlamaConfig:
    """Read the configuration of a Llama."""
    biased = reader.flag("attention_bias", False)
    return LlamaConfig(
        **read_common(reader),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=reader.flag("mlp_bias", False),
    )


def write(config: LlamaConfig) -> dict[str, Any]:
    """Return the keys of config.json."""
    biases = {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}
    return {**write_common(config), **biases}


FAMILY = llama_family("llama", "LlamaForCausalLM", read, write, TokenizerRule())
"""Llama's record, for Llama 1 to 3 and SmolLM2."""
