"""The load-balancing loss of a training of experts; see :mod:`training.models.experts.balance`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from tailrace.formats.spec.run_spec import TrainSpec
from training.errors import ConfigError
from training.models.experts.balance import RouterSums, balance_slopes, load_balance, total
from training.models.family import Model
from training.objectives.objective import Metrics

METRIC = "router_load_balance"
"""Name of the loss among the metrics, without its factor."""


@dataclass(frozen=True)
class RouterBalance:
    """The loss that a training adds to that of its method."""

    factor: float

    def add(
        self,
        loss: jax.Array,
        metrics: Metrics,
        layers: Sequence[RouterSums],
        slopes: jax.Array | None,
    ) -> tuple[jax.Array, Metrics]:
        """Return loss and metrics of rows with the balance of their routers added.

        ``slopes`` are :func:`.balance_slopes` of the batch that the rows are a part of (default:
        they are all of it).
        """
        sums = total(layers)
        if slopes is None:
            slopes = balance_slopes(sums)
        value = load_balance(sums, slopes)
        return loss + self.factor * value, {**metrics, METRIC: value}


def choose_balance(model: Model, spec: TrainSpec) -> RouterBalance | None:
    """Return the loss that a spec, or else the model's config.json, asks for.

    As in transformers, a model asks for it by ``output_router_logits``.

    Raises:
        ConfigError: The spec asks for it, and the model has no experts.
    """
    layers, factor = model.dimensions.sparse_layers, spec.router_aux_loss_coef
    if not layers:
        if factor:
            raise ConfigError(
                "train.router_aux_loss_coef balances the experts of a mixture, and the model has "
                "none: leave it out"
            )
        return None
    config = model.config
    if factor is None:
        factor = config.router_aux_loss_coef if config.output_router_logits else 0.0
    return RouterBalance(factor) if factor else None
