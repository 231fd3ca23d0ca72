"""Loss and metrics of the held-out part in the course of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from tailrace.formats.spec.run_spec import TrainSpec
from tailrace.formats.statistics.intervals import wilson_interval
from training.data.batches import OrderedBatches
from training.data.example_store import Example
from training.loop.steps import compile_baseline, compile_evaluation, with_baseline
from training.loop.teacher import Teacher
from training.loop.trainable import TrainableSplit
from training.machine.sharding import Layout
from training.models.family import Params
from training.models.unpacked import Slots
from training.objectives.objective import (
    ACCURACY,
    FEEDBACK_ACCURACY,
    BaselineObjective,
    Objective,
    means_of_parts,
)


@dataclass(frozen=True)
class HeldOutFigures:
    """Loss and metrics over all held-out examples."""

    loss: float
    metrics: dict[str, float]
    """Metrics of the objective by name, and the 95% interval of its accuracy."""


class Evaluator:
    """Loss and metrics of the held-out examples, in the same rows at any step."""

    def __init__(
        self,
        objective: Objective,
        trainable: TrainableSplit,
        layout: Layout,
        examples: Sequence[Example],
        spec: TrainSpec,
        multiple: int,
        teacher: Teacher | None = None,
    ) -> None:
        """Lay out the examples.

        ``multiple`` is as in :meth:`.Collator.collate`, ``teacher`` as in :func:`.compile_steps`.
        """
        # As many rows as a step computes at a time, which divide among the devices.
        size = spec.micro_batch_size or spec.step_rows
        self._collator, self._multiple = objective.collator(size), multiple
        self._objective = objective
        self._examples = examples
        self._batches = self._laid_out(examples)
        self._weight = self._total_weight(self._batches)
        slots = Slots.of(size, self._batches.longest)
        self._evaluate = compile_evaluation(objective, trainable, layout, slots, teacher)
        self._baseline_share = compile_baseline(objective, trainable, layout)

    def figures(
        self, trained: Params, frozen: Params, examples: Sequence[Example] | None = None
    ) -> HeldOutFigures:
        """Return loss and metrics over all examples, without dropout.

        Args:
            trained: Trained values.
            frozen: Frozen values.
            examples: Examples in place of the laid out ones, such as answers of the current model.

        Raises:
            ValueError: There are no examples.
        """
        if examples is not None and examples is not self._examples:
            self._examples, self._batches = examples, self._laid_out(examples)
            self._weight = self._total_weight(self._batches)
        if not self._weight:
            raise ValueError("there are no held-out examples to evaluate on")
        baseline = self._baseline(trained, frozen)
        # All batches are dispatched before the first loss is read.
        sums = [
            self._evaluate(
                trained, frozen, batch if baseline is None else with_baseline(batch, baseline)
            )
            for batch in self._batches
        ]
        loss = math.fsum(float(loss) for loss, _ in sums) / self._weight
        totals = {
            name: math.fsum(float(metrics[name]) for _, metrics in sums) for name in sums[0][1]
        }
        metrics = means_of_parts({name: total / self._weight for name, total in totals.items()})
        for accuracy in (ACCURACY, FEEDBACK_ACCURACY):
            if accuracy in totals:
                low, high = wilson_interval(totals[accuracy], self._weight)
                metrics |= {f"{accuracy}_low": low, f"{accuracy}_high": high}
        return HeldOutFigures(loss, metrics)

    def _laid_out(self, examples: Sequence[Example]) -> OrderedBatches:
        return OrderedBatches(examples, self._collator, self._multiple)

    def _total_weight(self, batches: OrderedBatches) -> float:
        return math.fsum(float(self._objective.weight(batch)) for batch in batches)

    def _baseline(self, trained: Params, frozen: Params) -> jax.Array | None:
        """Return the baseline of all examples; None for methods without one."""
        if self._baseline_share is None or not isinstance(self._objective, BaselineObjective):
            return None
        shares = [self._baseline_share(trained, frozen, batch) for batch in self._batches]
        mean = math.fsum(map(float, shares)) / self._weight
        return self._objective.baseline(jnp.float32(mean))
