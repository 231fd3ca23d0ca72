"""Models: the interface of decoders, and a family's configuration with its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

from tailrace.formats.model.families.family import Dimensions, Family, Shapes
from training.models.attention import AttentionMask, Cache, LayerCache
from training.models.initializers import Initializer, ShapeInitializer

Params = dict[str, jax.Array]
"""Parameters of a model by Hugging Face tensor name, float32."""

ParamsMapping = Mapping[str, Any]
"""The same, arrays on a device or on the host, in memory or computed when they are read."""


@dataclass(frozen=True)
class LazyParams(ParamsMapping):
    """Parameters of which each is computed when it is read."""

    names: Sequence[str]
    compute: Callable[[str], Any]
    """Function from a name to the parameter."""

    def __getitem__(self, name: str) -> Any:
        return self.compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Decoder(Protocol):
    """A decoder-only language model."""

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
        """Return the last hidden states [B, T, C] and the updated cache.

        Args:
            tokens: Token ids, [B or 1, T].
            positions: Positions, [B or 1, T].
            mask: Attention mask [B or 1, T, S], true where a query sees a key; or the mask of
                packed rows by example.
            cache: Key-value cache; its S columns are the keys. Empty: no cache, S = T.
            start: First cache column to write, one for all sequences or [B].
            dropout_key: Key that turns dropout on.
            remat: Trade time for memory in the backward pass; see
                :func:`training.models.attention.run_layers`.
        """
        ...

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits of the next token: [..., C] to [..., V]."""
        ...


Build = Callable[[Any, Initializer], nnx.Module]
"""Builder of a decoder from its family's configuration; the module is a :class:`Decoder`."""


class Model:
    """A model without its parameters, which are a separate flat mapping."""

    def __init__(self, family: Family, config: Any, build: Build) -> None:
        self.family = family
        self.config = config
        self.build = build
        abstract = nnx.eval_shape(lambda: build(config, ShapeInitializer()))
        self._graph, state = nnx.split(abstract)
        self._paths = {self._name(path): path for path, _ in nnx.to_flat_state(state)}
        self._variables = {self._name(path): leaf for path, leaf in nnx.to_flat_state(state)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, by name in sorted order."""
        return {name: tuple(v.shape) for name, v in sorted(self._variables.items())}

    @property
    def parts(self) -> dict[str, tuple[str, int]]:
        """Parameter and row of every stored tensor that is a part of a parameter."""
        return {
            stored: (name, row)
            for name, names in self.family.stacks(self.config).items()
            for row, stored in enumerate(names)
        }

    @property
    def stored_shapes(self) -> Shapes:
        """Shape of every tensor in the files of a model folder, by name in sorted order."""
        shapes = self.shapes
        parts = {stored: shapes[name][1:] for stored, (name, _) in self.parts.items()}
        stacked = {name for name, _ in self.parts.values()}
        whole = {name: shape for name, shape in shapes.items() if name not in stacked}
        return dict(sorted((whole | parts).items()))

    @property
    def parameters(self) -> int:
        """Number of parameter values."""
        return sum(v.size for v in self._variables.values())

    @property
    def dimensions(self) -> Dimensions:
        """Sizes of the architecture."""
        return self.family.dimensions(self.config)

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return self.dimensions.context

    @property
    def cache_limit(self) -> int | None:
        """Longest sequence whose cached keys hold; None if those of all sequences do."""
        return self.dimensions.cache_limit

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.dimensions.vocabulary

    def init(self, seed: int) -> Params:
        """Return fresh parameters; equal seeds give equal values."""
        module = self.build(self.config, Initializer(seed))
        leaves = nnx.to_flat_state(nnx.state(module))
        return dict(sorted((self._name(path), leaf[...]) for path, leaf in leaves))

    def bind(self, params: Params) -> Decoder:
        """Return the decoder with these parameters; cheap, for use inside ``jax.jit``."""
        leaves = [
            (path, self._variables[name].replace(params[name]))
            for name, path in self._paths.items()
        ]
        module: Any = nnx.merge(self._graph, nnx.from_flat_state(leaves))
        return module  # type: ignore[no-any-return]

    def empty_cache(self, batch: int, length: int, dtype: DTypeLike = jnp.float32) -> Cache:
        """Return a key-value cache of ``length`` columns for ``batch`` sequences, all zeros."""
        sizes = self.dimensions
        key = jnp.zeros((batch, sizes.key_heads, sizes.head_width, length), dtype)
        value = jnp.zeros((batch, sizes.key_heads, length, sizes.head_width), dtype)
        return tuple(LayerCache(key, value) for _ in range(sizes.layers))

    @staticmethod
    def _name(path: tuple[Any, ...]) -> str:
        *parents, leaf = (str(part) for part in path)
        leaf = "bias" if leaf == "bias" else "weight"
        return ".".join([*parents, leaf])
