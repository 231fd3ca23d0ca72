"""Predictions of models for eval sets."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.prediction import MAX_PROMPT, FinishReason, ModelRole, Prediction
from tailrace.formats.data.split import HELD_OUT, TRAIN
from tailrace.formats.data.thinking import opened_thinking, split_thinking
from tailrace.formats.results import InferResult
from tailrace.formats.spec.run_spec import InferSpec, MeshSpec
from training.data.chat_format import ChatFormat, ConversationError, SpecialTextError
from training.data.encode import special_text_error
from training.data.tokenizer import load_tokenizer, require_embedded
from training.errors import DataError, NoAnswersError
from training.evalsets import EvalSets
from training.generate.generator import Generation, Generator
from training.generate.output import summarize, write_eval_traces, write_predictions
from training.generate.placement import generation_layout
from training.generate.sampling import Sampling
from training.machine.compilation_cache import delete_damaged_entries
from training.models.family import Model, Params
from training.models.folder import end_tokens, open_model
from training.observer import Observer

_log = logging.getLogger(__name__)

PROMPT_END = 64
"""Number of tokens at the end of a prompt in which a template may open thinking."""


@dataclass(frozen=True)
class Evaluated:
    """Model under evaluation, with its tokenizer."""

    model: Model
    params: Params
    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int] = frozenset()
    """Tokens that end an answer, in addition to those of the chat format."""
    clock: date | None = None
    """Date that the chat template reads (default: today, UTC)."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables for the chat template (``model.chat_template_kwargs``)."""
    allow_special_tokens: bool = False
    """True if text of the dataset's prompts may become special tokens, as in training."""
    _generators: dict[tuple[MeshSpec, frozenset[int], bool], Generator] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def open(
        cls,
        folder: Path,
        clock: date | None = None,
        *,
        template: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        allow_special_tokens: bool = False,
        mesh: MeshSpec | None = None,
    ) -> Evaluated:
        """Load a model folder; errors as :func:`training.models.folder.load_model`.

        Args:
            folder: The folder.
            clock: Day that the chat template reads (default: today, UTC).
            template: Text of a chat template in place of the folder's.
            kwargs: Arguments of the chat template.
            allow_special_tokens: Read special tokens in the text of the dataset's prompts.
            mesh: Mesh that the weights are loaded for (default: data alone).

        Raises:
            ConfigError: The mesh needs more devices.
        """
        delete_damaged_entries()
        model, weights = open_model(folder)
        params = weights.load(generation_layout(model, mesh or MeshSpec()))
        return cls(
            model,
            params,
            load_tokenizer(folder, template),
            end_tokens(folder),
            clock,
            kwargs or {},
            allow_special_tokens,
        )

    @cached_property
    def chat(self) -> ChatFormat:
        """Format of the model's conversations."""
        return ChatFormat(self.tokenizer, self.clock, self.kwargs)

    def prompt_tokens(self, eval_item: EvalItem, eval_set: str = "") -> list[int]:
        """Return the tokens of an item's prompt, rendered as in training.

        Errors as :meth:`training.data.chat_format.ChatFormat.prompt_tokens`.
        """
        from_dataset = eval_set in (TRAIN, HELD_OUT)
        return self.chat.prompt_tokens(
            eval_item.messages or [Message(Role.USER, eval_item.prompt)],
            eval_item.tools,
            allow_special_tokens=self.allow_special_tokens and from_dataset,
        )

    def generator(self, mesh: MeshSpec, stop: Sequence[str] = ()) -> Generator:
        """Return the model's generator; equal arguments give the same one, already compiled.

        ``stop`` are the stop strings; they may be special tokens or contain some.
        """
        ids = map(self.chat.token_of, stop)
        stop_ids = frozenset(id_ for id_ in ids if id_ is not None)
        special = any(map(self.chat.mixes_in_token, stop))
        key = mesh, stop_ids, special
        if key not in self._generators:
            self._generators[key] = Generator(
                self.model,
                self.params,
                self.chat.ends | self.ends,
                self.chat.text,
                generation_layout(self.model, mesh),
                stop_ids,
                self.chat.written if special else None,
            )
        return self._generators[key]


@dataclass(frozen=True)
class Question:
    """One item of an eval set with its rendered prompt."""

    eval_set: str
    number: int
    """Position in the eval set, which selects the random stream of sampling."""
    item: EvalItem
    prompt: list[int]
    """Token ids of the rendered prompt."""
    opening: str = ""
    """Tag with which the rendered prompt begins thinking; empty if it does not."""

    @classmethod
    def of(cls, evaluated: Evaluated, eval_set: str, number: int, eval_item: EvalItem) -> Question:
        """Render an item's prompt; errors as :meth:`Evaluated.prompt_tokens`."""
        prompt = evaluated.prompt_tokens(eval_item, eval_set)
        return cls.rendered(evaluated.chat, eval_set, number, eval_item, prompt)

    @classmethod
    def rendered(
        cls, chat: ChatFormat, eval_set: str, number: int, eval_item: EvalItem, prompt: list[int]
    ) -> Question:
        """Return an item with its prompt's tokens."""
        opening = opened_thinking(chat.written(prompt[-PROMPT_END:]))
        return cls(eval_set, number, eval_item, prompt, opening)

    @property
    def shown(self) -> str:
        """The item's prompt as predictions have it."""
        text = self.item.shown_prompt
        return text if len(text) <= MAX_PROMPT else f"{text[: MAX_PROMPT - 1]}…"


class _Tally:
    """Progress over the predictions of all models."""

    def __init__(self, observer: Observer, total: int) -> None:
        self._observer, self._total, self._done = observer, total, 0

    def add(self, number: int) -> None:
        self._done += number
        self._observer.progress(self._done, self._total, "predictions")


def predict(
    evaluated: Evaluated,
    eval_sets: EvalSets,
    spec: InferSpec,
    role: ModelRole,
    observer: Observer,
    *,
    mesh: MeshSpec | None = None,
    stored: Sequence[Prediction] = (),
) -> list[Prediction]:
    """Return predictions for every item of every eval set, in the order of the items.

    Predictions in ``stored`` are reused. ``mesh`` splits the work over the slot's devices.

    Raises:
        StoppedError: The observer requested a stop; checked every few tokens.
        ConfigError: The mesh does not fit the devices.
        ModelConfigError: The tokenizer does not fit the model.
    """
    tally = _Tally(observer, _count(eval_sets, spec))
    return _predict(evaluated, eval_sets, spec, role, observer, tally, mesh, stored)


def _count(eval_sets: EvalSets, spec: InferSpec) -> int:
    return sum(len(items) for items in eval_sets.values()) * spec.n_samples


def _predict(
    evaluated: Evaluated,
    eval_sets: EvalSets,
    spec: InferSpec,
    role: ModelRole,
    observer: Observer,
    tally: _Tally,
    mesh: MeshSpec | None,
    stored: Sequence[Prediction],
) -> list[Prediction]:
    questions = _questions(evaluated, eval_sets)
    require_embedded((question.prompt for question in questions), evaluated.model.vocabulary)
    predictions = _reusable(stored, questions, spec, role)
    if predictions:
        _log.info("%d predictions of an earlier attempt are kept", len(predictions))
    tally.add(len(predictions))
    observer.check_stop()
    sampling = Sampling.of(spec)
    answers = evaluated.generator(mesh or MeshSpec(), spec.stop).generate(
        [question.prompt for question in questions],
        dataclasses.replace(sampling, stop=(*sampling.stop, *evaluated.chat.stop)),
        spec.batch_size,
        numbers=[question.number for question in questions],
        done=frozenset(predictions),
    )
    for batch in answers:
        for generation in batch:
            question = questions[generation.index]
            prediction = prediction_of(question, role, generation, evaluated.chat)
            predictions[generation.index, generation.sample] = prediction
            observer.prediction(prediction)
        if batch:
            tally.add(len(batch))
        observer.check_stop()
    return [predictions[key] for key in sorted(predictions)]


def _questions(evaluated: Evaluated, eval_sets: EvalSets) -> list[Question]:
    """Return every item with its rendered prompt.

    Raises:
        DataError: The chat template refuses prompts, or their text cannot be encoded as text.
    """
    questions: list[Question] = []
    refused: list[tuple[str, ConversationError]] = []
    for name, items in eval_sets.items():
        for number, eval_item in enumerate(items):
            try:
                questions.append(Question.of(evaluated, name, number, eval_item))
            except ConversationError as error:
                refused.append((f"{name}/{eval_item.id}: {error}", error))
    if refused:
        raise _refusal(refused, f"{len(refused) + len(questions)} prompts")
    return questions


def _refusal(refused: Sequence[tuple[str, ConversationError]], total: str) -> DataError:
    spelled = [text for text, error in refused if isinstance(error, SpecialTextError)]
    if spelled:
        return special_text_error(spelled[0], len(spelled), total)
    return DataError(
        f"the model's chat template cannot take {len(refused)} of {total}: change them, or set "
        f"model.chat_template. The first is {refused[0][0]}"
    )


def _reusable(
    stored: Sequence[Prediction], questions: Sequence[Question], spec: InferSpec, role: ModelRole
) -> dict[tuple[int, int], Prediction]:
    """Return the stored predictions that the spec asks for, by position of question and sample.

    The transcripts of two conversations may be equal; the number of tokens then tells most apart.
    """
    positions = {
        (q.eval_set, q.item.id, q.shown, len(q.prompt)): i for i, q in enumerate(questions)
    }
    predictions = {}
    for prediction in stored:
        p = prediction
        position = positions.get((p.eval_set, p.example_id, p.prompt, p.prompt_tokens))
        logprobs = len(prediction.token_ids) if spec.logprobs else 0
        requested = prediction.model_role is role and prediction.sample < spec.n_samples
        if position is not None and requested and len(prediction.logprobs) == logprobs:
            predictions[position, prediction.sample] = prediction
    return predictions


def prediction_of(
    question: Question, role: ModelRole, generation: Generation, chat: ChatFormat
) -> Prediction:
    """Return the prediction that a generation makes."""
    text = generation.text
    if text is None:
        ended = generation.finish_reason in (FinishReason.EOS, FinishReason.STOP)
        # The token that ends an answer does not belong to its text, special or not.
        text = chat.text(generation.tokens[:-1] if ended else generation.tokens)
    # Byte-level tokens may end in half a character; it decodes to U+FFFD, a NUL is dropped.
    text = text.replace("\0", "")
    failed = generation.finish_reason is FinishReason.ERROR
    split = split_thinking(text, question.item.answers, "" if failed else question.opening)
    return Prediction(
        eval_set=question.eval_set,
        example_id=question.item.id,
        model_role=role,
        prompt=question.shown,
        text=text,
        finish_reason=generation.finish_reason,
        prompt_tokens=len(question.prompt),
        completion_tokens=generation.count,
        sample=generation.sample,
        token_ids=generation.tokens,
        logprobs=[round(value, 6) for value in generation.logprobs],
        error=generation.error,
        reasoning=split.reasoning,
        answer=split.answer or "",
        thinking_closed=split.closed,
    )


def evaluate(
    models: Mapping[ModelRole, Callable[[], Evaluated]],
    eval_sets: EvalSets,
    spec: InferSpec,
    output: Path,
    predictions_path: Path,
    observer: Observer,
    *,
    mesh: MeshSpec | None = None,
    stored: Sequence[Prediction] = (),
) -> tuple[list[Prediction], InferResult]:
    """Open each model in turn, predict, and write the traces and the predictions.

    Raises:
        NoAnswersError: Every prediction is an error; both files are written before.
        OSError: A file cannot be written.
        TrainingError: As the models' openers and :func:`predict`.
    """
    predictions: list[Prediction] = []
    seconds, template_date = 0.0, None
    tally = _Tally(observer, _count(eval_sets, spec) * len(models))
    tally.add(0)
    for role, opener in models.items():
        evaluated = opener()
        start = time.perf_counter()
        predictions += _predict(evaluated, eval_sets, spec, role, observer, tally, mesh, stored)
        seconds += time.perf_counter() - start
        template_date = template_date or evaluated.chat.template_date
    summary = summarize(predictions, seconds, template_date)
    write_predictions(predictions_path, predictions)
    write_eval_traces(output, predictions, eval_sets)
    _log.info(
        "%d predictions (%d errors), %d tokens in %.1f s",
        summary.predictions,
        summary.errors,
        summary.completion_tokens,
        summary.seconds,
    )
    if summary.errors and summary.errors == summary.predictions:
        first = predictions[0]
        raise NoAnswersError(
            f"all {summary.predictions} predictions are errors; the first, of "
            f"{first.eval_set}/{first.example_id}: {first.error}"
        )
    return predictions, summary


def evaluate_folder(
    folder: Path,
    eval_sets: EvalSets,
    spec: InferSpec,
    role: ModelRole,
    output: Path,
    predictions_path: Path,
    observer: Observer,
    clock: date | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    allow_special_tokens: bool = False,
) -> tuple[list[Prediction], InferResult]:
    """Evaluate one model folder; errors as :meth:`Evaluated.open` and :func:`evaluate`.

    The last three arguments are those of :class:`Evaluated`.
    """
    opener = partial(
        Evaluated.open, folder, clock, kwargs=kwargs, allow_special_tokens=allow_special_tokens
    )
    return evaluate({role: opener}, eval_sets, spec, output, predictions_path, observer)
