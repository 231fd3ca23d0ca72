"""The record of a model family: every fact that its support needs besides its arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.formats.model.config_reader import ConfigReader

Shapes = dict[str, tuple[int, ...]]
"""Tensor name to shape."""

OUTPUT_LAYER = "lm_head.weight"
"""Tensor name of the output layer in all families."""

Stacks = dict[str, tuple[str, ...]]
"""Parameter name to the names of the tensors that it holds, in the order of its first dimension."""

FSDP, TENSOR, EXPERTS = "fsdp", "tensor", "experts"
"""Mesh axes that parameters are split over."""

AxisRules = Sequence[tuple[str, tuple[str | None, ...]]]
"""Regular expressions for whole parameter names, and the mesh axis of each dimension. The first
match counts; a parameter without a match is replicated."""


@dataclass(frozen=True)
class Dimensions:
    """Sizes of an architecture, in values, from which its memory and arithmetic follow."""

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
    """True if the feed-forward layer has a gate in addition to its first map."""
    vocabulary: int
    context: int
    """Longest sequence in tokens."""
    dropout: bool
    """True if dropout masks are kept for the backward pass."""
    sparse_layers: int = 0
    """Layers whose feed-forward layer consists of experts."""
    experts: int = 0
    """Experts in each of these."""
    active_experts: int = 0
    """Experts that a token is sent to."""
    expert_inner: int = 0
    """Channels of an expert."""
    cache_limit: int | None = None
    """Longest sequence whose cached keys hold; a longer one is computed again from its start."""
    normalized: int = 0
    """Channels of a block that are normalized besides the inputs of its two layers."""
    capped: bool = False
    """True if the scores of attention are bounded (Gemma 2, arXiv:2408.00118)."""

    @property
    def attention(self) -> int:
        """Channels of all query heads together."""
        return self.heads * self.head_width


def no_stacks(config: object) -> Stacks:
    """Return no stacks: every parameter is one tensor."""
    del config
    return {}


_BYTE_LEVEL = ("GPT2Tokenizer", "Qwen2Tokenizer")


@dataclass(frozen=True)
class TokenizerRule:
    """Class of tokenizer that transformers 5 builds for a family."""

    default: str = ""
    """Class for a tokenizer_config.json that names none; empty: tokenizer.json unchanged."""
    fixed: bool = False
    """True if ``default`` holds whatever tokenizer_config.json names."""

    @property
    def byte_level(self) -> bool:
        """True if vocab.json and merges.txt alone make a tokenizer of this family."""
        return self.default in _BYTE_LEVEL


@dataclass(frozen=True)
class Family:
    """One model family."""

    model_type: str
    """``model_type`` of its config.json."""
    class_name: str
    """``architectures[0]`` of its config.json."""
    decoder: str
    """Key of its decoder in ``training.models.registry.DECODERS``."""
    read: Callable[[ConfigReader], Any]
    """Reader of config.json; returns the family's configuration."""
    write: Callable[[Any], dict[str, Any]]
    """Writer of config.json, the inverse of ``read``, without ``model_type`` and token ids."""
    shapes: Callable[[Any], Shapes]
    """Every tensor of the model that a configuration describes, by Hugging Face name."""
    dimensions: Callable[[Any], Dimensions]
    """Sizes of the model that a configuration describes."""
    prefix: str
    """Prefix of tensor names, which a checkpoint of the bare body lacks."""
    embedding: str
    """Tensor name of the input embedding, which the output layer may share."""
    axes: AxisRules
    """Mesh axes of the parameters."""
    buffers: tuple[str, ...] = ()
    """Suffixes of tensor names in old checkpoints that are not parameters."""
    lookups: tuple[str, ...] = ()
    """Tables besides the embedding that are indexed, never multiplied with."""
    transposed: bool = False
    """True if the weights of linear layers are stored as [inputs, outputs]."""
    unadapted: str = r"(?!)"
    """Regular expression for the names of further matrices that cannot have an adapter."""
    tokenizer: TokenizerRule = TokenizerRule()
    stacks: Callable[[Any], Stacks] = no_stacks
    """Parameters that checkpoints store as several tensors of one shape."""

    def is_table(self, name: str) -> bool:
        """Return True for a matrix that no adapter can have."""
        tables = (self.embedding, *self.lookups)
        return name in tables or re.fullmatch(self.unadapted, name) is not None

    def dump_config(self, config: Any) -> dict[str, Any]:
        """Return the config.json of a configuration, without token ids that it lacks."""
        names = {"architectures": [self.class_name], "model_type": self.model_type}
        return {**names, **self.write(config)}
