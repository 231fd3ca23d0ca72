"""GPT-2: a decoder with learned positions and pre-layer-norm blocks.

Architecture: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Attribute
names follow the tensor names of Hugging Face's checkpoints, so that both map mechanically.
Shapes: B sequences, T query tokens, S key tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.config import GPT2_REFUSED, read_gpt2
from training.models.attention import Cache, LayerCache, Pass, attend, run_layers
from training.models.config_json import ConfigReader
from training.models.draws import Draws
from training.models.family import Family
from training.models.layers import (
    ACTIVATIONS,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    TransposedLinear,
)


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
    tie_word_embeddings: bool = True
    """Whether the output layer is the input embedding."""


class Attention(nnx.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: Gpt2Config, draws: Draws) -> None:
        width, spread = config.n_embd, config.initializer_range
        self.heads = config.n_head
        self.dropout = config.attn_pdrop
        self.c_attn = TransposedLinear(width, 3 * width, spread=spread, draws=draws)
        # Residual projections start smaller, as the original's section 2.3 prescribes.
        residual = spread / (2 * config.n_layer) ** 0.5
        self.c_proj = TransposedLinear(width, width, spread=residual, draws=draws)

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, shared: Pass
    ) -> tuple[jax.Array, LayerCache | None]:
        """[B, T, C] to [B, T, C]; see :func:`training.models.attention.attend`."""
        shape = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        query, key, value = (part.reshape(shape) for part in jnp.split(self.c_attn(x), 3, axis=-1))
        mixed, cache = attend(query, key, value, shared.mask, cache, shared, self.dropout)
        return self.c_proj(mixed), cache


class FeedForward(nnx.Module):
    """The two-layer perceptron of a block."""

    def __init__(self, config: Gpt2Config, draws: Draws) -> None:
        spread = config.initializer_range
        self.activation = config.activation_function
        residual = spread / (2 * config.n_layer) ** 0.5
        outer, inner = config.n_embd, config.n_inner
        self.c_fc = TransposedLinear(outer, inner, spread=spread, draws=draws)
        self.c_proj = TransposedLinear(inner, outer, spread=residual, draws=draws)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] to [B, T, C]."""
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x)))


class Block(nnx.Module):
    """Attention and feed-forward layer, each after a layer norm and with a residual path."""

    def __init__(self, config: Gpt2Config, draws: Draws) -> None:
        self.dropout = config.resid_pdrop
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = Attention(config, draws)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = FeedForward(config, draws)

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, shared: Pass
    ) -> tuple[jax.Array, LayerCache | None]:
        """[B, T, C] to [B, T, C]; see :class:`Attention`."""
        # Norms and residual paths over rows of tokens: XLA's CPU compiler does better with them.
        rows = x.reshape(-1, x.shape[-1])
        mixed, cache = self.attn(self.ln_1(rows).reshape(x.shape), cache, shared)
        rows = rows + shared.drop(mixed.reshape(rows.shape), self.dropout)
        rows = rows + shared.drop(self.mlp(self.ln_2(rows)), self.dropout)
        return rows.reshape(x.shape), cache


class Gpt2Body(nnx.Module):
    """Everything below the output layer."""

    def __init__(self, config: Gpt2Config, draws: Draws) -> None:
        spread = config.initializer_range
        self.wte = Embedding(config.vocab_size, config.n_embd, spread=spread, draws=draws)
        self.wpe = Embedding(config.n_positions, config.n_embd, spread=spread, draws=draws)
        self.h = nnx.List([Block(config, draws) for _ in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon)


class Gpt2(nnx.Module):
    """The language model."""

    def __init__(self, config: Gpt2Config, draws: Draws) -> None:
        self.dropout = config.embd_pdrop
        self.last_position = config.n_positions - 1
        self.transformer = Gpt2Body(config, draws)
        sizes, spread = (config.n_embd, config.vocab_size), config.initializer_range
        tied = config.tie_word_embeddings
        self.lm_head = None if tied else Linear(*sizes, bias=False, spread=spread, draws=draws)

    def hidden(
        self,
        tokens: ArrayLike,
        positions: ArrayLike,
        mask: jax.Array,
        cache: Cache = (),
        start: Any = 0,
        dropout_key: jax.Array | None = None,
        *,
        remat: bool = False,
    ) -> tuple[jax.Array, Cache]:
        """Last hidden states; arguments as in :class:`training.models.family.Decoder`."""
        body, shared = self.transformer, Pass(mask, start, Dropout(dropout_key))
        # Rows are padded to a bucket's size, which may lie beyond the last position there is.
        x = body.wte(tokens) + body.wpe(jnp.minimum(positions, self.last_position))
        x = shared.drop(x, self.dropout)
        x, cache = run_layers(body.h, x, cache, shared, remat=remat)
        return body.ln_f(x), cache

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token: [..., C] to [..., V]."""
        if self.lm_head is not None:
            return self.lm_head(hidden)
        return self.transformer.wte.scores(hidden)


def parse_config(data: Mapping[str, Any]) -> Gpt2Config:
    """Read ``config.json``; errors as :meth:`training.models.config_json.ConfigReader.finish`."""
    reader = ConfigReader(data)
    values = read_gpt2(reader)
    reader.finish()
    return Gpt2Config(**values)


def dump_config(config: Gpt2Config) -> dict[str, Any]:
    """What ``config.json`` says about a GPT-2 beside the token ids."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{name: getattr(config, name) for name in config.__dataclass_fields__},
        **GPT2_REFUSED,
    }


FAMILY = Family(
    model_type="gpt2",
    parse_config=parse_config,
    dump_config=dump_config,
    build=Gpt2,
    prefix="transformer.",
    embedding="transformer.wte.weight",
    # Old checkpoints store the causal mask.
    buffers=(".attn.bias", ".attn.masked_bias"),
    context=lambda config: int(config.n_positions),
    cache_shape=lambda config: (config.n_layer, config.n_head, config.n_embd // config.n_head),
)
"""GPT-2, from distilgpt2 to gpt2-xl."""
