"""Evaluation: predictions for eval sets, and the traces read out of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tailrace.formats.canonical import canonical_json
from tailrace.formats.eval_item import EvalItem
from tailrace.formats.jsonl import write_records
from tailrace.formats.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.results import InferResult
from tailrace.formats.run_spec import InferSpec
from tailrace.formats.schema import to_mapping
from training.evalsets import EvalSets
from training.generate import Generation, Generator, Sampling
from training.models.family import Model, Params
from training.models.folder import load_model
from training.observer import Observer
from training.rendering import parse_response, render_prompt
from training.tokenizer import encode, load_tokenizer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """A model that can be asked."""

    model: Model
    params: Params
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def open(cls, folder: Path) -> Evaluated:
        """Load a model folder; errors as :func:`training.models.folder.load_model`."""
        model, params = load_model(folder)
        return cls(model, params, load_tokenizer(folder))


def predict(
    evaluated: Evaluated,
    eval_sets: EvalSets,
    spec: InferSpec,
    role: ModelRole,
    observer: Observer,
) -> list[Prediction]:
    """Ask the model every item of every eval set; predictions come back in the items' order.

    Raises :class:`training.errors.StoppedError` between batches when the observer asks for it.
    """
    total = sum(len(items) for items in eval_sets.values())
    tokenizer = evaluated.tokenizer
    generator = Generator(evaluated.model, evaluated.params, int(tokenizer.eos_token_id))
    predictions: list[Prediction] = []
    observer.progress(0, total, "predictions")
    for name, items in eval_sets.items():
        made: dict[int, Prediction] = {}
        for index, prediction in _ask(generator, tokenizer, name, items, spec, role, observer):
            made[index] = prediction
            observer.prediction(prediction)
            observer.progress(len(predictions) + len(made), total, "predictions")
        predictions.extend(made[index] for index in range(len(items)))
    return predictions


def _ask(
    generator: Generator,
    tokenizer: PreTrainedTokenizerBase,
    eval_set: str,
    items: Sequence[EvalItem],
    spec: InferSpec,
    role: ModelRole,
    observer: Observer,
) -> Iterator[tuple[int, Prediction]]:
    prompts = [encode(tokenizer, render_prompt(tokenizer, item.prompt)) for item in items]
    sampling = Sampling(spec.max_new_tokens, spec.temperature, spec.seed)
    observer.check_stop()
    for batch in generator.generate(prompts, sampling, spec.batch_size):
        for generation in batch:
            item, length = items[generation.index], len(prompts[generation.index])
            yield (
                generation.index,
                _prediction(eval_set, item, role, generation, length, tokenizer),
            )
        observer.check_stop()


def _prediction(
    eval_set: str,
    item: EvalItem,
    role: ModelRole,
    generation: Generation,
    prompt_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
) -> Prediction:
    return Prediction(
        eval_set=eval_set,
        example_id=item.id,
        model_role=role,
        prompt=item.prompt,
        # Byte-level tokens may end in half a character; it decodes to U+FFFD, a NUL is dropped.
        text=str(tokenizer.decode(generation.tokens, skip_special_tokens=True)).replace("\0", ""),
        finish_reason=generation.finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=generation.count,
        error=generation.error,
    )


def summarize(predictions: Sequence[Prediction], seconds: float) -> InferResult:
    """The summary of an INFER stage that took ``seconds``."""
    return InferResult(
        predictions=len(predictions),
        errors=sum(p.finish_reason is FinishReason.ERROR for p in predictions),
        completion_tokens=sum(p.completion_tokens for p in predictions),
        seconds=round(seconds, 3),
    )


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions.jsonl. Raises :class:`OSError`."""
    write_records(path, predictions)


def write_eval_traces(path: Path, predictions: Sequence[Prediction], eval_sets: EvalSets) -> None:
    """Write eval_results.jsonl: each prediction as a trace. Raises :class:`OSError`.

    The lines have the fields of a trace; steps and answer are what the model wrote, so that
    either may be empty, which a training example forbids.
    """
    items = {(name, item.id): item for name, each in eval_sets.items() for item in each}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            item = items[prediction.eval_set, prediction.example_id]
            file.write(canonical_json(_eval_trace(prediction, item)) + "\n")


def _eval_trace(prediction: Prediction, item: EvalItem) -> dict[str, object]:
    response = parse_response(prediction.text)
    return {
        "id": prediction.example_id,
        "prompt": prediction.prompt,
        "steps": [to_mapping(step) for step in response.steps],
        "answer": response.answer,
        "metadata": {
            "eval_set": prediction.eval_set,
            "model_role": prediction.model_role.value,
            "sample": prediction.sample,
            "expected_answer": item.expected_answer,
            "finish_reason": prediction.finish_reason.value,
            "error": prediction.error,
            "text": prediction.text,
        },
    }


def evaluate_folder(
    folder: Path,
    eval_sets: EvalSets,
    spec: InferSpec,
    role: ModelRole,
    output: Path,
    predictions_path: Path,
    observer: Observer,
) -> tuple[list[Prediction], InferResult]:
    """Load a model folder, predict, and write the traces and the predictions.

    Errors as :meth:`Evaluated.open`, :func:`predict` and :class:`OSError`.
    """
    evaluated = Evaluated.open(folder)
    begun = time.perf_counter()
    predictions = predict(evaluated, eval_sets, spec, role, observer)
    result = summarize(predictions, time.perf_counter() - begun)
    write_predictions(predictions_path, predictions)
    write_eval_traces(output, predictions, eval_sets)
    _log.info(
        "%d predictions (%d errors), %d tokens in %.1f s",
        result.predictions,
        result.errors,
        result.completion_tokens,
        result.seconds,
    )
    return predictions, result
