"""Llama's decoder: rotary positions, grouped heads and a gated feed-forward layer.

Architecture: Touvron et al., arXiv:2302.13971 and arXiv:2307.09288; the feed-forward layer is
SwiGLU (Shazeer, arXiv:2002.05202). Switches of the configuration make it a Mistral, Qwen2, Qwen3,
OLMo 2, Granite, SmolLM3 or Phi-3, too. Attribute names follow the tensor names of Hugging Face's
checkpoints. Shapes: B sequences, T query tokens, S key tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.families.llama import LlamaConfig, block_norms
from training.models.attention import (
    AttentionMask,
    Cache,
    ForwardContext,
    Layer,
    LayerCache,
    attend,
    run_layers,
)
from training.models.initializers import Initializer
from training.models.layers import ACTIVATIONS, Dropout, Embedding, Linear, RmsNorm
from training.models.rotary import CosSin, Rotary, rotate


class Attention(nnx.Module):
    """Causal self-attention with grouped key-value heads and rotary positions."""

    def __init__(self, config: LlamaConfig, layer: int, initializer: Initializer) -> None:
        width, std = config.head_dim, config.initializer_range
        queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
        self.width = width
        self.dropout = config.attention_dropout
        slides = bool(config.sliding_layers) and config.sliding_layers[layer]
        self.window = config.sliding_window if slides else None
        self.rotates = not config.rope_layers or config.rope_layers[layer]
        self.scale = config.attention_multiplier
        self.softcap: float | None = None
        self.whole_norm = config.whole_qk_norm

        def linear(inputs: int, outputs: int, bias: bool) -> Linear:
            return Linear(inputs, outputs, bias=bias, std=std, initializer=initializer)

        self.sections = (queries, queries + keys)
        self.fused = config.fused
        if config.fused:
            self.qkv_proj = linear(config.hidden_size, queries + 2 * keys, config.qkv_bias)
        else:
            self.q_proj = linear(config.hidden_size, queries, config.qkv_bias)
            self.k_proj = linear(config.hidden_size, keys, config.qkv_bias)
            self.v_proj = linear(config.hidden_size, keys, config.qkv_bias)
        self.o_proj = linear(queries, config.hidden_size, config.output_bias)
        has_norm, epsilon = config.qk_norm or config.whole_qk_norm, config.rms_norm_eps
        widths = (queries, keys) if config.whole_qk_norm else (width, width)
        self.q_norm = RmsNorm(widths[0], epsilon) if has_norm else None
        self.k_norm = RmsNorm(widths[1], epsilon) if has_norm else None

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, context: ForwardContext, rope: CosSin
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C]; see :func:`training.models.attention.attend`."""
        query, key, value = self._heads(x)
        if self.rotates:
            query, key = rotate(query, rope), rotate(key, rope)
        mask = context.mask if self.window is None else context.within(self.window)
        mixed, cache = attend(
            query, key, value, mask, cache, context, self.dropout, self.scale, self.softcap
        )
        return self.o_proj(mixed), cache

    def _heads(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the normalized queries [B, T, H, D] and keys, and the values [B, T, K, D]."""
        heads = (*x.shape[:2], -1, self.width)
        if self.fused:
            query, key, value = jnp.split(self.qkv_proj(x), self.sections, axis=-1)
        else:
            query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.q_norm is not None and self.k_norm is not None and self.whole_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = query.reshape(heads), key.reshape(heads)
        if self.q_norm is not None and self.k_norm is not None and not self.whole_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        return query, key, value.reshape(heads)


class FeedForward(nnx.Module):
    """The gated perceptron of a block."""

    def __init__(
        self,
        outer: int,
        inner: int,
        activation: str,
        *,
        std: float,
        initializer: Initializer,
        bias: bool = False,
        fused: bool = False,
    ) -> None:
        self.activation = activation
        options: dict[str, Any] = {"bias": bias, "std": std, "initializer": initializer}
        self.fused = fused
        if fused:
            self.gate_up_proj = Linear(outer, 2 * inner, **options)
        else:
            self.gate_proj = Linear(outer, inner, **options)
            self.up_proj = Linear(outer, inner, **options)
        self.down_proj = Linear(inner, outer, **options)

    @classmethod
    def of(cls, config: LlamaConfig, initializer: Initializer) -> FeedForward:
        """Return the one that a configuration describes."""
        return cls(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_act,
            std=config.initializer_range,
            initializer=initializer,
            bias=config.mlp_bias,
            fused=config.fused,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, T, C] to [B, T, C]."""
        if self.fused:
            gate, up = jnp.split(self.gate_up_proj(x), 2, axis=-1)
        else:
            gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(ACTIVATIONS[self.activation](gate) * up)


class Block(nnx.Module):
    """Attention and feed-forward layer, each with a norm and a residual path.

    The norms precede the layers, or follow them in OLMo 2 (arXiv:2501.00656).
    """

    def __init__(self, config: LlamaConfig, layer: int, initializer: Initializer) -> None:
        self.post_norm = config.post_norm
        self.residual = config.residual_multiplier
        self.norm_names = block_norms(config)
        for name in self.norm_names:
            setattr(self, name, RmsNorm(config.hidden_size, config.rms_norm_eps))
        self.self_attn = Attention(config, layer, initializer)
        self.mlp = FeedForward.of(config, initializer)

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, context: ForwardContext, rope: CosSin
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C]; see :class:`Attention`."""
        first, second = (getattr(self, name) for name in self.norm_names)
        if self.post_norm:
            mixed, cache = self.self_attn(x, cache, context, rope)
            x = x + first(mixed)
            return x + second(self.mlp(x)), cache
        mixed, cache = self.self_attn(first(x), cache, context, rope)
        x = x + self._scaled(mixed)
        return x + self._scaled(self.mlp(second(x))), cache

    def _scaled(self, x: jax.Array) -> jax.Array:
        return x if self.residual == 1 else x * self.residual


BlockClass = Callable[[Any, int, Initializer], nnx.Module]
"""Builder of a block from the configuration and the number of its layer."""

NormClass = Callable[[int, float], nnx.Module]
"""Builder of a norm from its width and epsilon."""


class Body(nnx.Module):
    """Everything below the output layer."""

    def __init__(
        self, config: Any, initializer: Initializer, block: BlockClass, norm: NormClass
    ) -> None:
        sizes, std = (config.vocab_size, config.hidden_size), config.initializer_range
        self.embed_tokens = Embedding(*sizes, std=std, initializer=initializer)
        self.layers = nnx.List(
            [block(config, i, initializer) for i in range(config.num_hidden_layers)]
        )
        self.norm = norm(config.hidden_size, config.rms_norm_eps)


class RotaryDecoder(nnx.Module):
    """A language model of blocks that take rotations of positions."""

    def __init__(
        self, config: Any, initializer: Initializer, block: BlockClass, norm: NormClass
    ) -> None:
        self.rotary = Rotary.of(config.rope)
        self.width = config.head_dim
        self.model = Body(config, initializer, block, norm)
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
        context = self.context(mask, start, dropout_key)
        layers = self.rotated_layers(positions)
        x, cache = run_layers(layers, self.embed(tokens), cache, context, remat=remat)
        norm: Any = self.model.norm
        return norm(x), cache

    def context(
        self, mask: AttentionMask, start: Any, dropout_key: jax.Array | None
    ) -> ForwardContext:
        """Return the inputs that all layers of a pass share."""
        return ForwardContext.of(mask, start, Dropout(dropout_key))

    def rotated_layers(self, positions: ArrayLike) -> list[Layer]:
        """Return the blocks with the rotation of ``positions``."""
        rope = self.rotary.cos_sin(positions, self.width)
        return [partial(layer, rope=rope) for layer in self.model.layers]

    def embed(self, tokens: ArrayLike) -> jax.Array:
        """Return the inputs [B, T, C] of the first block."""
        return self.model.embed_tokens(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits of the next token: [..., C] to [..., V]."""
        scores = self.model.embed_tokens.scores if self.lm_head is None else self.lm_head
        return scores(hidden)


class Llama(RotaryDecoder):
    """The language model."""

    def __init__(
        self, config: LlamaConfig, initializer: Initializer, block: BlockClass = Block
    ) -> None:
        super().__init__(config, initializer, block, RmsNorm)
        self.embedding_multiplier = config.embedding_multiplier
        self.logits_scaling = config.logits_scaling

    def embed(self, tokens: ArrayLike) -> jax.Array:
        """Return the inputs [B, T, C] of the first block."""
        x = super().embed(tokens)
        return x if self.embedding_multiplier == 1 else x * self.embedding_multiplier

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits of the next token: [..., C] to [..., V]."""
        logits = super().logits(hidden)
        return logits if self.logits_scaling == 1 else logits / self.logits_scaling
