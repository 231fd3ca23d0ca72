"""Mixtures of experts: Llama's decoder with sparse feed-forward layers.

Mixtral (arXiv:2401.04088) and Qwen3-MoE (arXiv:2505.09388). Attribute names follow the tensor names
of Hugging Face's checkpoints, where each expert has its own tensors; here those of a layer are
stacked. Shapes: B sequences, T query tokens, C channels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax import nnx

from tailrace.formats.model.families.mixture import MixtureConfig
from training.models.attention import AttentionMask, ForwardContext, LayerCache
from training.models.experts.balance import RouterLog
from training.models.experts.feed_forward import SparseFeedForward
from training.models.initializers import Initializer
from training.models.layers import RmsNorm
from training.models.llama import Attention, FeedForward, Llama
from training.models.rotary import CosSin


class MixtureBlock(nnx.Module):
    """Attention and a dense or sparse feed-forward layer, each with a norm and a residual path."""

    def __init__(self, config: MixtureConfig, layer: int, initializer: Initializer) -> None:
        self.is_sparse = config.sparse_layers[layer]
        self.name = config.sparse_name if self.is_sparse else "mlp"
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer, initializer)
        feed_forward = SparseFeedForward if self.is_sparse else FeedForward.of
        setattr(self, self.name, feed_forward(config, initializer))

    def __call__(
        self, x: jax.Array, cache: LayerCache | None, context: ForwardContext, rope: CosSin
    ) -> tuple[jax.Array, LayerCache | None]:
        """Map [B, T, C] to [B, T, C]; see :class:`training.models.llama.Attention`."""
        mixed, cache = self.self_attn(self.input_layernorm(x), cache, context, rope)
        x = x + mixed
        inner = self.post_attention_layernorm(x)
        feed_forward = getattr(self, self.name)
        mapped = feed_forward(inner, context.routers) if self.is_sparse else feed_forward(inner)
        return x + mapped, cache


class Mixture(Llama):
    """The language model."""

    def __init__(self, config: MixtureConfig, initializer: Initializer) -> None:
        super().__init__(config, initializer, MixtureBlock)
        self.router_log: RouterLog | None = None
        """Receiver of the routers' decisions in later passes; None for none."""

    def context(
        self, mask: AttentionMask, start: Any, dropout_key: jax.Array | None
    ) -> ForwardContext:
        """Return the inputs that all layers share, with the record of routers."""
        context = super().context(mask, start, dropout_key)
        return dataclasses.replace(context, routers=self.router_log)
