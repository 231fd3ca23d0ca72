"""GPT-2: a decoder with learned positions and pre-layer-norm blocks.

Architecture: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Attribute
names follow the tensor names of Hugging Face's checkpoints, so that both map mechanically.
Shapes: B sequences, T query tokens, S key tokens, H heads, D head width, C = H·D channels,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from training.errors import ModelConfigError
from training.models.family import Cache, Dropout, LayerCache

ACTIVATIONS = {
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
"""Activations of the feed-forward layer, by their Hugging Face names."""

_REFUSED = {
    "add_cross_attention": False,
    "reorder_and_upcast_attn": False,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "tie_word_embeddings": True,
}
"""Switches of Hugging Face's configuration that are supported with this value only."""


@dataclass(frozen=True)
class Gpt2Config:
    """The hyperparameters, named as in Hugging Face's ``config.json``."""

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


class Attention(nnx.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: Gpt2Config, rngs: nnx.Rngs) -> None:
        width, spread = config.n_embd, config.initializer_range
        self.heads = config.n_head
        self.dropout = config.attn_pdrop
        self.c_attn = _linear(width, 3 * width, spread, rngs)
        # Residual projections start smaller, as the original's section 2.3 prescribes.
        self.c_proj = _linear(width, width, spread / (2 * config.n_layer) ** 0.5, rngs)

    def __call__(
        self, x: jax.Array, mask: jax.Array, cache: LayerCache | None, start: Any, drop: Dropout
    ) -> tuple[jax.Array, LayerCache | None]:
        """``x`` [B, T, C] and ``mask`` [B or 1, T, S] to [B, T, C]; keys go to ``cache`` rows."""
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        query, key, value = (part.reshape(shape) for part in jnp.split(self.c_attn(x), 3, axis=-1))
        if cache is not None:
            key = jax.lax.dynamic_update_slice(cache.key, key, (0, start, 0, 0))
            value = jax.lax.dynamic_update_slice(cache.value, value, (0, start, 0, 0))
            cache = LayerCache(key, value)
        scores = jnp.einsum("bthd,bshd->bhts", query, key) / shape[-1] ** 0.5
        # A finite floor keeps rows that see no key at all (padding) free of NaN.
        scores = jnp.where(mask[:, None], scores, np.finfo(scores.dtype).min)
        weights = drop(jax.nn.softmax(scores, axis=-1), self.dropout)
        mixed = jnp.einsum("bhts,bshd->bthd", weights, value).reshape(batch, length, width)
        return self.c_proj(mixed), cache


class FeedForward(nnx.Module):
    """The two-layer perceptron of a block."""

    def __init__(self, config: Gpt2Config, rngs: nnx.Rngs) -> None:
        spread = config.initializer_range
        self.activation = config.activation_function
        self.c_fc = _linear(config.n_embd, config.n_inner, spread, rngs)
        self.c_proj = _linear(
            config.n_inner, config.n_embd, spread / (2 * config.n_layer) ** 0.5, rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] to [B, T, C]."""
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x)))


class Block(nnx.Module):
    """Attention and feed-forward layer, each after a layer norm and with a residual path."""

    def __init__(self, config: Gpt2Config, rngs: nnx.Rngs) -> None:
        self.dropout = config.resid_pdrop
        self.ln_1 = _norm(config, rngs)
        self.attn = Attention(config, rngs)
        self.ln_2 = _norm(config, rngs)
        self.mlp = FeedForward(config, rngs)

    def __call__(
        self, x: jax.Array, mask: jax.Array, cache: LayerCache | None, start: Any, drop: Dropout
    ) -> tuple[jax.Array, LayerCache | None]:
        """[B, T, C] to [B, T, C]; see :class:`Attention`."""
        mixed, cache = self.attn(self.ln_1(x), mask, cache, start, drop)
        x = x + drop(mixed, self.dropout)
        return x + drop(self.mlp(self.ln_2(x)), self.dropout), cache


class Gpt2(nnx.Module):
    """The language model; input and output embeddings are tied."""

    def __init__(self, config: Gpt2Config, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.normal(config.initializer_range)
        self.dropout = config.embd_pdrop
        self.wte = nnx.Embed(config.vocab_size, config.n_embd, embedding_init=init, rngs=rngs)
        self.wpe = nnx.Embed(config.n_positions, config.n_embd, embedding_init=init, rngs=rngs)
        self.h = nnx.List([Block(config, rngs) for _ in range(config.n_layer)])
        self.ln_f = _norm(config, rngs)

    def hidden(
        self,
        tokens: ArrayLike,
        positions: ArrayLike,
        mask: jax.Array,
        cache: Cache = (),
        start: Any = 0,
        dropout_key: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Last hidden states; arguments as in :class:`training.models.family.Decoder`."""
        drop = Dropout(dropout_key)
        x = drop(self.wte(jnp.asarray(tokens)) + self.wpe(jnp.asarray(positions)), self.dropout)
        layers: list[LayerCache] = []
        for index, block in enumerate(self.h):
            x, layer = block(x, mask, cache[index] if cache else None, start, drop)
            if layer is not None:
                layers.append(layer)
        return self.ln_f(x), tuple(layers)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token: [..., C] to [..., V]."""
        return hidden @ self.wte.embedding[...].T


def parse_config(data: Mapping[str, Any]) -> Gpt2Config:
    """Read Hugging Face's ``config.json``.

    Raises :class:`training.errors.ModelConfigError` naming every key that is missing or has a
    value this implementation does not support.
    """
    wrong = [
        f"{name} must be {value}, not {data[name]}"
        for name, value in _REFUSED.items()
        if data.get(name, value) != value
    ]
    activation = data.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        wrong.append(f"activation_function must be one of {', '.join(ACTIVATIONS)}")
    sizes: dict[str, Any] = {}
    for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
        size = data.get(name)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            wrong.append(f"{name} must be a whole number of at least 1, not {size}")
        else:
            sizes[name] = size
    if not wrong and sizes["n_embd"] % sizes["n_head"]:
        wrong.append(f"n_embd {sizes['n_embd']} must be a multiple of n_head {sizes['n_head']}")
    if wrong:
        raise ModelConfigError("config.json: " + "; ".join(wrong))
    names = ("layer_norm_epsilon", "initializer_range", "embd_pdrop", "attn_pdrop", "resid_pdrop")
    rates: dict[str, Any] = {
        name: float(data[name]) for name in names if data.get(name) is not None
    }
    return Gpt2Config(
        **sizes,
        n_inner=data.get("n_inner") or 4 * sizes["n_embd"],
        activation_function=activation,
        **rates,
    )


def dump_config(config: Gpt2Config) -> dict[str, Any]:
    """What ``config.json`` says about this architecture beside the token ids."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{name: getattr(config, name) for name in config.__dataclass_fields__},
        **_REFUSED,
    }


def _linear(inputs: int, outputs: int, spread: float, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.normal(spread), rngs=rngs)


def _norm(config: Gpt2Config, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # One pass over the squares loses digits; PyTorch's layer norm takes two as well.
    return nnx.LayerNorm(
        config.n_embd, epsilon=config.layer_norm_epsilon, use_fast_variance=False, rngs=rngs
    )
