"""Gemma's decoder: four norms a block, bounded scores, and layers with and without a window.

Architecture: Gemma 2 (arXiv:2408.00118) and, by switches of the configuration, Gemma 3
(arXiv:2503.19786). Attribute names follow the tensor names of Hugging Face's checkpoints. Shapes: B
sequences, T query tokens, S key tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.families.gemma2 import GemmaConfig
from training.models.attention import (
    AttentionMask,
    Cache,
    ForwardContext,
    LayerCache,
    attend,
    run_layers,
)
from training.models.initializers import Initializer, constant
from training.models.layers import ACTIVATIONS, Dropout, Embedding, Linear
from training.models.rotary import CosSin, Rotary, rotate


class OffsetRmsNorm(nnx.Module):
    """Root mean square normalization whose factors are 1 + weight, multiplied in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight = nnx.Param(constant(width, 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        factors = 1 + self.weight[...].astype(jnp.float32)
        return (wide * scale * factors).astype(x.dtype)


class Attention(nnx.Module):
    """Causal self-attention with grouped key-value heads, of all tokens or a window."""

    def __init__(self, config: GemmaConfig, layer: int, initializer: Initializer) -> None:
        width = config.head_dim
        queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
        self.width = width
        self.dropout = config.attention_dropout
        self.scale = config.query_pre_attn_scalar**-0.5
        self.softcap = config.attn_logit_softcapping
        self.window = config.sliding_window if config.sliding_layers[layer] else None

        def linear(inputs: int, outputs: int) -> Linear:
            std, bias = config.initializer_range, config.attention_bias
            return Linear(inputs, outputs, bias=bias, std=std, initializer=initializer)

        self.q_proj = linear(config.hidden_size, queries)
        self.k_proj = linear(config.hidden_size, keys)
        self.v_proj = linear(config.hidden_size, keys)
        self.o_proj = linear(queries, config.hidden_size)
        self.q_norm = OffsetRmsNorm(width, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = OffsetRmsNorm(width, config.rms_norm_eps) if config.qk_norm else None

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, context: ForwardContext, rope: CosSin
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C]; see :func:`training.models.attention.attend`."""
        heads = (*x.shape[:2], -1, self.width)
        query, key = self.q_proj(x).reshape(heads), self.k_proj(x).reshape(heads)
        value = self.v_proj(x).reshape(heads)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rotate(query, rope), rotate(key, rope)
        mask = context.mask if self.window is None else context.within(self.window)
        mixed, cache = attend(
            query, key, value, mask, cache, context, self.dropout, self.scale, self.softcap
        )
        return self.o_proj(mixed), cache


class FeedForward(nnx.Module):
    """The gated perceptron of a block."""

    def __init__(self, config: GemmaConfig, initializer: Initializer) -> None:
        self.activation = config.hidden_activation
        outer, inner = config.hidden_size, config.intermediate_size
        options: dict[str, Any] = {
            "bias": False,
            "std": config.initializer_range,
            "initializer": initializer,
        }
        self.gate_proj = Linear(outer, inner, **options)
        self.up_proj = Linear(outer, inner, **options)
        self.down_proj = Linear(inner, outer, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, T, C] to [B, T, C]."""
        gate = ACTIVATIONS[self.activation](self.gate_proj(x))
        return self.down_proj(gate * self.up_proj(x))


class Block(nnx.Module):
    """Attention and feed-forward layer, each between two norms and with a residual path."""

    def __init__(self, config: GemmaConfig, layer: int, initializer: Initializer) -> None:
        def norm() -> OffsetRmsNorm:
            return OffsetRmsNorm(config.hidden_size, config.rms_norm_eps)

        self.slides = config.sliding_layers[layer]
        self.input_layernorm = norm()
        self.self_attn = Attention(config, layer, initializer)
        self.post_attention_layernorm = norm()
        self.pre_feedforward_layernorm = norm()
        self.mlp = FeedForward(config, initializer)
        self.post_feedforward_layernorm = norm()

    def __call__(
        self,
        x: jax.Array,
        cache: LayerCache | None,
        context: ForwardContext,
        ropes: tuple[CosSin, CosSin],
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C].

        ``ropes`` are the rotations of layers without and with a window; see :class:`Attention`.
        """
        mixed, cache = self.self_attn(self.input_layernorm(x), cache, context, ropes[self.slides])
        x = x + self.post_attention_layernorm(mixed)
        mapped = self.mlp(self.pre_feedforward_layernorm(x))
        return x + self.post_feedforward_layernorm(mapped), cache


class GemmaBody(nnx.Module):
    """Everything below the output layer."""

    def __init__(self, config: GemmaConfig, initializer: Initializer) -> None:
        sizes, std = (config.vocab_size, config.hidden_size), config.initializer_range
        self.embed_tokens = Embedding(*sizes, std=std, initializer=initializer)
        self.layers = nnx.List(
            [Block(config, i, initializer) for i in range(config.num_hidden_layers)]
        )
        self.norm = OffsetRmsNorm(config.hidden_size, config.rms_norm_eps)


class Gemma(nnx.Module):
    """The language model."""

    def __init__(self, config: GemmaConfig, initializer: Initializer) -> None:
        self.rotary, self.local_rotary = Rotary.of(config.rope), Rotary.of(config.local_rope)
        self.width = config.head_dim
        self.embedding_scale = config.hidden_size**0.5
        self.softcap = config.final_logit_softcapping
        self.model = GemmaBody(config, initializer)
        sizes, std = (config.hidden_size, config.vocab_size), config.initializer_range
        tied = config.tie_word_embeddings
        self.lm_head = (
            None if tied else Linear(*sizes, bias=False, std=std, initializer=initializer)
        )

    def hidden(
        self,
        tokens: ArrayLike,
        positions: ArrayLike,
        mask: AttentionMask,
        cache: Cache = (),
        start: Any = 0,
        dropout_key: jax.Array | None = None,
        *,
        remat: bool = False,
    ) -> tuple[jax.Array, Cache]:
        """Return the last hidden states; see :meth:`training.models.family.Decoder.hidden`."""
        context = ForwardContext.of(mask, start, Dropout(dropout_key))
        ropes = (
            self.rotary.cos_sin(positions, self.width),
            self.local_rotary.cos_sin(positions, self.width),
        )
        layers = [partial(layer, ropes=ropes) for layer in self.model.layers]
        x = self.model.embed_tokens(tokens)
        # The scale is rounded to the type of the embedding, as in the original code.
        x = x * jnp.asarray(self.embedding_scale, x.dtype)
        x, cache = run_layers(layers, x, cache, context, remat=remat)
        return self.model.norm(x), cache

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits of the next token: [..., C] to [..., V]."""
        scores = self.model.embed_tokens.scores if self.lm_head is None else self.lm_head
        logits: jax.Array = scores(hidden)
        return logits if self.softcap is None else self.softcap * jnp.tanh(logits / self.softcap)
