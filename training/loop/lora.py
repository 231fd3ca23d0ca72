"""Low-rank adaptation (Hu et al., arXiv:2106.09685): small trained matrices beside frozen weights.

A linear layer y = W x becomes y = W x + alpha / rank · B A x, where A is [rank, inputs] and B is
[outputs, rank]. A starts uniformly distributed and B at zero, as in Hugging Face's PEFT, so that
training starts from the model as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from tailrace.formats.model.families.family import OUTPUT_LAYER
from tailrace.formats.spec.run_spec import LoraSpec
from training.errors import ConfigError
from training.loop.precision import cast
from training.models.family import Decoder, Model, Params
from training.models.layers import Dropout, Linear, TransposedLinear

_DROPOUT = 0x4C6F5241
"""Sets the random numbers of adapters apart from those of the model's own dropout."""


@dataclass(frozen=True)
class Target:
    """A linear layer that gets an adapter."""

    module: str
    """Its name, such as ``model.layers.0.self_attn.q_proj``."""
    inputs: int
    outputs: int
    transposed: bool
    """Whether its weight is stored as [inputs, outputs], as in GPT-2."""

    @property
    def weight(self) -> str:
        """Name of the frozen weight."""
        return f"{self.module}.weight"

    @property
    def down(self) -> str:
        """Name of A."""
        return f"{self.module}.lora_A.weight"

    @property
    def up(self) -> str:
        """Name of B."""
        return f"{self.module}.lora_B.weight"


class AdaptedLinear(nnx.Module):
    """A linear layer with its adapter."""

    def __init__(
        self,
        base: Any,
        down: jax.Array,
        up: jax.Array,
        scale: float,
        dropout: float,
        key: jax.Array | None,
    ) -> None:
        self.base = base
        self.down = down
        self.up = up
        self.scale = scale
        self.dropout = dropout
        self.key = key

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] to [..., outputs]."""
        low = Dropout(self.key)(x, self.dropout) @ self.down.T
        added: jax.Array = self.base(x) + low @ self.up.T * self.scale
        return added


class LoraAdapter:
    """Trains A and B of every target; see :class:`training.loop.trainable.TrainableSplit`."""

    def __init__(self, model: Model, spec: LoraSpec, dtype: DTypeLike, seed: int) -> None:
        """Raises :class:`training.errors.ConfigError` when a target is no layer of the model."""
        self.spec = spec
        self.targets = find_targets(model, spec.target_modules)
        self._model = model
        self.dtype = dtype
        self.frozen_head = all(target.weight != OUTPUT_LAYER for target in self.targets)
        self._seed = seed

    @property
    def parameters(self) -> int:
        """Values of all A and B."""
        return sum(self.spec.rank * (t.inputs + t.outputs) for t in self.targets)

    @property
    def scale(self) -> float:
        """What the product of B and A is multiplied by."""
        return self.spec.alpha / self.spec.rank

    def start(self, params: Params) -> tuple[Params, Params]:
        """Fresh adapters, and the model's weights in the type that is computed in."""
        trained: Params = {}
        root = jax.random.key(self._seed)
        for index, target in enumerate(self.targets):
            bound = target.inputs**-0.5
            shape = (self.spec.rank, target.inputs)
            key = jax.random.fold_in(root, index)
            trained[target.down] = jax.random.uniform(key, shape, minval=-bound, maxval=bound)
            trained[target.up] = jnp.zeros((target.outputs, self.spec.rank))
        return dict(sorted(trained.items())), cast(params, self.dtype)

    def decoder(self, trained: Params, frozen: Params, key: jax.Array | None = None) -> Decoder:
        """The model with adapters in place of its targets."""
        decoder = self._model.bind(frozen)
        low = cast(trained, self.dtype)
        root = None if key is None else jax.random.fold_in(key, _DROPOUT)
        for index, target in enumerate(self.targets):
            parent, name = _find(decoder, target.module)
            own = None if root is None else jax.random.fold_in(root, index)
            adapted = AdaptedLinear(
                getattr(parent, name),
                low[target.down],
                low[target.up],
                self.scale,
                self.spec.dropout,
                own,
            )
            setattr(parent, name, adapted)
        return decoder

    def merged(self, trained: Params, params: Params) -> Params:
        """The model with its adapters added to the weights: W + alpha / rank · B A."""
        whole = dict(params)
        for target in self.targets:
            product = jnp.matmul(trained[target.up], trained[target.down], precision="highest")
            added = product.T if target.transposed else product
            whole[target.weight] = params[target.weight] + self.scale * added
        return whole


def find_targets(model: Model, names: list[str]) -> list[Target]:
    """The linear layers whose name is, or ends with, one of ``names``, sorted by name.

    Without names, all but the output layer. Raises :class:`training.errors.ConfigError` naming
    every name that no layer has.
    """
    layers = sorted(_linear_layers(model), key=lambda target: target.module)
    if not names:
        return [target for target in layers if target.weight != OUTPUT_LAYER]
    strangers = [name for name in names if not any(_matches(t, name) for t in layers)]
    if strangers:
        known = sorted({target.module.rsplit(".", 1)[-1] for target in layers})
        raise ConfigError(
            f"train.adapter.lora.target_modules: the model has no linear layer "
            f"{', '.join(map(repr, strangers))}; it has {', '.join(known)}"
        )
    return [target for target in layers if any(_matches(target, name) for name in names)]


def _matches(target: Target, name: str) -> bool:
    return f".{target.module}".endswith(f".{name}")


def _linear_layers(model: Model) -> Iterator[Target]:
    struct: Any = jax.ShapeDtypeStruct
    shapes = {name: struct(shape, jnp.float32) for name, shape in model.shapes.items()}
    abstract: Any = model.bind(shapes)
    for path, module in nnx.iter_modules(abstract):
        if isinstance(module, Linear | TransposedLinear):
            name = ".".join(map(str, path))
            first, second = model.shapes[f"{name}.weight"]
            transposed = isinstance(module, TransposedLinear)
            inputs, outputs = (first, second) if transposed else (second, first)
            yield Target(name, inputs, outputs, transposed)


def _find(decoder: Any, module: str) -> tuple[Any, str]:
    """The parent of a layer, and the layer's name in it."""
    *parents, name = module.split(".")
    parent = decoder
    for part in parents:
        parent = parent[int(part)] if part.isdigit() else getattr(parent, part)
    return parent, name
