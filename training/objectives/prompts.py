"""Prompts without an answer: their encoding, and the items that judges read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import Record
from tailrace.formats.data.split import eval_items
from tailrace.formats.spec.methods import Overlong
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.chat_format import ChatFormat, ConversationError, SpecialTextError
from training.data.encode import EncodedExamples, special_text_error
from training.data.example_store import Example, ExampleStore, ExampleWriter, StoredExamples
from training.data.totals import Totals
from training.errors import DataError, OverlongError

_log = logging.getLogger(__name__)


class PromptStore(StoredExamples):
    """Prompts as examples that learn nothing, with the items that they were made of."""

    def __init__(self, prompts: ExampleStore, items: Sequence[EvalItem]) -> None:
        self._prompts = prompts
        self.items = items
        """Eval item of each prompt."""
        self.lengths = self.totals = prompts.lengths
        self.digest = prompts.digest
        self.largest_token = prompts.largest_token

    def __len__(self) -> int:
        return len(self._prompts)

    def _read(self, index: int) -> Example:
        return self._prompts[index]

    @property
    def longest(self) -> int:
        """Number of tokens of the longest prompt."""
        return int(self.lengths.max())


def encode_prompts(
    records: Sequence[Record],
    chat: ChatFormat,
    spec: TrainSpec,
    what: str = "prompts",
    folder: Path | None = None,
) -> EncodedExamples:
    """Encode each distinct prompt as generation renders it.

    Args:
        records: Records of any kind; only their prompts are encoded.
        chat: The model's chat format.
        spec: Settings of a method that samples answers; they bound the length of prompts.
        what: Noun for the records in messages.
        folder: Folder for the file of tokens (default: the system's for temporary files).

    Raises:
        OverlongError: The policy refuses a prompt.
        DataError: The chat template refuses a prompt, or none is left.
        OSError: The file of tokens cannot be written.
    """
    if spec.sampling is None:
        raise ValueError("only methods that sample answers learn from prompts")
    max_length = spec.max_seq_length - spec.sampling.max_new_tokens
    totals, writer, items = Totals(max_length), ExampleWriter(folder), list[EvalItem]()
    questions = eval_items(records)
    try:
        for eval_item in questions:
            tokens = _required_tokens(eval_item, chat, f"{len(questions)} {what}")
            totals.examples += 1
            totals.lengths.append(len(tokens))
            if len(tokens) > max_length:
                totals.overlong += 1
                continue
            totals.tokens += len(tokens)
            writer.add(Example(np.asarray(tokens, np.int32), np.zeros(len(tokens), np.bool_)))
            items.append(eval_item)
        if not questions:
            raise DataError(
                f"none of {len(records)} {what} asks anything: plain text and answers of bad "
                f"feedback are no prompts; choose a dataset with prompts for "
                f"train.{spec.method_key}"
            )
        if totals.overlong:
            _refuse_or_report(totals, spec, f"{len(questions)} {what}")
        if not items:
            raise DataError(f"none of {len(records)} {what} is left: raise max_seq_length")
        return EncodedExamples(PromptStore(writer.finish(), items), totals)
    finally:
        writer.close()


def prompt_tokens(eval_item: EvalItem, chat: ChatFormat) -> list[int]:
    """Return the tokens of a prompt up to the begin of its answer.

    Raises:
        ConversationError: The chat template refuses the prompt.
        ModelConfigError: The template exceeds a limit.
    """
    messages = eval_item.messages or [Message(Role.USER, eval_item.prompt)]
    return chat.prompt_tokens(messages, eval_item.tools)


def _required_tokens(eval_item: EvalItem, chat: ChatFormat, total: str) -> list[int]:
    try:
        return prompt_tokens(eval_item, chat)
    except SpecialTextError as error:
        raise special_text_error(f"{eval_item.id}: {error}", 1, total) from error
    except ConversationError as error:
        raise DataError(
            f"the model's chat template cannot take {eval_item.id} of {total}: {error}; change it, "
            "or set model.chat_template"
        ) from error


def _refuse_or_report(totals: Totals, spec: TrainSpec, total: str) -> None:
    answer = f"train.{spec.method_key}.max_new_tokens"
    text = (
        f"{totals.overlong} of {total} have more than the {totals.max_length} tokens that "
        f"train.max_seq_length less {answer} leaves to a prompt (the longest has "
        f"{max(totals.lengths)})"
    )
    if getattr(spec, spec.method).overlong is Overlong.REFUSE:
        raise OverlongError(
            f"{text}: raise train.max_seq_length, lower {answer}, or set "
            f"train.{spec.method}.overlong to drop"
        )
    _log.warning("%s; they are left out", text)
