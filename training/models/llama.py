"""Llama: a pre-norm decoder with rotary positions, grouped heads and a gated feed-forward layer.

Architecture: Touvron et al., arXiv:2302.13971 and arXiv:2307.09288; the feed-forward layer is
SwiGLU (Shazeer, arXiv:2002.05202). SmolLM2 is one; Mistral, Qwen2 and Qwen3 differ from it in
switches only, which their files set. Attribute names follow the tensor names of Hugging Face's
checkpoints. Shapes: B sequences, T query tokens, S key tokens, C channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.config import read_llama
from training.models.attention import Cache, LayerCache, Pass, attend, run_layers
from training.models.draws import Draws
from training.models.family import Family
from training.models.layers import ACTIVATIONS, Dropout, Embedding, Linear, RmsNorm
from training.models.llama_config import LlamaConfig, dump_common, parse_with
from training.models.rotary import rotate

Waves = tuple[jax.Array, jax.Array]
"""Cosines and sines of a pass, see :meth:`training.models.rotary.Rotary.waves`."""


class Attention(nnx.Module):
    """Causal self-attention with grouped key-value heads and rotary positions."""

    def __init__(self, config: LlamaConfig, layer: int, draws: Draws) -> None:
        width, spread = config.head_dim, config.initializer_range
        queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
        self.width = width
        self.dropout = config.attention_dropout
        slides = bool(config.sliding_layers) and config.sliding_layers[layer]
        self.window = config.sliding_window if slides else None

        def linear(inputs: int, outputs: int, bias: bool) -> Linear:
            return Linear(inputs, outputs, bias=bias, spread=spread, draws=draws)

        self.q_proj = linear(config.hidden_size, queries, config.qkv_bias)
        self.k_proj = linear(config.hidden_size, keys, config.qkv_bias)
        self.v_proj = linear(config.hidden_size, keys, config.qkv_bias)
        self.o_proj = linear(queries, config.hidden_size, config.output_bias)
        self.q_norm = RmsNorm(width, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RmsNorm(width, config.rms_norm_eps) if config.qk_norm else None

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, shared: Pass, waves: Waves
    ) -> tuple[jax.Array, LayerCache | None]:
        """[B, T, C] to [B, T, C]; see :func:`training.models.attention.attend`."""
        heads = (*x.shape[:2], -1, self.width)
        query = self.q_proj(x).reshape(heads)
        key = self.k_proj(x).reshape(heads)
        value = self.v_proj(x).reshape(heads)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rotate(query, waves), rotate(key, waves)
        mask = shared.mask if self.window is None else shared.within(self.window)
        mixed, cache = attend(query, key, value, mask, cache, shared, self.dropout)
        return self.o_proj(mixed), cache


class FeedForward(nnx.Module):
    """The gated perceptron of a block."""

    def __init__(self, config: LlamaConfig, draws: Draws) -> None:
        self.activation = config.hidden_act
        outer, inner = config.hidden_size, config.intermediate_size
        options: dict[str, Any] = {
            "bias": config.mlp_bias,
            "spread": config.initializer_range,
            "draws": draws,
        }
        self.gate_proj = Linear(outer, inner, **options)
        self.up_proj = Linear(outer, inner, **options)
        self.down_proj = Linear(inner, outer, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] to [B, T, C]."""
        gate = ACTIVATIONS[self.activation](self.gate_proj(x))
        return self.down_proj(gate * self.up_proj(x))


class Block(nnx.Module):
    """Attention and feed-forward layer, each after a norm and with a residual path."""

    def __init__(self, config: LlamaConfig, layer: int, draws: Draws) -> None:
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer, draws)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config, draws)

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, shared: Pass, waves: Waves
    ) -> tuple[jax.Array, LayerCache | None]:
        """[B, T, C] to [B, T, C]; see :class:`Attention`."""
        mixed, cache = self.self_attn(self.input_layernorm(x), cache, shared, waves)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), cache


class LlamaBody(nnx.Module):
    """Everything below the output layer."""

    def __init__(self, config: LlamaConfig, draws: Draws) -> None:
        sizes, spread = (config.vocab_size, config.hidden_size), config.initializer_range
        self.embed_tokens = Embedding(*sizes, spread=spread, draws=draws)
        self.layers = nnx.List([Block(config, i, draws) for i in range(config.num_hidden_layers)])
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nnx.Module):
    """The language model."""

    def __init__(self, config: LlamaConfig, draws: Draws) -> None:
        self.rotary = config.rotary
        self.width = config.head_dim
        self.model = LlamaBody(config, draws)
        sizes, spread = (config.hidden_size, config.vocab_size), config.initializer_range
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
        shared = Pass(mask, start, Dropout(dropout_key))
        waves = self.rotary.waves(positions, self.width)
        layers = [partial(layer, waves=waves) for layer in self.model.layers]
        x = self.model.embed_tokens(tokens)
        x, cache = run_layers(layers, x, cache, shared, remat=remat)
        return self.model.norm(x), cache

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token: [..., C] to [..., V]."""
        if self.lm_head is not None:
            return self.lm_head(hidden)
        return self.model.embed_tokens.scores(hidden)


def llama_family(
    model_type: str,
    parse_config: Callable[[Mapping[str, Any]], LlamaConfig],
    dump_config: Callable[[LlamaConfig], dict[str, Any]],
) -> Family:
    """A family that builds :class:`Llama` from a configuration of its own."""
    return Family(
        model_type=model_type,
        parse_config=parse_config,
        dump_config=dump_config,
        build=Llama,
        prefix="model.",
        embedding="model.embed_tokens.weight",
        # Old checkpoints store the frequencies, which follow from the configuration.
        buffers=(".rotary_emb.inv_freq",),
        context=lambda config: int(config.max_position_embeddings),
        cache_shape=lambda config: (
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
        ),
    )


def parse_config(data: Mapping[str, Any]) -> LlamaConfig:
    """Read ``config.json``; errors as :func:`training.models.llama_config.parse_with`."""
    return parse_with(read_llama, data)


def dump_config(config: LlamaConfig) -> dict[str, Any]:
    """What ``config.json`` says about a Llama."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **dump_common(config),
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
    }


FAMILY = llama_family("llama", parse_config, dump_config)
"""Llama 1 to 3, SmolLM2 and what else calls itself a Llama."""
