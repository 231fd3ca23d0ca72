"""Preview of the prompts of a method that samples answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.record import Record
from tailrace.formats.data.split import eval_items
from tailrace.formats.spec.train_spec import TrainSpec
from tailrace.formats.wording import pluralize
from training.data.chat_format import ChatFormat, ConversationError
from training.data.preview import BRACKETS, COLOURS, visible
from training.data.totals import Totals
from training.objectives.prompts import encode_prompts, prompt_tokens


@dataclass(frozen=True)
class _Prompt:
    """A prompt as the model reads it."""

    eval_item: EvalItem
    tokens: list[int]


class PromptPreview:
    """Distinct prompts as a training would sample answers to them, with their totals.

    Prompts are encoded once, by :meth:`lines` or :meth:`document`.
    """

    def __init__(self, records: Sequence[Record], chat: ChatFormat, train: TrainSpec) -> None:
        """Take the records, the model's chat format, and the settings of the training."""
        if train.sampling is None:
            raise ValueError("only methods that sample answers learn from prompts")
        self._records, self._chat, self._train = records, chat, train
        self._answer = train.sampling.max_new_tokens
        self._totals = Totals(train.max_seq_length - self._answer)
        self._refused: list[str] = []

    def lines(self, most: int, *, in_colour: bool) -> Iterator[str]:
        """Yield the lines that show the first ``most`` prompts, then the totals.

        ``in_colour`` marks the place of the answer in colour.

        Raises:
            ModelConfigError: The template exceeds a limit.
        """
        marks = COLOURS if in_colour else BRACKETS
        answer = f"{marks.begin}answer{marks.end}"
        for prompt in self._first_prompts(most):
            yield f"── {visible(prompt.eval_item.id)}: {', '.join(self._facts(prompt))}"
            yield visible(self._chat.written(prompt.tokens)) + answer
            yield "── token ids"
            yield " ".join(map(str, prompt.tokens))
            yield ""
        yield from self._totals_lines()

    def document(self, most: int) -> dict[str, Any]:
        """Return the first ``most`` prompts and the totals as plain data; errors as above."""
        prompts = [
            {
                "id": prompt.eval_item.id,
                "text": self._chat.written(prompt.tokens),
                "tokens": prompt.tokens,
                "length": len(prompt.tokens),
                "expected_answers": prompt.eval_item.answers,
            }
            for prompt in self._first_prompts(most)
        ]
        totals = {
            "prompts": self._totals.examples,
            "tokens": self._totals.tokens,
            "max_prompt_length": self._totals.max_length,
            "max_new_tokens": self._answer,
            "overlong": self._totals.overlong,
            "lengths": self._totals.length_percentiles,
            "refused": len(self._refused),
            "first_refused": self._refused[0] if self._refused else "",
        }
        return {"method": self._train.method_key, "prompts": prompts, "totals": totals}

    def check(self) -> None:
        """Refuse the records if a training on them would.

        Raises:
            TrainingError: The reason, as a training has it.
        """
        encode_prompts(self._records, self._chat, self._train)

    def _first_prompts(self, most: int) -> Iterator[_Prompt]:
        """Yield the first prompts, and count all."""
        for eval_item in eval_items(self._records):
            try:
                tokens = prompt_tokens(eval_item, self._chat)
            except ConversationError as error:
                self._refused.append(f"{eval_item.id}: {error}")
                continue
            self._totals.examples += 1
            self._totals.tokens += len(tokens)
            self._totals.lengths.append(len(tokens))
            self._totals.overlong += len(tokens) > self._totals.max_length
            if self._totals.examples <= most:
                yield _Prompt(eval_item, tokens)

    def _facts(self, prompt: _Prompt) -> Iterator[str]:
        yield pluralize(len(prompt.tokens), "token")
        if len(prompt.tokens) > self._totals.max_length:
            yield f"longer than the {self._totals.max_length} that a prompt may have"
        if self._train.grpo is not None:
            answers = prompt.eval_item.answers
            yield (
                f"expected {visible(' or '.join(map(repr, answers)))}"
                if answers
                else ("no expected answer")
            )

    def _totals_lines(self) -> Iterator[str]:
        totals, sampling = self._totals, self._train.sampling
        lengths = totals.length_percentiles
        answers = sampling.n_samples if sampling else 0
        facts = {
            "method": self._train.method_key,
            "answers": f"{answers} to each, of up to {pluralize(self._answer, 'token')}",
            f"longer than {pluralize(totals.max_length, 'token')}": f"{totals.overlong:,}",
        }
        if lengths:
            facts["tokens of a prompt"] = (
                f"median {lengths['p50']}, 90 % {lengths['p90']}, 99 % {lengths['p99']}, "
                f"longest {lengths['max']}"
            )
        yield f"── totals of {pluralize(totals.examples, 'distinct prompt')}"
        width = max(map(len, facts))
        yield from (f"{name:{width}}  {fact}" for name, fact in facts.items())
        if self._refused:
            prompts = pluralize(len(self._refused), "prompt")
            yield f"{prompts} cannot be rendered; the first is {visible(self._refused[0])}"
