"""Mixtures of experts: Llama's decoder with sparse feed-forward layers.

Mixtral (arXiv:2401.04088) and Qwen3-MoE (arXiv:2505.09388). Attribute names follow the tensor names
of Hugging Face's checkpoints, where each expert has its own tensors; here those of a layer are
stacked. Shapes: B sequences, T query tokens, S key tokens, C channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from tailrace.formats.model.families.mixture import MixtureConfig
from training.models.attention import Cache, ForwardContext, LayerCache, run_layers
from training.models.experts import RouterSums, SparseFeedForward
from training.models.initializers import Initializer
from training.models.layers import Dropout, RmsNorm
from training.models.llama import Attention, FeedForward, Llama
from training.models.rotary import CosSin

Stream = tuple[jax.Array, RouterSums | None]
"""Residual path [B, T, C], and the sums of the layers so far if they are asked for."""


class MixtureBlock(nnx.Module):
    """Attention and a dense or sparse feed-forward layer, each with a norm and a residual path."""

    def __init__(self, config: MixtureConfig, layer: int, initializer: Initializer) -> None:
        self.is_sparse = config.sparse_layers[layer]
        self.name = config.sparse_name if self.is_sparse else "mlp"
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer, initializer)
        feed_forward = SparseFeedForward if self.is_sparse else FeedForward
        setattr(self, self.name, feed_forward(config, initializer))

    def __call__(
        self,
        stream: Stream,
        cache: LayerCache | None,
        context: ForwardContext,
        rope: CosSin,
        real: jax.Array | None,
    ) -> tuple[Stream, LayerCache | None]:
        """Map the stream; see :class:`training.models.llama.Attention`.

        ``real`` [B, T] is true for the tokens that count in the sums.
        """
        x, sums = stream
        mixed, cache = self.self_attn(self.input_layernorm(x), cache, context, rope)
        x = x + mixed
        inner, feed_forward = self.post_attention_layernorm(x), getattr(self, self.name)
        if self.is_sparse:
            mapped, sums = feed_forward(inner, sums, real)
        else:
            mapped = feed_forward(inner)
        return (x + mapped, sums), cache


class Mixture(Llama):
    """The language model."""

    def __init__(self, config: MixtureConfig, initializer: Initializer) -> None:
        super().__init__(config, initializer, MixtureBlock)
        self.experts = config.experts

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
        """Return the last hidden states; see :meth:`training.models.family.Decoder.hidden`."""
        context = ForwardContext(mask, start, Dropout(dropout_key))
        x, _, cache = self._run(tokens, positions, context, cache, None, remat=remat)
        return x, cache

    def routed_hidden(
        self,
        tokens: ArrayLike,
        positions: ArrayLike,
        mask: jax.Array,
        real: jax.Array,
        dropout_key: jax.Array | None = None,
        *,
        remat: bool = False,
    ) -> tuple[jax.Array, RouterSums]:
        """Return the last hidden states, and the routers' sums over the ``real`` tokens [B, T]."""
        context = ForwardContext(mask, 0, Dropout(dropout_key))
        x, sums, _ = self._run(tokens, positions, context, (), real, remat=remat)
        return x, RouterSums.zeros(self.experts) if sums is None else sums

    def _run(
        self,
        tokens: ArrayLike,
        positions: ArrayLike,
        context: ForwardContext,
        cache: Cache,
        real: jax.Array | None,
        *,
        remat: bool,
    ) -> tuple[jax.Array, RouterSums | None, Cache]:
        rope = self.rotary.cos_sin(positions, self.width)
        layers: Any = [partial(layer, rope=rope, real=real) for layer in self.model.layers]
        sums = None if real is None else RouterSums.zeros(self.experts)
        stream: Any = (self.model.embed_tokens(tokens), sums)
        (x, sums), cache = run_layers(layers, stream, cache, context, remat=remat)
        return self.model.norm(x), sums, cache
