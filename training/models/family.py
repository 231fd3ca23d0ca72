"""What every model family shares: the decoder's interface and bound parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

from training.models.attention import Cache, LayerCache
from training.models.draws import Draws, NoDraws

Params = dict[str, jax.Array]
"""A model's parameters by their Hugging Face tensor name, float32."""


class Decoder(Protocol):
    """A decoder-only language model."""

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
        """Last hidden states [B, T, C] and the updated cache.

        ``tokens`` and ``positions`` are [B or 1, T] integers, ``mask`` is [B or 1, T, S], true
        where a query may look at a key. With a ``cache`` the S keys are its columns, of which
        ``start`` to ``start`` + T are written, ``start`` being one for all sequences or [B];
        without a cache (empty) S = T. ``dropout_key`` turns
        dropout on. ``remat`` trades time for memory in the backward pass, see
        :func:`training.models.attention.run_layers`.
        """
        ...

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token: [..., C] to [..., V]."""
        ...


@dataclass(frozen=True)
class Family:
    """One architecture: how to read, write and build it."""

    model_type: str
    """``model_type`` in Hugging Face's ``config.json``."""
    parse_config: Callable[[Mapping[str, Any]], Any]
    """``config.json`` to the family's configuration."""
    dump_config: Callable[[Any], dict[str, Any]]
    """The inverse of ``parse_config``."""
    build: Callable[[Any, Draws], nnx.Module]
    """A module with fresh weights; it is a :class:`Decoder`."""
    prefix: str
    """What tensor names begin with, except where a checkpoint holds the bare body."""
    embedding: str
    """Tensor name of the input embedding, which the output layer may share."""
    buffers: tuple[str, ...]
    """Ends of tensor names in old checkpoints that are no parameters."""
    context: Callable[[Any], int]
    """Longest sequence in tokens."""
    cache_shape: Callable[[Any], tuple[int, int, int]]
    """Layers, key-value heads and head width of the key-value cache."""


class Model:
    """An architecture with its configuration; parameters are kept apart, as a flat mapping."""

    def __init__(self, family: Family, config: Any) -> None:
        self.family = family
        self.config = config
        abstract = nnx.eval_shape(lambda: family.build(config, NoDraws()))
        self._graph, state = nnx.split(abstract)
        self._paths = {self._name(path): path for path, _ in nnx.to_flat_state(state)}
        self._variables = {self._name(path): leaf for path, leaf in nnx.to_flat_state(state)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name in sorted order."""
        return {name: tuple(v.shape) for name, v in sorted(self._variables.items())}

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(v.size for v in self._variables.values())

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return self.family.context(self.config)

    @property
    def vocabulary(self) -> int:
        """Number of tokens that it knows."""
        return self.shapes[self.family.embedding][0]

    def init(self, seed: int) -> Params:
        """Fresh parameters; the same seed gives the same ones."""
        module = self.family.build(self.config, Draws(seed))
        leaves = nnx.to_flat_state(nnx.state(module))
        return dict(sorted((self._name(path), leaf[...]) for path, leaf in leaves))

    def bind(self, params: Params) -> Decoder:
        """The decoder with these parameters; cheap, made for use inside ``jax.jit``."""
        leaves = [
            (path, self._variables[name].replace(params[name]))
            for name, path in self._paths.items()
        ]
        module: Any = nnx.merge(self._graph, nnx.from_flat_state(leaves))
        return module  # type: ignore[no-any-return]

    def empty_cache(self, batch: int, length: int, dtype: DTypeLike = jnp.float32) -> Cache:
        """A key-value cache of ``length`` columns for ``batch`` sequences, filled with zeros."""
        layers, heads, width = self.family.cache_shape(self.config)
        key = jnp.zeros((batch, heads, width, length), dtype)
        value = jnp.zeros((batch, heads, length, width), dtype)
        return tuple(LayerCache(key, value) for _ in range(layers))

    @staticmethod
    def _name(path: tuple[Any, ...]) -> str:
        *parents, leaf = (str(part) for part in path)
        leaf = "bias" if leaf == "bias" else "weight"
        return ".".join([*parents, leaf])
