"""GPT-2 (Radford et al. 2019), from distilgpt2 to gpt2-xl."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tailrace.formats.model.config_reader import ACTIVATIONS, MAX_LAYERS, ConfigReader
from tailrace.formats.model.families.family import (
    FSDP,
    OUTPUT_LAYER,
    TENSOR,
    Dimensions,
    Family,
    Shapes,
    TokenizerRule,
)

_FIXED = {"add_cross_attention": False}
"""Switches of config.json that are supported with this value only."""

_POSITIONS = "transformer.wpe.weight"


@dataclass(frozen=True)
class Gpt2Config:
    """Hyperparameters, named as in Hugging Face's config.json."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    tie_word_embeddings: bool = True
    """True if the output layer is the input embedding."""
    scale_attn_weights: bool = True
    """True if attention scores are divided by the root of the head width."""
    scale_attn_by_inverse_layer_idx: bool = False
    """True if attention scores are divided by the number of their layer, from 1."""
    reorder_and_upcast_attn: bool = False
    """Order of operations in half precision elsewhere; scores are always float32 here."""


def read(reader: ConfigReader) -> Gpt2Config:
    """Read the configuration of a GPT-2."""
    reader.fixed(_FIXED)
    sizes = {name: reader.size(name) for name in ("vocab_size", "n_positions", "n_embd", "n_head")}
    sizes["n_layer"] = reader.size("n_layer", maximum=MAX_LAYERS)
    if sizes["n_embd"] % sizes["n_head"]:
        reader.wrong(f"n_embd {sizes['n_embd']} must be a multiple of n_head {sizes['n_head']}")
    return Gpt2Config(
        **sizes,
        embd_pdrop=reader.number("embd_pdrop", 0.1, maximum=1.0),
        attn_pdrop=reader.number("attn_pdrop", 0.1, maximum=1.0),
        resid_pdrop=reader.number("resid_pdrop", 0.1, maximum=1.0),
        n_inner=reader.size("n_inner", 4 * sizes["n_embd"]),
        activation_function=reader.choice("activation_function", "gelu_new", ACTIVATIONS),
        layer_norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        initializer_range=reader.number("initializer_range", 0.02),
        tie_word_embeddings=reader.flag("tie_word_embeddings", True),
        scale_attn_weights=reader.flag("scale_attn_weights", True),
        scale_attn_by_inverse_layer_idx=reader.flag("scale_attn_by_inverse_layer_idx", False),
        reorder_and_upcast_attn=reader.flag("reorder_and_upcast_attn", False),
    )


def write(config: Gpt2Config) -> dict[str, Any]:
    """Return the keys of config.json."""
    return {**asdict(config), **_FIXED}


def shapes(config: Gpt2Config) -> Shapes:
    """Return the tensors by name; linear maps are stored as [inputs, outputs]."""
    width, inner = config.n_embd, config.n_inner
    tensors: Shapes = {
        "transformer.wte.weight": (config.vocab_size, width),
        _POSITIONS: (config.n_positions, width),
    }
    maps = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, inner),
        "mlp.c_proj": (inner, width),
    }
    for layer in range(config.n_layer):
        block = f"transformer.h.{layer}"
        tensors |= _norm(f"{block}.ln_1", width) | _norm(f"{block}.ln_2", width)
        for name, shape in maps.items():
            tensors[f"{block}.{name}.weight"] = shape
            tensors[f"{block}.{name}.bias"] = (shape[1],)
    tensors |= _norm("transformer.ln_f", width)
    if not config.tie_word_embeddings:
        tensors[OUTPUT_LAYER] = (config.vocab_size, width)
    return tensors


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def dimensions(config: Gpt2Config) -> Dimensions:
    """Return the sizes of a GPT-2."""
    return Dimensions(
        layers=config.n_layer,
        width=config.n_embd,
        heads=config.n_head,
        key_heads=config.n_head,
        head_width=config.n_embd // config.n_head,
        inner=config.n_inner,
        gated=False,
        vocabulary=config.vocab_size,
        context=config.n_positions,
        dropout=any((config.embd_pdrop, config.attn_pdrop, config.resid_pdrop)),
    )


FAMILY = Family(
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    decoder="gpt2",
    read=read,
    write=write,
    shapes=shapes,
    dimensions=dimensions,
    prefix="transformer.",
    embedding="transformer.wte.weight",
    axes=(
        # Linear layers are [inputs, outputs].
        (r"transformer\.wte\.weight|lm_head\.weight", (TENSOR, FSDP)),
        (r"transformer\.wpe\.weight", (None, FSDP)),
        (r".*\.(c_attn|c_fc)\.weight", (FSDP, TENSOR)),
        (r".*\.c_proj\.weight", (TENSOR, FSDP)),
        (r".*\.(c_attn|c_fc)\.bias", (TENSOR,)),
    ),
    # Old checkpoints store the causal mask.
    buffers=(".attn.bias", ".attn.masked_bias"),
    lookups=(_POSITIONS,),
    transposed=True,
    tokenizer=TokenizerRule("GPT2Tokenizer"),
)
"""GPT-2's record."""
