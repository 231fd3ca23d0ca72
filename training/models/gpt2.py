"""GPT-2's decoder: learned positions and pre-layer-norm blocks.

Architecture: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Attribute
names follow the tensor names of Hugging Face's checkpoints, so that both map mechanically.
Shapes: B sequences, T query tokens, S key tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.families.gpt2 import Gpt2Config
from training.models.attention import (
    AttentionMask,
    Cache,
    ForwardContext,
    LayerCache,
    attend,
    run_layers,
)
from training.models.initializers import Initializer
from training.models.layers import (
    ACTIVATIONS,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    TransposedLinear,
)


class Attention(nnx.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: Gpt2Config, layer: int, initializer: Initializer) -> None:
        width, std = config.n_embd, config.initializer_range
        self.heads = config.n_head
        self.scale = (width // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            # As in Mistral's GPT-2 (Karamcheti et al. 2021): deep layers overflow half precision.
            self.scale /= layer + 1
        self.dropout = config.attn_pdrop
        self.c_attn = TransposedLinear(width, 3 * width, std=std, initializer=initializer)
        # Residual projections start smaller, as the original's section 2.3 prescribes.
        residual = std / (2 * config.n_layer) ** 0.5
        self.c_proj = TransposedLinear(width, width, std=residual, initializer=initializer)

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, context: ForwardContext
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C]; see :func:`training.models.attention.attend`."""
        shape = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        query, key, value = (part.reshape(shape) for part in jnp.split(self.c_attn(x), 3, axis=-1))
        mixed, cache = attend(
            query, key, value, context.mask, cache, context, self.dropout, self.scale
        )
        return self.c_proj(mixed), cache


class FeedForward(nnx.Module):
    """The two-layer perceptron of a block."""

    def __init__(self, config: Gpt2Config, initializer: Initializer) -> None:
        std = config.initializer_range
        self.activation = config.activation_function
        residual = std / (2 * config.n_layer) ** 0.5
        outer, inner = config.n_embd, config.n_inner
        self.c_fc = TransposedLinear(outer, inner, std=std, initializer=initializer)
        self.c_proj = TransposedLinear(inner, outer, std=residual, initializer=initializer)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, T, C] to [B, T, C]."""
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x)))


class Block(nnx.Module):
    """Attention and feed-forward layer, each after a layer norm and with a residual path."""

    def __init__(self, config: Gpt2Config, layer: int, initializer: Initializer) -> None:
        self.dropout = config.resid_pdrop
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = Attention(config, layer, initializer)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = FeedForward(config, initializer)

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, context: ForwardContext
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C]; see :class:`Attention`."""
        # Norms and residual paths run over [B·T, C], which XLA's CPU compiler handles better.
        rows = x.reshape(-1, x.shape[-1])
        mixed, cache = self.attn(self.ln_1(rows).reshape(x.shape), cache, context)
        rows = rows + context.drop(mixed.reshape(rows.shape), self.dropout)
        rows = rows + context.drop(self.mlp(self.ln_2(rows)), self.dropout)
        return rows.reshape(x.shape), cache


class Gpt2Body(nnx.Module):
    """Everything below the output layer."""

    def __init__(self, config: Gpt2Config, initializer: Initializer) -> None:
        std = config.initializer_range
        self.wte = Embedding(config.vocab_size, config.n_embd, std=std, initializer=initializer)
        self.wpe = Embedding(config.n_positions, config.n_embd, std=std, initializer=initializer)
        self.h = nnx.List([Block(config, i, initializer) for i in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon)


class Gpt2(nnx.Module):
    """The language model."""

    def __init__(self, config: Gpt2Config, initializer: Initializer) -> None:
        self.dropout = config.embd_pdrop
        self.last_position = config.n_positions - 1
        self.transformer = Gpt2Body(config, initializer)
        sizes, std = (config.n_embd, config.vocab_size), config.initializer_range
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
        body, context = self.transformer, ForwardContext.of(mask, start, Dropout(dropout_key))
        # Rows are padded to a bucket's size, which may exceed the last position.
        x = body.wte(tokens) + body.wpe(jnp.minimum(positions, self.last_position))
        x = context.drop(x, self.dropout)
        x, cache = run_layers(body.h, x, cache, context, remat=remat)
        return body.ln_f(x), cache

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits of the next token: [..., C] to [..., V]."""
        if self.lm_head is not None:
            return self.lm_head(hidden)
        return self.transformer.wte.scores(hidden)
