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
    max_length: int,
    overlong: Overlong,
    what: str = "prompts",
    folder: Path | None = None,
) -> EncodedExamples:
    """Encode each distinct prompt as generation renders it.

    Args:
        records: Records of any kind; only their prompts are encoded.
        chat: The model's chat format.
        max_length: Longest prompt in tokens.
        overlong: Policy for longer ones: refuse or drop.
        what: Noun for the records in messages.
        folder: Folder for the file of tokens (default: the system's for temporary files).

    Raises:
        OverlongError: The policy refuses a prompt.
        DataError: The chat template refuses a prompt, or none is left.
        OSError: The file of tokens cannot be written.
    """
    totals, writer, items = Totals(max_length), ExampleWriter(folder), list[EvalItem]()
    questions = eval_items(records)
    try:
        for eval_item in questions:
            tokens = _prompt_tokens(eval_item, chat, f"{len(questions)} {what}")
            totals.examples += 1
            totals.lengths.append(len(tokens))
            if len(tokens) > max_length:
                totals.overlong += 1
                continue
            totals.tokens += len(tokens)
            writer.add(Example(np.asarray(tokens, np.int32), np.zeros(len(tokens), np.bool_)))
            items.append(eval_item)
        if totals.overlong:
            _refuse_or_report(totals, overlong, f"{len(questions)} {what}")
        if not items:
            raise DataError(f"none of {len(records)} {what} is left: raise max_seq_length")
        return EncodedExamples(PromptStore(writer.finish(), items), totals)
    finally:
        writer.close()


def _prompt_tokens(eval_item: EvalItem, chat: ChatFormat, total: str) -> list[int]:
    messages = eval_item.messages or [Message(Role.USER, eval_item.prompt)]
    try:
        return chat.prompt_tokens(messages, eval_item.tools)
    except SpecialTextError as error:
        raise special_text_error(f"{eval_item.id}: {error}", 1, total) from error
    except ConversationError as error:
        raise DataError(
            f"the model's chat template cannot take {eval_item.id} of {total}: {error}; change it, "
            "or set model.chat_template"
        ) from error


def _refuse_or_report(totals: Totals, overlong: Overlong, total: str) -> None:
    text = (
        f"{totals.overlong} of {total} have more than the {totals.max_length} tokens that "
        "train.max_seq_length less train.grpo.max_new_tokens leaves to a prompt (the longest has "
        f"{max(totals.lengths)})"
    )
    if overlong is Overlong.REFUSE:
        raise OverlongError(
            f"{text}: raise train.max_seq_length, lower train.grpo.max_new_tokens, or set "
            "train.grpo.overlong to drop"
        )
    _log.warning("%s; they are left out", text)
