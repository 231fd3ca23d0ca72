"""Feed-forward layers of experts, of which every token uses the few that a router chooses.

Shazeer et al., arXiv:1701.06538, without capacities: no token is dropped. Shapes: B sequences, T
tokens, C channels, E experts, K experts of a token.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from tailrace.formats.model.families.family import EXPERTS, TENSOR
from tailrace.formats.model.families.mixture import MixtureConfig
from training.machine.sharding import BATCH_AXES
from training.models.experts.balance import RouterLog
from training.models.experts.grouped import group
from training.models.initializers import Initializer
from training.models.layers import ACTIVATIONS, matmul_transposed

_spec: Any = PartitionSpec
_psum: Any = jax.lax.psum


class ExpertWeights(nnx.Module):
    """The linear maps of all experts, [E, outputs, inputs]."""

    def __init__(
        self, experts: int, inputs: int, outputs: int, std: float, initializer: Initializer
    ) -> None:
        self.weight = nnx.Param(initializer.normal((experts, outputs, inputs), std))


class Router(nnx.Module):
    """Linear map from a token to a logit for each expert, [E, C]."""

    def __init__(self, config: MixtureConfig, initializer: Initializer) -> None:
        shape = (config.experts, config.hidden_size)
        self.weight = nnx.Param(initializer.normal(shape, config.initializer_range))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the probabilities [..., E] in float32."""
        logits = matmul_transposed(x, self.weight[...])
        return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)


class Experts(nnx.Module):
    """Gated perceptrons."""

    def __init__(self, config: MixtureConfig, initializer: Initializer) -> None:
        self.activation = config.hidden_act
        self.names = config.expert_names
        outer, inner = config.hidden_size, config.expert_size
        for name, sizes in zip(
            self.names, ((outer, inner), (outer, inner), (inner, outer)), strict=True
        ):
            weights = ExpertWeights(config.experts, *sizes, config.initializer_range, initializer)
            setattr(self, name, weights)

    def __call__(self, x: jax.Array, experts: jax.Array, shares: jax.Array) -> jax.Array:
        """Map [B, T, C] to the sum of the chosen experts' outputs by their shares [B, T, K].

        On a mesh each device computes its own experts with its own rows.
        """
        weights = tuple(getattr(self, name).weight[...] for name in self.names)
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty:
            return self._compute(x, experts, shares, weights, 0)
        rows, axis, inner = self._splits(mesh, len(x), weights[0].shape)

        def local(
            x: jax.Array, experts: jax.Array, shares: jax.Array, weights: tuple[jax.Array, ...]
        ) -> jax.Array:
            first = 0 if axis is None else jax.lax.axis_index(axis) * len(weights[0])
            partial_sums = self._compute(x, experts, shares, weights, first)
            names = tuple(name for name in (axis, inner) if name is not None)
            total: jax.Array = _psum(partial_sums, names) if names else partial_sums
            return total

        tokens, into, back = _spec(rows), _spec(axis, inner, None), _spec(axis, None, inner)
        split: Any = jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(tokens, tokens, tokens, (into, into, back)),
            out_specs=tokens,
            check_vma=False,
        )
        mapped: jax.Array = split(x, experts, shares, weights)
        return mapped

    @staticmethod
    def _splits(
        mesh: Any, rows: int, shape: tuple[int, ...]
    ) -> tuple[tuple[str, ...] | None, str | None, str | None]:
        """Return the mesh axes of rows, experts and inner channels; None for no split."""
        sizes = mesh.shape
        parts = 1
        for axis in BATCH_AXES:
            parts *= sizes[axis]
        return (
            BATCH_AXES if rows % parts == 0 else None,
            EXPERTS if shape[0] % sizes[EXPERTS] == 0 else None,
            TENSOR if shape[1] % sizes[TENSOR] == 0 else None,
        )

    def _compute(
        self,
        x: jax.Array,
        experts: jax.Array,
        shares: jax.Array,
        weights: tuple[jax.Array, ...],
        first: Any,
    ) -> jax.Array:
        """Return the sum over the experts whose ``weights`` are given, from number ``first``."""
        channels, active = x.shape[-1], experts.shape[-1]
        gate, up, down = weights
        in_blocks = jax.default_backend() == "cpu"
        groups = group(experts.reshape(-1) - first, len(gate), in_blocks=in_blocks)
        tokens = groups.gather(jnp.repeat(x.reshape(-1, channels), active, axis=0))
        inner = ACTIVATIONS[self.activation](groups.multiply(tokens, gate))
        mapped = groups.scatter(groups.multiply(inner * groups.multiply(tokens, up), down))
        weighted = mapped.reshape(*experts.shape, channels) * shares[..., None]
        return weighted.sum(axis=-2).astype(x.dtype)


class SparseFeedForward(nnx.Module):
    """Router and experts of a block."""

    def __init__(self, config: MixtureConfig, initializer: Initializer) -> None:
        self.active = config.active_experts
        self.normalized = config.normalized
        self.gate = Router(config, initializer)
        self.experts = Experts(config, initializer)

    def __call__(self, x: jax.Array, routers: RouterLog | None = None) -> jax.Array:
        """Map [B, T, C] to [B, T, C]; the router's decisions are added to ``routers``."""
        probabilities = self.gate(x)
        shares, experts = jax.lax.top_k(probabilities, self.active)
        if routers is not None:
            routers.add(probabilities, experts)
        if self.normalized:
            shares = shares / shares.sum(axis=-1, keepdims=True)
        mapped: jax.Array = self.experts(x, experts, shares)
        return mapped
