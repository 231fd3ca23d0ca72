"""The loss of the held-out part in the course of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tailrace.formats.spec.run_spec import TrainSpec
from training.data.batches import OrderedBatches
from training.data.example_store import Example
from training.loop.steps import compile_evaluation
from training.loop.trainable import TrainableSplit
from training.machine.sharding import Layout
from training.models.family import Params
from training.models.unpacked import Slots
from training.objectives.objective import Objective


class Evaluator:
    """Loss of the held-out examples, in the same rows at any step."""

    def __init__(
        self,
        objective: Objective,
        trainable: TrainableSplit,
        layout: Layout,
        examples: Sequence[Example],
        spec: TrainSpec,
        multiple: int,
    ) -> None:
        """Lay out the examples; ``multiple`` is as in :meth:`.Collator.collate`."""
        size = spec.micro_batch_size or spec.batch_size
        self._batches = OrderedBatches(examples, objective.collator(size), multiple)
        self._weight = math.fsum(float(objective.weight(batch)) for batch in self._batches)
        slots = Slots.of(size, self._batches.longest)
        self._evaluate = compile_evaluation(objective, trainable, layout, slots)

    def loss(self, trained: Params, frozen: Params) -> float:
        """Return the loss over all examples, without dropout.

        Raises:
            ValueError: There are no examples.
        """
        if not self._weight:
            raise ValueError("there are no held-out examples to evaluate on")
        # All batches are dispatched before the first loss is read.
        sums = [self._evaluate(trained, frozen, batch) for batch in self._batches]
        return math.fsum(map(float, sums)) / self._weight
