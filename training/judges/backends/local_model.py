"""A judging model that runs on this worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.spec.run_spec import InferSpec
from training.generate.predict import Evaluated, predict
from training.judges.backends.replies import Reply
from training.judges.base import JudgeError
from training.observer import Observer

_BATCH_SIZE = 32
"""Number of prompts in a batch; a stage can stop between batches."""


class LocalModel:
    """A model folder, with greedy generation."""

    def __init__(self, folder: Path, max_new_tokens: int, clock: date | None = None) -> None:
        """Load the model; its chat template reads ``clock`` (default: today, UTC)."""
        self._model = Evaluated.open(folder, clock)
        self._spec = InferSpec(max_new_tokens=max_new_tokens, batch_size=_BATCH_SIZE)

    def ask(self, prompts: Sequence[str]) -> Iterator[Reply | JudgeError]:
        """See :meth:`training.judges.backends.judging_model.JudgingModel.ask`."""
        for begin in range(0, len(prompts), _BATCH_SIZE):
            items = [
                EvalItem(id=str(i), prompt=prompt, expected_answer="")
                for i, prompt in enumerate(prompts[begin : begin + _BATCH_SIZE])
            ]
            predictions = predict(
                self._model, {"judge": items}, self._spec, ModelRole.BASE, Observer()
            )
            yield from map(_reply, predictions)


def _reply(prediction: Prediction) -> Reply | JudgeError:
    if prediction.finish_reason is FinishReason.ERROR:
        return JudgeError(f"the judging model generated nothing: {prediction.error}")
    return Reply(prediction.text, prediction.prompt_tokens + prediction.completion_tokens)
