"""Prompts of the eval items that a run's predictions answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.client.blocking import Client
from tailrace.datasets.content import DatasetError, stored_lines
from tailrace.datasets.eval_sets import download_eval_items
from tailrace.formats.catalog import DATASET_EVAL_SETS, EVAL_SETS
from tailrace.formats.data.dataset_file import scan_records
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import LineErrors
from tailrace.formats.data.message import Message
from tailrace.formats.data.record import Text
from tailrace.formats.data.split import eval_items
from tailrace.v1 import evaluation_pb2, run_pb2


@dataclass(frozen=True)
class ItemPrompt:
    """The prompt of an eval item as a dataset record has it."""

    prompt: Text
    tools: list[dict[str, Any]]


class ItemPrompts:
    """Prompts by eval set and item.

    Predictions hold the prompt as text. The messages and tools of a conversation are those of the
    eval set's item, or of the record that a dataset's part consists of.
    """

    def __init__(
        self, client: Client, run: run_pb2.Run, selected: Mapping[str, Collection[str]]
    ) -> None:
        """Fetch the items.

        Args:
            client: Client of the server.
            run: Run of the predictions.
            selected: Ids of the items by eval set.

        Raises:
            DatasetError: An item is missing from its eval set.
            TailraceError: A call failed.
        """
        self._conversations: dict[tuple[str, str], ItemPrompt] = {}
        for eval_set, ids in selected.items():
            # The items of built-in eval sets are texts.
            if eval_set not in EVAL_SETS:
                self._collect(eval_set, set(ids), _items(client, run, eval_set, ids))

    def of(self, prediction: evaluation_pb2.Prediction) -> ItemPrompt:
        """Return the prompt of a prediction's item."""
        conversation = self._conversations.get((prediction.eval_set, prediction.example_id))
        return conversation or ItemPrompt(prediction.prompt, [])

    def _collect(self, eval_set: str, missing: set[str], items: Iterator[EvalItem]) -> None:
        for eval_item in items:
            if eval_item.id not in missing:
                continue
            missing.discard(eval_item.id)
            if eval_item.messages:
                messages: list[Message] = eval_item.messages
                prompt = ItemPrompt(messages, eval_item.tools)
                self._conversations[eval_set, eval_item.id] = prompt
        if missing:
            raise DatasetError(
                f"{eval_set} has no item {min(missing)!r} ({len(missing)} of the selected items "
                "are missing), so that their messages are unknown: leave the eval set out with "
                "--eval-set"
            )


def _items(
    client: Client, run: run_pb2.Run, eval_set: str, ids: Collection[str]
) -> Iterator[EvalItem]:
    if eval_set not in DATASET_EVAL_SETS:
        yield from download_eval_items(client, eval_set)
        return
    errors = LineErrors()
    with stored_lines(client, run.resolved_spec.dataset) as lines:
        for _, record in scan_records(lines, errors):
            if record.id in ids:
                yield from eval_items([record])
    errors.raise_any()
