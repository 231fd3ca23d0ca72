"""The loss on the held-out part, while training goes on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tailrace.formats.spec.run_spec import SftSpec
from training.data.batches import Collator, ordered_batches
from training.data.encode import Example
from training.loop.steps import compile_evaluation
from training.loop.tuning import Tuning
from training.machine.sharding import Layout
from training.models.family import Params


class Evaluator:
    """Computes the loss of the same examples, laid out in the same rows, at any step."""

    def __init__(
        self,
        tuning: Tuning,
        layout: Layout,
        examples: Sequence[Example],
        spec: SftSpec,
        multiple: int,
    ) -> None:
        """``multiple`` is as in :meth:`training.data.batches.Collator.collate`."""
        size = spec.micro_batch_size or spec.batch_size
        collator = dataclasses.replace(Collator.of(spec), batch_size=size)
        self._batches = ordered_batches(examples, collator, multiple)
        self._tokens = math.fsum(float(batch.weights.sum()) for batch in self._batches)
        self._evaluate = compile_evaluation(tuning, layout)

    def loss(self, trained: Params, frozen: Params) -> float:
        """Mean cross-entropy over all response tokens, in nats, without dropout.

        Raises ``ValueError`` when there are no examples.
        """
        if not self._tokens:
            raise ValueError("there are no held-out examples to evaluate on")
        # All batches are on their way before the first sum is waited for.
        sums = [self._evaluate(trained, frozen, batch) for batch in self._batches]
        return math.fsum(map(float, sums)) / self._tokens
