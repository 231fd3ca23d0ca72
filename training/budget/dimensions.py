"""The sizes of an architecture that its cost in memory and arithmetic follows from."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tailrace.formats.model.architectures import OUTPUT_LAYER
from training.models.family import Model
from training.models.gpt2 import Gpt2Config
from training.models.llama_config import LlamaConfig

_POSITIONS = "transformer.wpe.weight"


@dataclass(frozen=True)
class Dimensions:
    """Sizes in values, not bytes."""

    layers: int
    width: int
    """Channels of the residual path."""
    heads: int
    """Query heads."""
    key_heads: int
    """Key-value heads."""
    head_width: int
    inner: int
    """Channels of the feed-forward layer."""
    gated: bool
    """Whether the feed-forward layer has a gate beside its first map."""
    vocabulary: int
    dropout: bool
    """Whether masks of dropped values are kept for the backward pass."""

    @property
    def attention(self) -> int:
        """Channels of all query heads together."""
        return self.heads * self.head_width


def dimensions(model: Model) -> Dimensions:
    """The sizes of a model. Raises :class:`TypeError` for an unknown kind of configuration."""
    config = model.config
    layers, key_heads, head_width = model.family.cache_shape(config)
    if isinstance(config, Gpt2Config):
        rates = (config.embd_pdrop, config.attn_pdrop, config.resid_pdrop)
        heads, width, inner, gated = config.n_head, config.n_embd, config.n_inner, False
        dropout = any(rates)
    elif isinstance(config, LlamaConfig):
        heads, width, gated = config.num_attention_heads, config.hidden_size, True
        inner, dropout = config.intermediate_size, config.attention_dropout > 0
    else:
        raise TypeError(f"the sizes of {type(config).__name__} are not known")
    return Dimensions(
        layers=layers,
        width=width,
        heads=heads,
        key_heads=key_heads,
        head_width=head_width,
        inner=inner,
        gated=gated,
        vocabulary=config.vocab_size,
        dropout=dropout,
    )


def matmul_parameters(model: Model) -> int:
    """The parameters that every token is multiplied with.

    Tables that are only looked up are not among them: positions, and the input embedding where the
    output layer is another.
    """
    shapes = model.shapes
    looked_up = {_POSITIONS} | ({model.family.embedding} if OUTPUT_LAYER in shapes else set())
    return sum(
        prod(shape) for name, shape in shapes.items() if len(shape) > 1 and name not in looked_up
    )


def flops_per_token(model: Model, length: int, trained: int) -> float:
    """Floating-point operations of one training step per token, forward and backward.

    The count of PaLM (Chowdhery et al., arXiv:2204.02311, appendix B): 6 N + 12 L H Q T, of which
    a third is the forward pass. Rematerialization is not counted. ``trained`` parameters beside
    frozen weights (an adapter) need no gradients of these, which saves a third of 6 N.
    """
    sizes, weights = dimensions(model), matmul_parameters(model)
    attention = 12.0 * sizes.layers * sizes.attention * length
    if trained < model.parameters:
        return 4.0 * weights + 6.0 * trained + attention
    return 6.0 * weights + attention
