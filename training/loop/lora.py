"""Low-rank adaptation (Hu et al., arXiv:2106.09685): small trained matrices, frozen weights.

A linear layer y = W x becomes y = W x + alpha / rank · B A x, where A is [rank, inputs] and B is
[outputs, rank]. A starts uniformly distributed and B at zero, as in Hugging Face's PEFT, so that
training starts from the unchanged model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from tailrace.formats.model.families.family import OUTPUT_LAYER
from tailrace.formats.spec.run_spec import BaseDtype, LoraSpec
from training.errors import ConfigError
from training.loop.precision import cast
from training.machine.sharding import Layout
from training.models.family import Decoder, LazyParams, Model, Params, ParamsMapping
from training.models.layers import Dropout, Linear, TransposedLinear, matmul_transposed
from training.models.quantized import QuantizedLinear, dequantize, quantize, require_matrices
from training.models.stored_weights import Weights

_DROPOUT = 0x4C6F5241
"""Constant folded into the dropout key, so that adapters draw other numbers than the model."""


@dataclass(frozen=True)
class Target:
    """A linear layer with an adapter."""

    module: str
    """Name, such as ``model.layers.0.self_attn.q_proj``."""
    inputs: int
    outputs: int
    transposed: bool
    """True if the weight is stored as [inputs, outputs], as in GPT-2."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the frozen weight."""
        return (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)

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
    """Module that adds an adapter's output to that of its linear layer."""

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
        """Map [..., inputs] to [..., outputs]."""
        low = matmul_transposed(Dropout(self.key)(x, self.dropout), self.down)
        added: jax.Array = self.base(x) + matmul_transposed(low, self.up * self.scale)
        return added


class LoraAdapter:
    """A training of A and B of every target; see :class:`.trainable.TrainableSplit`."""

    def __init__(self, model: Model, spec: LoraSpec, dtype: DTypeLike, seed: int) -> None:
        """Find the targets in the model.

        Raises:
            ConfigError: The model has no linear layer of a target's name, or weights that cannot be
                quantized.
        """
        self.spec = spec
        self.targets = find_targets(model, spec.target_modules)
        self.quantized = _quantized_layers(model, spec.base_dtype)
        self._model = model
        self.dtype = dtype
        self.is_exact = dtype == jnp.float32 and not self.quantized
        self.frozen_head = all(target.weight != OUTPUT_LAYER for target in self.targets)
        self._seed = seed

    @property
    def parameters(self) -> int:
        """Number of values in all A and B."""
        return sum(self.spec.rank * (t.inputs + t.outputs) for t in self.targets)

    @property
    def scale(self) -> float:
        """Factor of the product of B and A."""
        return self.spec.alpha / self.spec.rank

    @property
    def module_names(self) -> list[str]:
        """Names of the adapted layers for a spec, as short as they are unambiguous."""
        return short_names(self._model, [target.module for target in self.targets])

    def start(self, weights: Weights, layout: Layout | None = None) -> tuple[Params, Params]:
        """Return the adapters, and the model's weights in ``dtype`` or quantized.

        The adapters are those that ``weights`` continue, or fresh ones.
        """
        if weights.adapter:
            trained = {name: jnp.array(value) for name, value in sorted(weights.adapter.items())}
        else:
            trained = self.fresh()
        if layout is not None:
            trained = layout.place(trained)
        return trained, self._freeze(weights, layout)

    def fresh(self) -> Params:
        """Return random A, and B of zeros, sorted by name."""
        trained: Params = {}
        root = jax.random.key(self._seed)
        for index, target in enumerate(self.targets):
            bound = target.inputs**-0.5
            shape = (self.spec.rank, target.inputs)
            key = jax.random.fold_in(root, index)
            trained[target.down] = jax.random.uniform(key, shape, minval=-bound, maxval=bound)
            trained[target.up] = jnp.zeros((target.outputs, self.spec.rank))
        return dict(sorted(trained.items()))

    def _freeze(self, weights: Weights, layout: Layout | None) -> Params:
        if not self.quantized:
            return weights.load(layout, self.dtype)
        frozen: Params = {}
        names = {layer.weight for layer in self.quantized}
        for name in self._model.shapes:
            if name in names:
                # The float32 values are dropped once the codes are there.
                wide = weights.tensor(name, layout, jnp.float32)
                codes = {name: quantize(wide, self.spec.base_dtype)}
                frozen |= codes if layout is None else layout.put(codes)
            else:
                frozen[name] = weights.tensor(name, layout, self.dtype)
        return frozen

    def decoder(self, trained: Params, frozen: Params, key: jax.Array | None = None) -> Decoder:
        """Return the model with an adapter around each target."""
        decoder = self._bind(frozen)
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

    def _bind(self, frozen: Params) -> Decoder:
        """Return the model without adapters, with its quantized layers in place."""
        struct: Any = jax.ShapeDtypeStruct
        shapes = self._model.shapes
        unused = {
            layer.weight: struct(shapes[layer.weight], self.dtype) for layer in self.quantized
        }
        decoder = self._model.bind({**frozen, **unused})
        for layer in self.quantized:
            parent, name = _find(decoder, layer.module)
            bias = getattr(parent, name).bias
            setattr(parent, name, QuantizedLinear(frozen[layer.weight], bias, layer.transposed))
        return decoder

    def merge(self, trained: Params, params: ParamsMapping) -> ParamsMapping:
        """Return the weights with the adapters added: W + alpha / rank · B A, each when it is read.

        W is what the training computed with: of a quantized layer, the values of its codes. With
        the original weights the model would differ from the one that was trained and evaluated.
        """
        quantized = {layer.weight for layer in self.quantized}
        targets = {target.weight: target for target in self.targets}

        def merged(name: str) -> Any:
            weight = params[name]
            if name in quantized:
                weight = dequantize(quantize(weight, self.spec.base_dtype))
            if name not in targets:
                return weight
            up, down = trained[targets[name].up], trained[targets[name].down]
            left, right = (down.T, up.T) if targets[name].transposed else (up, down)
            return _add_product(weight, left, right, self.scale)

        return LazyParams(list(params), merged)


@jax.jit
def _add_product(weight: jax.Array, left: jax.Array, right: jax.Array, scale: float) -> jax.Array:
    return weight + scale * jnp.matmul(left, right, precision="highest")


def find_targets(model: Model, names: list[str]) -> list[Target]:
    """Return the linear layers whose name is, or ends with, one of ``names``, sorted by name.

    Without names, all layers but the output layer.

    Raises:
        ConfigError: No layer has one of the names; the error lists all of these.
    """
    layers = sorted(linear_layers(model), key=lambda target: target.module)
    if not names:
        return [target for target in layers if target.weight != OUTPUT_LAYER]
    strangers = [name for name in names if not any(_matches(t, name) for t in layers)]
    if strangers:
        known_names = sorted({target.module.rsplit(".", 1)[-1] for target in layers})
        experts = ""
        if model.dimensions.experts:
            experts = "; weights of experts and routers cannot have adapters"
        raise ConfigError(
            f"train.adapter.lora.target_modules: the model has no linear layer "
            f"{', '.join(map(repr, strangers))}; it has {', '.join(known_names)}{experts}"
        )
    return [target for target in layers if any(_matches(target, name) for name in names)]


def short_names(model: Model, modules: Iterable[str]) -> list[str]:
    """Return names that choose exactly these linear layers, sorted.

    They are the last parts of the layers' names, or the whole names where other layers share these.
    """
    full_names = sorted(modules)
    short = sorted({module.rsplit(".", 1)[-1] for module in full_names})
    chosen = [target.module for target in find_targets(model, short)]
    return short if chosen == full_names else full_names


def _quantized_layers(model: Model, dtype: BaseDtype) -> list[Target]:
    """Return the linear layers whose weights are quantized.

    Raises:
        ConfigError: The model has a stack of matrices, such as a mixture of experts.
    """
    if dtype is BaseDtype.NONE:
        return []
    require_matrices(model.shapes)
    return find_targets(model, [])


def _matches(target: Target, name: str) -> bool:
    return f".{target.module}".endswith(f".{name}")


def linear_layers(model: Model) -> Iterator[Target]:
    """Yield all linear layers of a model."""
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
    """Return the parent of a layer, and the layer's name in it."""
    *parents, name = module.split(".")
    parent = decoder
    for part in parents:
        parent = parent[int(part)] if part.isdigit() else getattr(parent, part)
    return parent, name
