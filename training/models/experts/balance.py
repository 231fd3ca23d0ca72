"""Balance of the load among experts: the decisions of routers, and the loss that evens them out.

The loss is that of Switch Transformer (Fedus et al., arXiv:2101.03961, equations 4 to 6), over all
sparse layers at once as in transformers: E · Σ f · P, where f is the mean number of times that a
token is sent to an expert, and P the expert's mean probability. Only P has a derivative. Means are
those of a whole batch, however many passes it takes (Qiu et al., arXiv:2501.11873). A perfect
balance costs K.

Shapes: B sequences, T tokens, E experts, K experts of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp


class RouterSums(NamedTuple):
    """Decisions of routers, summed over tokens."""

    assignments: jax.Array
    """Number of tokens sent to each expert, [E]; without a derivative."""
    probabilities: jax.Array
    """Sum of each expert's probabilities, [E]."""
    tokens: jax.Array
    """Number of tokens, once for each layer."""


@dataclass(frozen=True)
class RouterLog:
    """Record of the decisions of all routers in a forward pass."""

    counted: jax.Array
    """1 for the tokens that count, 0 for padding, [B, T]."""
    layers: list[RouterSums] = field(default_factory=list)
    """Decisions of each sparse layer so far."""

    def add(self, probabilities: jax.Array, experts: jax.Array) -> None:
        """Record a layer: the probabilities [B, T, E] and the chosen experts [B, T, K]."""
        counted = self.counted[..., None]
        chosen = jax.nn.one_hot(experts, probabilities.shape[-1]).sum(axis=-2)
        assignments, summed = (
            jnp.sum(values * counted, axis=(0, 1)) for values in (chosen, probabilities)
        )
        self.layers.append(RouterSums(assignments, summed, self.counted.sum()))


def total(layers: Sequence[RouterSums]) -> RouterSums:
    """Return the sums over all layers."""
    summed: RouterSums = jax.tree.map(lambda *values: sum(values), *layers)
    return summed


def balance_slopes(sums: RouterSums) -> jax.Array:
    """Return the derivative of the loss by each expert's sum of probabilities, [E].

    ``sums`` are those of the whole batch.
    """
    tokens = jnp.maximum(sums.tokens, 1)
    # Two quotients, because the square of a large count is inexact.
    return len(sums.assignments) * (sums.assignments / tokens) / tokens


def load_balance(sums: RouterSums, slopes: jax.Array) -> jax.Array:
    """Return the part of the loss that ``sums`` add; ``slopes`` are those of the whole batch."""
    return jnp.sum(jax.lax.stop_gradient(slopes) * sums.probabilities)
