"""Gemma's decoder: four norms a block, bounded scores, and layers with and without a window.

Architecture: Gemma 2 (arXiv:2408.00118) and, by switches of the configuration, Gemma 3
(arXiv:2503.19786). Attribute names follow the tensor names of Hugging Face's checkpoints. Shapes: B
sequences, T query tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.families.gemma2 import GemmaConfig
from training.models.attention import ForwardContext, Layer, LayerCache
from training.models.initializers import Initializer, constant
from training.models.layers import Linear, RmsNorm
from training.models.llama import Attention, FeedForward, RotaryDecoder
from training.models.rotary import CosSin, Rotary


class OffsetRmsNorm(RmsNorm):
    """Root mean square normalization whose factors are 1 + weight, multiplied in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__(width, epsilon)
        self.weight = nnx.Param(constant(width, 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize the last axis."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        factors = 1 + self.weight[...].astype(jnp.float32)
        return (wide * scale * factors).astype(x.dtype)


class GemmaAttention(Attention):
    """Causal self-attention with grouped key-value heads, of all tokens or a window."""

    def __init__(self, config: GemmaConfig, layer: int, initializer: Initializer) -> None:
        width = config.head_dim
        queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
        self.width = width
        self.dropout = config.attention_dropout
        self.scale = config.query_pre_attn_scalar**-0.5
        self.softcap = config.attn_logit_softcapping
        self.window = config.sliding_window if config.sliding_layers[layer] else None
        self.fused, self.rotates, self.whole_norm = False, True, False

        def linear(inputs: int, outputs: int) -> Linear:
            std, bias = config.initializer_range, config.attention_bias
            return Linear(inputs, outputs, bias=bias, std=std, initializer=initializer)

        self.q_proj = linear(config.hidden_size, queries)
        self.k_proj = linear(config.hidden_size, keys)
        self.v_proj = linear(config.hidden_size, keys)
        self.o_proj = linear(queries, config.hidden_size)
        norms = (OffsetRmsNorm(width, config.rms_norm_eps) for _ in range(2))
        self.q_norm, self.k_norm = norms if config.qk_norm else (None, None)


class Block(nnx.Module):
    """Attention and feed-forward layer, each between two norms and with a residual path."""

    def __init__(self, config: GemmaConfig, layer: int, initializer: Initializer) -> None:
        def norm() -> OffsetRmsNorm:
            return OffsetRmsNorm(config.hidden_size, config.rms_norm_eps)

        self.slides = config.sliding_layers[layer]
        self.input_layernorm = norm()
        self.self_attn = GemmaAttention(config, layer, initializer)
        self.post_attention_layernorm = norm()
        self.pre_feedforward_layernorm = norm()
        self.mlp = FeedForward(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_activation,
            std=config.initializer_range,
            initializer=initializer,
        )
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


class Gemma(RotaryDecoder):
    """The language model."""

    def __init__(self, config: GemmaConfig, initializer: Initializer) -> None:
        super().__init__(config, initializer, Block, OffsetRmsNorm)
        self.local_rotary = Rotary.of(config.local_rope)
        self.embedding_scale = config.hidden_size**0.5
        self.softcap = config.final_logit_softcapping

    def rotated_layers(self, positions: ArrayLike) -> list[Layer]:
        """Return the blocks with the rotations of layers without and with a window."""
        ropes = (
            self.rotary.cos_sin(positions, self.width),
            self.local_rotary.cos_sin(positions, self.width),
        )
        return [partial(layer, ropes=ropes) for layer in self.model.layers]

    def embed(self, tokens: ArrayLike) -> jax.Array:
        """Return the inputs [B, T, C] of the first block."""
        x = super().embed(tokens)
        # The scale is rounded to the type of the embedding, as in the original code.
        return x * jnp.asarray(self.embedding_scale, x.dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits of the next token: [..., C] to [..., V]."""
        logits = super().logits(hidden)
        return logits if self.softcap is None else self.softcap * jnp.tanh(logits / self.softcap)
